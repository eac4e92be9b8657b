"""What a notebook shows for values: pieces of HTML that need nothing else, and in which strangers' text stays text."""

from dataclasses import replace
from html import unescape
from html.parser import HTMLParser

from tests.explorer.conftest import OAKLAND
from tests.explorer.test_document import HOSTILE

from silverstain.attribution.secant import find_contrast
from silverstain.explorer.live import Live, Offer
from silverstain.verification import Verification
from silverstain.verification.claims import Claim

CLAIM = Claim(
    kind="node → logit", source="3_1501_9", target="austin", distance=1, indirect=0.0, predicted=-2.5, by_edges=-2.4,
    by_thresholds=-2.5, measured=-2.25, frozen=-2.3, interval=(-0.1, 0.1), control=0.05, shuffled=0.2,
    verdict="confirmed",
)  # fmt: skip


class Tags(HTMLParser):
    """Which elements are open, and which there were."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.seen: set[str] = set()

    def handle_starttag(self, tag: str, attrs: object) -> None:
        self.seen.add(tag)
        if tag not in ("line", "circle"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag not in ("line", "circle"):
            assert self.open.pop() == tag


def verification(*claims: Claim) -> Verification:
    return Verification(graph_hash="h", claims=claims, settings={}, direct_error=1e-7)


def test_a_verification_shows_its_verdicts_and_the_strongest_claims():
    weak = replace(CLAIM, source="2_7_9", measured=0.01, predicted=0.02, verdict="inconclusive")
    html = verification(weak, *[CLAIM] * 13)._repr_html_()
    said = unescape(html)
    assert "14 claims of the graph" in said
    assert "13 confirmed" in said
    assert "L3.F1501@9" in said
    assert "−2.25" in said or "-2.25" in said
    assert "and 2 more" in said
    assert html.count("<circle") == 14
    tags = Tags()
    tags.feed(html)
    assert tags.open == []


def test_a_verification_of_nothing_says_so():
    html = verification()._repr_html_()
    assert "no claims" in html
    assert "<svg" not in html


def test_strangers_text_in_a_claim_stays_text():
    tags = Tags()
    tags.feed(verification(replace(CLAIM, source=HOSTILE, target=HOSTILE))._repr_html_())
    assert tags.seen <= {
        "style", "div", "p", "b", "table", "thead", "tbody", "tr", "th", "td", "svg", "g", "line", "circle", "text",
    }  # fmt: skip


def test_a_contrast_shows_the_explorer_with_its_graph(live: Live):
    loaded = live.model(Offer(name="neurons", model="organism/general", dictionary="neurons", about=""))
    found = find_contrast(
        loaded.model, loaded.dictionary, "the capital of the state containing dallas is", OAKLAND, max_features=40
    )
    html = found._repr_html_()
    assert html.startswith("<iframe")
    assert "oakland" in html
