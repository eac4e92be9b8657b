"""Tables and numbers as verbs print them."""

import pytest

from silverstain.cli.output import duration, interval, percent, size, table


def test_a_table_is_aligned_plain_text(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("COLUMNS", "20")
    monkeypatch.setenv("FORCE_COLOR", "1")
    rows = [["", "before", "edited"], ["austin", "99.5 %", "1.1 %"], ["[bold]x", "<0.1 %"]]
    assert table(rows, right=(1, 2)).splitlines() == [
        "           before  edited",
        "  austin   99.5 %   1.1 %",
        "  [bold]x  <0.1 %",
    ]


def test_no_cell_is_cut_or_wrapped():
    long = " ".join(["word"] * 400)
    assert table([["a", long, "b"]], indent="") == f"a  {long}  b"
    assert table([["\n", "\t"]]) == r"  \n  \t"
    assert table([]) == ""


def test_wide_letters_take_two_columns():
    assert table([["日本", "x"], ["tokyo", "y"]]).splitlines() == ["  日本   x", "  tokyo  y"]


def test_numbers_do_not_pretend():
    assert [percent(share) for share in (0, 0.0004, 0.5)] == ["0.0 %", "<0.1 %", "50.0 %"]
    assert interval((0.25, 1.0), percent) == "(25.0 to 100.0)"
    assert [duration(seconds) for seconds in (0.01, 5, 600, 9000)] == ["0.1 s", "5 s", "10 min", "2.5 h"]
    assert [size(n) for n in (2_300_000, 650_000_000)] == ["2.3 MB", "0.65 GB"]
