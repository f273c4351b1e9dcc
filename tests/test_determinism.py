"""The same ratings give the same bytes: in any row order, in any process, with any threads."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from recsys import Recommender
from tests.test_storage import ROOT, snapshot

PARAMS = {"vector_size": 16, "epochs": 3}
FIT = f"""
import sys
from recsys import Recommender, load_items, load_ratings
ratings = load_ratings("sample").sample(frac=1, random_state=int(sys.argv[1]))
items = load_items("sample").sample(frac=1, random_state=int(sys.argv[1]))
Recommender(**{PARAMS}).fit(ratings, items).save(sys.argv[2])
"""


@pytest.fixture(scope="module")
def expected(sample, sample_items, tmp_path_factory):
    """The files of a model made in this process from the rows as they come."""
    folder = tmp_path_factory.mktemp("expected") / "model"
    Recommender(**PARAMS).fit(sample, sample_items).save(folder)
    return snapshot(folder)


@pytest.mark.parametrize("order", ["shuffled", "backwards", "by item"])
def test_any_row_order_gives_the_same_bytes(order, sample, sample_items, expected, tmp_path):
    ratings = {
        "shuffled": sample.sample(frac=1, random_state=5),
        "backwards": sample.iloc[::-1],
        "by item": sample.sort_values(["item_id", "user_id"]),
    }[order]
    Recommender(**PARAMS).fit(ratings, sample_items.iloc[::-1]).save(tmp_path / "model")
    assert snapshot(tmp_path / "model") == expected


def test_repeated_rows_and_more_columns_change_nothing(sample, sample_items, expected, tmp_path):
    ratings = sample.iloc[[*range(len(sample)), 5, 5, 77]].assign(tag="funny")
    Recommender(**PARAMS).fit(ratings, sample_items).save(tmp_path / "model")
    assert snapshot(tmp_path / "model") == expected


def test_another_seed_gives_other_bytes(sample, sample_items, expected, tmp_path):
    """So that the tests above compare something."""
    Recommender(**PARAMS, seed=1).fit(sample, sample_items).save(tmp_path / "model")
    assert snapshot(tmp_path / "model") != expected


@pytest.mark.slow
@pytest.mark.parametrize(
    ("hash_seed", "threads"), [("0", "1"), ("1", "2"), ("random", "7"), ("random", None)]
)
def test_other_processes_hash_seeds_and_threads_give_the_same_bytes(
    hash_seed, threads, expected, tmp_path
):
    names = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
    environment = {name: value for name, value in os.environ.items() if name not in names}
    environment |= {"PYTHONHASHSEED": hash_seed} | dict.fromkeys(names if threads else (), threads)
    command = [sys.executable, "-c", FIT, hash_seed.replace("random", "9"), tmp_path / "model"]
    subprocess.run(command, env=environment, cwd=ROOT, check=True)
    assert snapshot(tmp_path / "model") == expected
