"""A stage whose memory is known: an example of one, and a test of `measure`."""

from __future__ import annotations

import numpy as np

from tests.benchmarks.measure import Case, Works


def example(case: Case) -> Works:
    """Fill 60 MB above inputs of 30 MB; the limit holds 90 MB for a moment and keeps 30."""
    given = np.ones(100_000_000, np.uint8)[:30_000_000].copy()
    return {
        "recsys": lambda: np.concatenate([given, given]),
        "limit": lambda: np.concatenate([given, given])[::2].copy(),
    }
