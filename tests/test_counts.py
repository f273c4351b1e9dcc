"""The counts about reliability: summed over pytest's processes, and laid out as README.md shows."""

from __future__ import annotations

import os
import re
import subprocess
import sys

import pytest

from tests import counts
from tests.test_storage import ROOT

LINE = re.compile(r"^(\w.*?) {2,}([\d,]+)$", re.MULTILINE)
CONFTEST = """
import pytest, recsys.evaluate
from tests.conftest import *

def evaluate(*args, name):
    with open("evaluated", "a") as file:
        file.write(name)
    return {"name": name}

recsys.evaluate.evaluate = evaluate
ml_100k = ml_100k_items = pytest.fixture(scope="session")(lambda: None)
"""
TEST = """
from tests.counts import count

def test_counting(ml_100k_report):
    count("kills survived", 600)
    assert ml_100k_report == {"name": "ml-100k"}
"""


@pytest.mark.parametrize("words", [(), ("-n", "2", "--dist", "loadfile")])
def test_counts_are_summed_and_ml_100k_evaluated_once_over_all_workers(words, tmp_path):
    if words:
        pytest.importorskip("xdist")
    (tmp_path / "conftest.py").write_text(CONFTEST)
    for name in ("test_one.py", "test_other.py"):
        (tmp_path / name).write_text(TEST)
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", *words, "--basetemp", tmp_path / "tmp"],
        cwd=tmp_path, capture_output=True, text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT), "PYTEST_ADDOPTS": "-p no:cacheprovider"},
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    printed = dict(LINE.findall(done.stdout))
    assert (printed["kills survived"], printed["crashes"]) == ("1,200", "0")
    assert (tmp_path / "evaluated").read_text() == "ml-100k"


def test_the_readme_shows_the_counts_as_they_are_printed():
    text = (ROOT / "tests" / "README.md").read_text(encoding="utf-8")
    fence = re.search(rf"^```text\n({counts.KINDS[0]} .*?)^```$", text, re.MULTILINE | re.DOTALL)
    if fence is None:
        pytest.skip("tests/README.md shows no counts yet")
    found = dict(LINE.findall(fence[1]))
    assert tuple(found) == counts.KINDS
    assert (found["crashes"], found["silent wrong answers"]) == ("0", "0")
