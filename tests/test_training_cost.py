"""The study of the cost of training prints what it has trained, beside the same users."""

from __future__ import annotations

import json
import sys
from importlib.util import find_spec

import pytest

from tests.benchmarks import training_cost

SMALL = ["--ratings", "20000", "--model", "epochs=1,vector_size=8", "epochs=3,vector_size=8"]


@pytest.fixture
def printed(monkeypatch, capsys):
    def run(*words: str) -> str:
        monkeypatch.setattr(sys, "argv", ["training_cost", *SMALL, *words])
        assert training_cost.main() == 0
        return capsys.readouterr().out

    return run


def test_every_row_is_compared_with_the_first(printed):
    found = json.loads(printed("--als", "--json", "--items", "500"))
    assert 400 < found["n_items"] <= 500
    assert [row["name"] for row in found["rows"]] == [f"item2vec {text}" for text in SMALL[3:]]
    first, second = found["rows"]
    assert 0 < first["training"] < first["seconds"]
    for protocol, n_users in found["users"].items():
        assert n_users > 50
        recall, same = first[protocol].values()
        assert 0 < recall["ci95"][0] < recall["mean"] < recall["ci95"][1]
        assert same == {"mean": 0, "ci95": [0, 0]}
        other, gain = second[protocol].values()
        assert gain["mean"] == pytest.approx(other["mean"] - recall["mean"])


def test_nothing_of_the_last_fifth_is_looked_at_where_one_chooses(printed):
    whole, nested = (json.loads(printed("--als", "--json", *more)) for more in ([], ["--nested"]))
    assert nested["n_ratings"] == whole["n_train"]


@pytest.mark.skipif(not find_spec("implicit"), reason="needs implicit")
def test_als_has_a_read_out_chosen_for_it(printed):
    rows = json.loads(printed("--als", "factors=4,iterations=2", "--json"))["rows"]
    assert rows[-1]["name"] == "als factors=4,iterations=2"
    chosen = rows[-1]["chosen"]["settings"]
    assert {"half_life", "popularity_days", "popularity_weight", "factors"} <= set(chosen)
    assert len(printed("--als", "factors=4,iterations=2").splitlines()) == 2 + 3
