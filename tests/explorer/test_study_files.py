"""Studies among past work: what their reports say is listed, and their pages open without running anything."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
from starlette.testclient import TestClient
from tests.explorer.serving import served
from tests.explorer.test_document import HOSTILE

from silverstain.explorer.server import application
from silverstain.explorer.study_files import studies_in
from silverstain.studies.protocol import StudyReport, StudySettings
from silverstain.studies.protocol.rules import Verdict
from silverstain.studies.protocol.values import Findings
from silverstain.studies.reports import write_report
from silverstain.studies.two_hop import TWO_HOP


def report(verdict: Verdict = "fail", reason: str = "the control moves the answer as well") -> StudyReport:
    manifest = {
        "study": TWO_HOP.name, "model": "organism/general", "dictionary": "general",
        "settings": StudySettings().to_json(), "sibling": None,
    }  # fmt: skip
    return StudyReport(study=TWO_HOP, verdict=verdict, reasons=(reason,), findings=Findings(), manifest=manifest)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    inside = tmp_path / "open"
    write_report(report(), inside / "found" / "two-hop")
    (inside / "other").mkdir()
    (inside / "other" / "report.json").write_text('{"format": "another"}')
    (tmp_path / "report.html").write_text("secret")
    (tmp_path / "report.json").write_bytes((inside / "found" / "two-hop" / "report.json").read_bytes())
    return inside


@pytest.fixture
def client(folder: Path) -> TestClient:
    return TestClient(application(folder), base_url="http://127.0.0.1:8400", raise_server_exceptions=False)


def test_a_report_is_listed_with_its_verdict_and_its_page_opens(client: TestClient, folder: Path):
    (found,) = studies_in(folder)
    assert (found.path, found.verdict, found.model) == ("found/two-hop/report.json", "fail", "organism/general")
    (listed,) = client.get("/api/studies").json()
    assert listed["reasons"] == ["the control moves the answer as well"]
    start = client.get("/").text
    assert TWO_HOP.title in start
    assert "the control moves the answer as well" in start
    page = client.get("/study", params={"report": found.path})
    assert page.text == (folder / "found" / "two-hop" / "report.html").read_text()
    assert page.headers["content-security-policy"].startswith("sandbox; default-src 'none'")


def test_a_report_without_its_page_says_how_to_write_it(client: TestClient, folder: Path):
    (folder / "found" / "two-hop" / "report.html").unlink()
    assert "silverstain study report found/two-hop/report.json --out found/two-hop" in client.get("/").text


@pytest.mark.parametrize("path", ["../report.json", "nothing/report.json", "/etc/passwd", "", "\0", "x" * 5000])
def test_no_page_outside_of_the_folder_is_opened(client: TestClient, path: str):
    answer = client.get("/study", params={"report": path})
    assert answer.status_code == 404
    assert "secret" not in answer.text


@pytest.mark.parametrize(
    "changes",
    [
        {"title": HOSTILE, "verdict": HOSTILE, "reasons": [HOSTILE], "manifest": {"model": HOSTILE}},
        {"title": None, "verdict": 3, "reasons": "x", "manifest": [], "n": True},
        {"title": "t" * 100_000, "n": -1, "reasons": [["a"]] * 100},
    ],
    ids=["markup", "other types", "long"],
)
def test_what_a_report_says_is_shown_as_text(client: TestClient, folder: Path, changes: dict[str, object]):
    file = folder / "found" / "two-hop" / "report.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | changes))
    start = client.get("/")
    assert start.status_code == 200
    assert "<script>alert" not in start.text
    assert len(start.text) < 50_000


@pytest.mark.parametrize(
    "text", ["{", "[" * 100_000, "null", "\ud83d".encode("utf-16-le", "surrogatepass").decode("latin-1")]
)
def test_a_damaged_report_is_not_listed(folder: Path, text: str):
    (folder / "found" / "two-hop" / "report.json").write_text(text, encoding="utf-8")
    assert studies_in(folder) == []


def test_a_study_is_found_by_keyboard_and_its_page_runs_nothing(folder: Path):
    from tests.explorer.test_page import CHROMIUM, playwright

    write_report(replace(report("pass"), reasons=()), folder / "again")
    page_of = folder / "again" / "report.html"
    page_of.write_text(page_of.read_text().replace("<body>", "<body><script>document.title = 'ran'</script>"))
    with served(folder) as address, playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        page = browser.new_page()
        page.goto(address)
        page.wait_for_selector("[data-ready]")
        page.keyboard.press("/")
        page.keyboard.type("again")
        assert page.locator("#reports > li:visible").count() == 1
        page.keyboard.press("Tab")
        while not page.evaluate("document.activeElement.matches('#reports a')"):
            page.keyboard.press("Tab")
        page.keyboard.press("Enter")
        page.wait_for_url("**/study?report=*")
        assert TWO_HOP.title in page.inner_text("h1")
        assert page.title() != "ran"
        browser.close()
