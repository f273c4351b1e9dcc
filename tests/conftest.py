"""Real data and a fitted model, made once for all tests."""

from __future__ import annotations

import pytest

from recsys import DownloadError, Recommender, load_items, load_ratings
from tests import counts


def pytest_terminal_summary(terminalreporter):
    """Print what the tests about reliability have counted."""
    if lines := counts.lines():
        terminalreporter.section("reliability")
        for line in lines:
            terminalreporter.write_line(line)


# Every setting that calibration would choose is given, so that none is.
BRIEF = {
    "vector_size": 16, "epochs": 3, "half_life": 3.0, "popularity_days": 30,
    "popularity_weight": 0.5, "stale_popularity_weight": 2.0,
}  # fmt: skip


@pytest.fixture(scope="session")
def ml_100k():
    """MovieLens 100K, fetched into the data folder at the first use."""
    try:
        return load_ratings("ml-100k")
    except DownloadError as error:
        pytest.skip(str(error))


@pytest.fixture(scope="session")
def ml_100k_items(ml_100k):
    return load_items("ml-100k")


@pytest.fixture(scope="session")
def sample():
    """The synthetic sample's ratings: 20,000 by 500 users."""
    return load_ratings("sample")


@pytest.fixture(scope="session")
def sample_items():
    return load_items("sample")


@pytest.fixture(scope="session")
def model(sample, sample_items):
    """A model of the sample, trained briefly; tests must not change it."""
    return Recommender(**BRIEF).fit(sample, sample_items)
