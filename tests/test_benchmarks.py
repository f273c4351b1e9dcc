"""The benchmarks measure what they say; what they find is not tested."""

from __future__ import annotations

import json
import subprocess
import sys

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from recsys.search.threads import one_blas_thread
from tests.benchmarks import __main__ as command
from tests.benchmarks import data, measure, search, training, training_cost
from tests.benchmarks.example import example
from tests.benchmarks.measure import ROOT, Case, Row, alternate, compare, environment, in_child


@pytest.fixture
def case(tmp_path, monkeypatch):
    monkeypatch.setenv("RECSYS_DATA", str(tmp_path / "data"))
    return Case(str(tmp_path), n_ratings=3000, n_users=40, n_items=300, repeats=2)


def test_works_are_done_in_turn_and_growth_is_the_exponent_of_their_seconds():
    done = []
    seconds = alternate({"a": lambda: done.append("a"), "b": lambda: done.append("b")}, 3)
    assert "".join(done) == "ababab"
    assert [len(taken) for taken in seconds.values()] == [3, 3]
    rows = [
        Row("sequences", "", "", "x", [1.0], None, {"recsys": 3 * n**1.5, "limit": n}, {}, n)
        for n in (10, 100, 1000)
    ]
    once = Row("fit", "", "", "MB", [1.0], None, {"recsys": 1.0}, {}, 10)
    (found,) = command.growth([*rows, once])
    assert found.values == [pytest.approx(1.5)]
    assert found.measured == "growth of seconds (the limit's: 1.00)"
    assert not found.ok


@pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")
def test_a_comparison_has_a_row_for_each_target(case):
    rows = compare(
        "example", "small", example, case, ratios={"limit": 1e9, "absent": 1.0},
        memory_ratios={"limit": 0.5}, peak_mb=100, ours=("time", "ms", 1000, 0.0),
    )  # fmt: skip
    found = {row.measured: row for row in rows}
    assert list(found) == ["seconds / limit", "time", "peak memory / limit", "peak memory"]
    assert found["seconds / limit"].ok
    assert not found["time"].ok
    assert not found["peak memory / limit"].ok
    assert found["peak memory"].ok
    # A peak is above the inputs, and counts what was freed.
    assert found["peak memory"].values == [pytest.approx(60, abs=3)]
    assert in_child(example, "limit", case)["peak_mb"] == pytest.approx(90, abs=3)


def test_the_limits_do_what_ours_does(case):
    loaded = data.load(case)
    typed = loaded[data.TYPED]()
    assert_array_equal(loaded["recsys"]()["item_id"], typed["movieId"])
    mixed = data.load_shuffled(case)[data.TYPED]()
    assert not np.array_equal(mixed, typed)
    assert sorted(map(tuple, mixed.to_numpy())) == sorted(map(tuple, typed.to_numpy()))
    ordered = data.sequences(case)
    users = data.checked(case)["user_id"].to_numpy()
    assert_array_equal(
        users[ordered["stable argsort"]()],
        np.repeat(ordered["recsys"]().user_ids, ordered["recsys"]().lengths),
    )
    averaged = data.averaging(case)
    assert_allclose(averaged["recsys"](), averaged["sparse @ dense"](), rtol=1e-4, atol=1e-6)
    if "implicit" not in measure.LEFT_OUT:
        with one_blas_thread():  # else implicit warns
            works = search.exact(case)
        assert (works["recsys"]()[0] == works["implicit"]()[0]).mean() > 0.99
    trained = training.one_epoch(case)
    assert len(trained["recsys"]().item_ids) == len(trained[training.BARE]().wv)


def test_a_peer_that_is_not_installed_is_left_out(case, monkeypatch):
    monkeypatch.setattr(measure, "LEFT_OUT", set())
    monkeypatch.setattr(command, "LEFT_OUT", measure.LEFT_OUT)
    for name in measure.PEERS:
        monkeypatch.setitem(sys.modules, name, None)
    assert list(search.exact(case)) == ["recsys", "product alone"]
    assert list(search.judging(case)) == ["recsys"]
    assert command.machine()["left_out"] == ["implicit", "ranx"]


@pytest.mark.slow
def test_all_stages_run_at_the_smallest_size():
    # 5,000 items: of fewer than 4,000, Annoy is not asked.
    words = ["--ratings", "1500", "3000", "--users", "50", "--items", "5000"]
    done = subprocess.run(
        [sys.executable, "-m", "tests.benchmarks", "--repeats", "1", "--json", *words],
        cwd=ROOT, env=environment(), capture_output=True, text=True, check=True,
    )  # fmt: skip
    found = json.loads(done.stdout)
    rows = found["rows"]
    assert {row["stage"] for row in rows} == {*command.BY_RATINGS, *command.BY_ITEMS}
    assert all(row["median"] > 0 for row in rows if row["unit"] == "x")
    grown = {row["stage"] for row in rows if row["unit"] == "exponent"}
    assert grown == {"load", "load-shuffled", "reload", "sequences", "user-vectors", "training",
                     "fit"}  # fmt: skip
    assert found["n_missed"] == sum(row["ok"] is False for row in rows)


# ---- the cost of training


@pytest.fixture
def printed(monkeypatch, capsys):
    """Train two small models on the sample; return what is printed."""
    models = ["--model", "epochs=1,vector_size=8", "epochs=3,vector_size=8"]

    def run(*words: str) -> str:
        monkeypatch.setattr(sys, "argv", ["training_cost", "--data", "sample", *models, *words])
        assert training_cost.main() == 0
        return capsys.readouterr().out

    return run


def test_every_training_is_compared_with_the_first(printed):
    found = json.loads(printed("--als", "--json"))
    first, second = found["rows"]
    assert second["name"] == "item2vec epochs=3,vector_size=8"
    assert 0 < first["training"] < first["seconds"]
    for protocol, n_users in found["users"].items():
        assert n_users > 50
        recall, same = first[protocol].values()
        assert 0 < recall["ci95"][0] < recall["mean"] < recall["ci95"][1]
        assert same == {"mean": 0, "ci95": [0, 0]}
        other, gain = second[protocol].values()
        assert gain["mean"] == pytest.approx(other["mean"] - recall["mean"])
    # Nothing of the last fifth is looked at when choosing.
    assert json.loads(printed("--als", "--json", "--nested"))["n_ratings"] == found["n_train"]


def test_als_has_a_read_out_chosen_for_it(printed):
    pytest.importorskip("implicit")
    rows = json.loads(printed("--als", "factors=4,iterations=2", "--json"))["rows"]
    assert rows[-1]["name"] == "als factors=4,iterations=2"
    chosen = rows[-1]["chosen"]["settings"]
    assert {"half_life", "popularity_days", "popularity_weight", "factors"} <= set(chosen)
    assert len(printed("--als", "factors=4,iterations=2").splitlines()) == 2 + 3
