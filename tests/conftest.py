"""Real data, a fitted model and an evaluation, made once for all tests."""

from __future__ import annotations

import json
import signal

import pytest
from filelock import FileLock
from hypothesis import HealthCheck, settings

from recsys import DownloadError, Recommender, load_items, load_ratings
from tests import counts

# However busy the machine is, only what is wrong may fail.
settings.register_profile("busy", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("busy")


def pytest_configure():
    """Let children be interrupted, even if this is a background job, which ignores SIGINT."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_sessionfinish(session):
    """In a worker of pytest-xdist, send what was counted to the process that prints it."""
    if hasattr(session.config, "workeroutput"):
        session.config.workeroutput["counts"] = counts.totals()


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node):
    for kind, n in getattr(node, "workeroutput", {}).get("counts", {}).items():
        counts.count(kind, n)


def pytest_terminal_summary(terminalreporter):
    """Print what the tests about reliability have counted."""
    if lines := counts.lines():
        terminalreporter.section("reliability")
        for line in lines:
            terminalreporter.write_line(line)


# Every setting that calibration would choose is given, so that none is.
BRIEF = {
    "vector_size": 16, "epochs": 3, "half_life": 3.0, "popularity_days": 30,
    "popularity_weight": 0.5, "stale_popularity_weight": 2.0, "audience_weight": 5.0,
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
def ml_100k_report(ml_100k, ml_100k_items, tmp_path_factory, request):
    """The report of `evaluate` on ml-100k; with pytest-xdist one worker makes it for all."""
    from recsys.evaluate import evaluate

    path = tmp_path_factory.getbasetemp() / "ml-100k.json"
    if hasattr(request.config, "workerinput"):
        path = path.parents[1] / path.name  # this run's, of all workers
    with FileLock(f"{path}.lock"):
        if not path.exists():
            report = evaluate(ml_100k, ml_100k_items, name="ml-100k")
            path.write_text(json.dumps(report, allow_nan=False))
        return json.loads(path.read_text())


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
