"""What README.md says of the counts is laid out as the tests print them."""

from __future__ import annotations

import re

import pytest

from tests import counts
from tests.test_readme import fences


def test_the_readme_shows_the_counts_as_they_are_printed():
    (shown,) = [text for text in fences("text") if text.startswith(counts.KINDS[0])]
    found = dict(re.fullmatch(r"(.*?) {2,}([\d,]+)", line).groups() for line in shown.splitlines())
    assert tuple(found) == counts.KINDS
    assert (found["crashes"], found["silent wrong answers"]) == ("0", "0")


def test_counts_add_up_and_unknown_kinds_are_refused(monkeypatch):
    monkeypatch.setattr(counts, "_COUNTS", counts.Counter())
    assert counts.lines() == []
    counts.count("crashes", 0)
    assert counts.lines() == []
    counts.count("kills survived", 1_000)
    counts.count("kills survived")
    assert [line.split()[-1] for line in counts.lines()] == ["0", "1,001", "0", "0", "0", "0", "0"]
    with pytest.raises(ValueError, match="unknown count 'wins'"):
        counts.count("wins")
