"""The benchmarks measure what they say; what they find is not tested."""

from __future__ import annotations

import json
import subprocess
import sys

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from tests.benchmarks import __main__ as command
from tests.benchmarks import data, measure, search, training, training_cost
from tests.benchmarks.measure import ROOT, Case, Row, alternate, compare, environment


@pytest.fixture
def case(tmp_path, monkeypatch):
    monkeypatch.setenv("RECSYS_DATA", str(tmp_path / "data"))
    return Case(str(tmp_path), n_ratings=3000, n_users=40, n_items=300, repeats=2)


def test_works_are_done_in_turn_and_growth_is_the_exponent_of_their_seconds():
    done = []
    seconds = alternate({"a": lambda: done.append("a"), "b": lambda: done.append("b")}, 3)
    assert "".join(done) == "ababab"
    assert [len(taken) for taken in seconds.values()] == [3, 3]
    rows = [Row("sequences", "", "", "x", [1.0], None, {"recsys": 3 * n**1.5, "limit": n}, {}, n)
            for n in (10, 100, 1000)]  # fmt: skip
    once = Row("fit", "", "", "MB", [1.0], None, {"recsys": 1.0}, {}, 10)
    (found,) = command.growth([*rows, once])
    assert found.values == [pytest.approx(1.5)]
    assert found.measured == "growth of seconds (the limit's: 1.00)"
    assert not found.ok


def example(_):
    """Fill 60 MB above inputs of 30 MB; the limit holds 90 MB for a moment and keeps 30."""
    given = np.ones(100_000_000, np.uint8)[:30_000_000].copy()
    return {"recsys": lambda: np.concatenate([given, given]),
            "limit": lambda: np.concatenate([given, given])[::2].copy()}  # fmt: skip


@pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")
def test_a_comparison_has_a_row_for_each_target(case):
    ratio, time, memory_ratio, memory = compare(
        "example", "small", example, case, ratios={"limit": 1e9, "absent": 1.0},
        memory_ratios={"limit": 0.5}, peak_mb=100, ours=("time", "ms", 1000, 0.0),
    )  # fmt: skip
    assert (ratio.measured, ratio.ok) == ("seconds / limit", True)
    assert (time.measured, time.ok) == ("time", False)
    assert (memory_ratio.measured, memory_ratio.ok) == ("peak memory / limit", False)
    assert (memory.measured, memory.ok) == ("peak memory", True)
    # A peak is above the inputs, and counts what was freed.
    assert memory_ratio.peak_mb == pytest.approx({"recsys": 60, "limit": 90}, abs=3)


def test_the_limits_do_what_ours_does(case):
    loaded = data.load(case)
    typed = loaded[data.TYPED]()
    assert_array_equal(loaded["recsys"]()["item_id"], typed["movieId"])
    mixed = data.load_shuffled(case)[data.TYPED]()
    assert not np.array_equal(mixed, typed)
    assert sorted(map(tuple, mixed.to_numpy())) == sorted(map(tuple, typed.to_numpy()))
    ordered, users = data.sequences(case), data.checked(case)["user_id"].to_numpy()
    histories = ordered["recsys"]()
    expected = np.repeat(histories.user_ids, histories.lengths)
    assert_array_equal(users[ordered["stable argsort"]()], expected)
    averaged = data.averaging(case)
    assert_allclose(averaged["recsys"](), averaged["sparse @ dense"](), rtol=1e-4, atol=1e-6)
    if "implicit" not in measure.LEFT_OUT:
        works = search.exact(case)
        assert (works["recsys"]()[0] == works["implicit"]()[0]).mean() > 0.99
    trained = training.one_epoch(case)
    assert len(trained["recsys"]().item_ids) == len(trained[training.BARE]().wv)


def test_a_peer_that_is_not_installed_is_left_out(case, monkeypatch):
    monkeypatch.setattr(measure, "LEFT_OUT", set())
    for name in measure.PEERS:
        monkeypatch.setitem(sys.modules, name, None)
    assert list(search.exact(case)) == ["recsys", "product alone"]
    assert list(search.judging(case)) == ["recsys"]
    assert {"implicit", "ranx"} == measure.LEFT_OUT


@pytest.mark.slow
def test_all_stages_run_at_the_smallest_size():
    # 5,000 items: of fewer than 4,000, Annoy is not asked.
    words = ["--ratings", "1500", "3000", "--users", "50", "--items", "5000"]
    done = subprocess.run(
        [sys.executable, "-m", "tests.benchmarks", "--repeats", "1", "--json", *words],
        cwd=ROOT, env=environment(), capture_output=True, text=True, check=True,
    )  # fmt: skip
    rows = json.loads(done.stdout)["rows"]
    assert {row["stage"] for row in rows} == {*command.BY_RATINGS, *command.BY_ITEMS}
    assert all(row["median"] > 0 for row in rows if row["unit"] == "x")
    assert any(row["unit"] == "exponent" for row in rows)


def test_the_cost_of_training_is_compared_with_the_first(monkeypatch, capsys):
    pytest.importorskip("implicit")

    def printed(*words):
        models = ["--model", "epochs=1,vector_size=8", "epochs=3,vector_size=8"]
        monkeypatch.setattr(sys, "argv", ["training_cost", "--data", "sample", *models, *words])
        assert training_cost.main() == 0
        return capsys.readouterr().out

    found = json.loads(printed("--peers", "als,factors=4,iterations=2", "ease", "--json"))
    first, *others = found["rows"]
    assert [row["name"] for row in others] == [
        "item2vec epochs=3,vector_size=8", "als,factors=4,iterations=2", "ease"]  # fmt: skip
    assert 0 < first["training"] < first["seconds"]
    for protocol in found["users"]:
        recall, same = first[protocol].values()
        assert 0 < recall["ci95"][0] < recall["mean"] < recall["ci95"][1]
        assert same == {"mean": 0, "ci95": [0, 0]}
        for other, gain in (row[protocol].values() for row in others):
            assert gain["mean"] == pytest.approx(other["mean"] - recall["mean"])
    assert {"half_life", "popularity_days", "factors"} <= {*others[1]["chosen"]["settings"]}
    # Nothing of the last fifth is looked at when choosing.
    assert json.loads(printed("--peers", "--json", "--nested"))["n_ratings"] == found["n_train"]
    assert len(printed("--peers").splitlines()) == 2 + 2
