"""Count what the tests about reliability have tried, so that README.md can quote their output."""

from __future__ import annotations

from collections import Counter

#: In the order in which they are printed.
KINDS = (
    "bad inputs tried",
    "kills survived",
    "loads while the model was replaced",
    "lists given while the model was changed",
    "corruptions tried",
    "fuzz cases run",
    "crashes",
    "silent wrong answers",
)
_COUNTS: Counter[str] = Counter()


def count(kind: str, n: int = 1) -> None:
    """Add to a count; call it before asserting, so that a failure is counted too."""
    if kind not in KINDS:
        raise ValueError(f"unknown count {kind!r}")
    _COUNTS[kind] += n


def totals() -> dict[str, int]:
    return dict(_COUNTS)


def lines() -> list[str]:
    """Format the counts, one a line; empty if no test of this run counts anything."""
    if not any(_COUNTS.values()):
        return []
    width = max(map(len, KINDS))
    return [f"{kind:<{width}}  {_COUNTS[kind]:>9,}" for kind in KINDS]
