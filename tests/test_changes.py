"""A change puts a new model in place, whole or not at all, while others ask."""

from __future__ import annotations

import sys
import threading
import time
from functools import cache

import numpy as np
import pytest

from recsys import Recommender
from recsys.model.ask import Model
from recsys.recommender import fitted

PARAMS = {
    "vector_size": 8, "epochs": 1, "calibrate": False, "half_life": 3.0,
    "popularity_weight": 0.5, "stale_popularity_weight": 1.0,
}  # fmt: skip
COLD = [8, 16, 20]  # never watched here, and known by their metadata
WHERE = (None, "year >= 1990", "'Drama' in genres")


@pytest.fixture(scope="module")
def parts(sample):
    """Earlier and later ratings of a third of the users, without the cold items."""
    ratings = sample[(sample["user_id"] % 3 == 0) & ~sample["item_id"].isin(COLD)]
    late = ratings["timestamp"] >= ratings["timestamp"].quantile(0.8)
    return ratings[~late], ratings[late]


def copy_of(model):
    """Another Recommender with the same model, to be changed."""
    held = model if isinstance(model, Model) else fitted(model)
    other = Recommender(**held.params)
    other._model = held
    return other


def changes(parts, items):
    """Every way to change a model."""
    return {
        "update": lambda model: model.update(parts[1]),
        "add_items": lambda model: model.add_items(items[items["item_id"].isin(COLD)]),
        "remove_items": lambda model: model.remove_items(model.recommend(3, 5).item_ids),
        "fit": lambda model: model.fit(parts[0], items),
    }


@pytest.mark.parametrize("name", ["update", "add_items", "remove_items", "fit"])
@pytest.mark.parametrize("place", ["recsys.model.fit.replace", "recsys.model.fit.build_index"])
def test_a_change_that_fails_leaves_the_model_as_it_was(
    name, place, parts, sample_items, monkeypatch
):
    def interrupt(*args, **options):
        raise KeyboardInterrupt

    model, change = Recommender(**PARAMS).fit(parts[0], sample_items), changes(parts, sample_items)
    before, params, about = fitted(model), model.params, str(model.about)
    answer = list(model.recommend(model.users[3], where=WHERE[1], reasons=True))
    with monkeypatch.context() as patch:
        patch.setattr(place, interrupt)
        with pytest.raises(KeyboardInterrupt):
            change[name](model)
    assert fitted(model) is before
    assert (model.params, str(model.about)) == (params, about)
    assert list(model.recommend(model.users[3], where=WHERE[1], reasons=True)) == answer
    change[name](model)
    assert fitted(model) is not before


@pytest.mark.parametrize("seconds", [2, pytest.param(40, marks=pytest.mark.slow)])
def test_eight_threads_ask_while_one_changes_the_model(seconds, parts, sample_items):
    model = Recommender(**PARAMS).fit(parts[0], sample_items)
    models, answers, problems = [fitted(model)], set(), []
    seen = parts[0].groupby("user_id")["item_id"].agg(set)
    done = threading.Event()

    def ask(number):
        rng = np.random.default_rng(number)
        try:
            while not done.is_set():
                user, where = int(rng.choice(seen.index[:30])), WHERE[rng.integers(3)]
                answers.add((user, where, tuple(model.recommend(user, 5, where=where))))
        except BaseException as error:
            problems.append(error)
            raise

    readers = [threading.Thread(target=ask, args=(number,)) for number in range(8)]
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    try:
        for reader in readers:
            reader.start()
        stop = time.monotonic() + seconds
        while time.monotonic() < stop:
            for change in changes(parts, sample_items).values():
                change(model)
                models.append(fitted(model))
            for held in models[-4:] * 50:  # far more changes than there is time to make
                model._model = held
                time.sleep(1e-4)
    finally:
        done.set()
        for reader in readers:
            reader.join()
        sys.setswitchinterval(interval)

    @cache
    def expected(user, where):
        return {tuple(copy_of(held).recommend(user, 5, where=where)) for held in models}

    assert problems == []
    assert len(expected(3, None)) > 2  # so that the next lines compare something
    for user, where, found in answers:
        assert not {row.item_id for row in found} & seen[user]
        assert found in expected(user, where)
