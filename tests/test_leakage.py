"""Nothing that is learned, chosen or counted changes when what comes after the cutoff does."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import recsys.evaluate as module
from recsys import Recommender, split_by_time
from recsys.data.events import Events
from recsys.data.splits import Cases, time_cases
from recsys.evaluate import evaluate
from recsys.evaluation.measure import measure
from tests.test_storage import snapshot

PARAMS = {"epochs": 1, "vector_size": 8}
ORACLE = 10**9


def footprint(ratings: pd.DataFrame, folder: Path) -> dict[str, object]:
    """Evaluate, and return all that was known before validation was looked at."""
    fitted, found, fit = [], {}, Recommender.fit

    def spy_on_fit(self, *args, **kwargs):
        fitted.append(self)
        return fit(self, *args, **kwargs)

    def spy_on_measure(cases, contenders, train, ks):
        everybody = Cases(train, train, train, np.zeros(len(train)))
        # Once, before `random` has drawn for anybody.
        for name, contender in () if found else contenders.items():
            rows, scores = contender.rank(everybody.recode(contender.item_ids))
            found[f"scores of {name}"] = (rows.tobytes(), scores.tobytes())
            found[f"items of {name}"] = contender.item_ids.tolist()
        found["popularity"] = train.counts().tolist()
        return measure(cases, contenders, train, ks)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Recommender, "fit", spy_on_fit)
        patch.setattr("recsys.evaluation.run.measure", spy_on_measure)
        report = evaluate(ratings, params=PARAMS)
    (model,) = fitted
    model.save(folder)
    found["model"] = snapshot(folder)
    found["popular"] = list(model.popular(k=10**6))
    for part in ("calibration", "opponents", "params"):
        found[part] = json.dumps(report[part], sort_keys=True)
    return found | {"cutoff": report["split"]["cutoff"]}


@pytest.fixture(scope="module")
def before(sample, tmp_path_factory):
    return footprint(sample, tmp_path_factory.mktemp("leakage") / "model")


def later_rows(ratings: pd.DataFrame) -> np.ndarray:
    return (ratings["timestamp"] >= split_by_time(ratings).cutoff).to_numpy()


def altered(ratings: pd.DataFrame) -> pd.DataFrame:
    """Other users, items and ratings at the same later times; some are known, some are new."""
    late, rng, changed = later_rows(ratings), np.random.default_rng(0), ratings.copy()
    for column, end in (("user_id", 2000), ("item_id", 1500), ("rating", 6)):
        drawn = rng.integers(1, end, int(late.sum()))
        changed.loc[late, column] = drawn.astype(ratings[column].dtype)
    assert not changed.duplicated().any()  # a row that is dropped would move the cutoff
    return changed


def with_an_oracle(ratings: pd.DataFrame) -> pd.DataFrame:
    """An item that every later user watches, and nobody before: to know it would be a hit."""
    changed = ratings.copy()
    late = ratings[later_rows(ratings)]
    last = late.drop_duplicates("user_id", keep="last").index
    changed.loc[last, ["item_id", "rating"]] = [ORACLE, 5.0]
    return changed


def differences(one: dict[str, object], other: dict[str, object]) -> list[str]:
    return [name for name in one if one[name] != other[name]]


@pytest.mark.parametrize("change", [altered, with_an_oracle])
def test_validation_rows_change_no_model_baseline_calibration_or_popularity(
    change, before, sample, tmp_path
):
    after = footprint(change(sample), tmp_path / "model")
    assert list(before) == list(after)
    assert len([name for name in before if name.startswith("scores")]) == 8
    assert differences(before, after) == []


def test_the_oracle_is_in_no_vocabulary_and_counts_as_a_miss(before, sample):
    """It would have been a hit for most: it is among the targets that nobody can find."""
    ratings = with_an_oracle(sample)
    split = split_by_time(ratings)
    assert ORACLE not in set(split.train["item_id"])
    asked = time_cases(Events.of(ratings), split.cutoff)["fold-in"].targets
    assert (asked.item_ids[asked.codes] == ORACLE).sum() > len(asked) / 2
    for name, items in before.items():
        assert not name.startswith("items") or ORACLE not in items


@pytest.mark.slow
def test_a_leak_would_be_noticed(before, sample, monkeypatch, tmp_path):
    """Train on everything, as a careless split would: each kind of footprint tells."""
    real = module.split_events
    monkeypatch.setattr(module, "split_events", lambda events, *given: replace(
        real(events, *given), train=events))  # fmt: skip
    found = differences(before, footprint(altered(sample), tmp_path / "model"))
    assert {"model", "popular", "popularity", "scores of item2vec", "scores of ease"} <= set(found)
