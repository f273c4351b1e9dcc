"""A change puts a new model in place, whole or not at all, while others ask."""

from __future__ import annotations

import sys
import threading
import time
from functools import cache

import numpy as np
import pytest

from recsys import Recommender
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
    other = Recommender(**model.params)
    other._model = fitted(model)
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
@pytest.mark.parametrize("place", ["recsys.model.fit.Model", "recsys.model.fit.build_annoy"])
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
    models, answers, problems = [fitted(model)], [], []
    seen = parts[0].groupby("user_id")["item_id"].agg(set)
    done = threading.Event()

    def ask(number):
        rng = np.random.default_rng(number)
        try:
            while not done.is_set():
                user, where = int(rng.choice(seen.index[:30])), WHERE[rng.integers(3)]
                first = len(models) - 1
                found = model.recommend(user, 5, where=where)
                answers.append((user, where, list(found), first, len(models) + 1))
                time.sleep(0.001)
        except BaseException as error:
            problems.append(error)
            raise

    readers = [threading.Thread(target=ask, args=(number,)) for number in range(8)]
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-4)
    try:
        for reader in readers:
            reader.start()
        stop = time.monotonic() + seconds
        while time.monotonic() < stop:
            for change in changes(parts, sample_items).values():
                change(model)
                models.append(fitted(model))
    finally:
        done.set()
        for reader in readers:
            reader.join()
        sys.setswitchinterval(interval)

    @cache
    def expected(place, user, where):
        one = Recommender()
        one._model = models[place]
        return list(one.recommend(user, 5, where=where))

    assert problems == []
    assert len(models) > 4
    assert len(answers) > 200
    for user, where, found, first, last in answers:
        assert not {row.item_id for row in found} & seen[user]
        current = range(first, min(last, len(models)))
        assert any(found == expected(place, user, where) for place in current)
    told_apart = {tuple(row.score for row in expected(n, 3, None)) for n in range(len(models))}
    assert len(told_apart) > 2  # so that the line above compares something
