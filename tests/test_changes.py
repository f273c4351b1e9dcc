"""A change puts a new model in place, whole or not at all, while others ask."""

from __future__ import annotations

import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from recsys import Recommender
from recsys.data.columns import find, take
from recsys.model.ask import Model
from recsys.model.catalogue import Catalogue
from recsys.model.where import matching
from recsys.recommender import fitted
from tests.counts import count

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
    name, place, parts, sample_items, monkeypatch, tmp_path
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
    model.save(tmp_path / "model")
    for one in (model, Recommender.load(tmp_path / "model")):
        assert list(one.recommend(one.users[3], where=WHERE[1], reasons=True)) == answer
    change[name](model)
    assert fitted(model) is not before


USERS, SOME = slice(100), 5  # who asks, and for how many items


class Truth:
    """What one model must answer, worked out from its tables alone."""

    def __init__(self, model: Model, items) -> None:
        self.model, self.ids = model, take(model.tables.item_ids)
        known = items.set_index("item_id").reindex(self.ids)
        drama = known["genres"].map(lambda genres: "Drama" in genres, na_action="ignore").eq(True)
        masks = np.ones(len(self.ids), bool), known["year"].ge(1990), drama
        self.fits = dict(zip(WHERE, [np.asarray(mask, bool) for mask in masks], strict=True))
        self.scores = {}

    def scores_of(self, user, where):
        if (user, where) not in self.scores:
            held, tables = self.model, self.model.tables
            history = tables.histories.items_of(find(tables.user_ids, user))
            weights = 0.5 ** (np.arange(len(history))[::-1] / PARAMS["half_life"])
            weights = weights * np.maximum(tables.counts[history], 1.0) ** -held.params["discount"]
            vector = (weights / weights.sum()) @ tables.vectors[history]
            days = tables.staleness[find(tables.user_ids, user)]
            query = [*vector, 1.0, 1.0 + (0.5 - 1.0) * 0.5**days]
            scores = tables.readout.astype(float) @ query
            scores[~self.fits[where]] = -np.inf
            scores[tables.watched.items_of(find(tables.user_ids, user))] = -np.inf
            self.scores[user, where] = scores
        return self.scores[user, where]

    def agrees(self, user, where, found, *, exact):
        rows = np.array(
            [find(self.ids, item_id) if item_id in self.ids else -1 for item_id, _ in found]
        )
        if (rows < 0).any() or len({*rows.tolist()}) < len(rows):
            return False
        scores = self.scores_of(user, where)
        best = np.sort(scores)[::-1][:SOME] if exact else scores[rows]
        ours = np.array([score for _, score in found])
        same = len(found) == min(SOME, np.isfinite(scores).sum())
        return same and np.allclose([scores[rows], best], ours, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("index", "seconds"),
    [
        ("exact", 2), pytest.param("exact", 60, marks=pytest.mark.slow),
        pytest.param("annoy", 20, marks=pytest.mark.slow),
    ],
)  # fmt: skip
def test_eight_threads_ask_while_one_changes_and_saves_the_model(
    index, seconds, parts, sample_items, tmp_path
):
    """Every list is that of a model that was there: worked out by hand, or that model's own."""
    model = Recommender(**PARAMS, index=index).fit(parts[0], sample_items)
    models, answers, problems, calls = [fitted(model)], set(), [], [0] * 8
    seen = parts[0].groupby("user_id")["item_id"].agg(set)
    users, done = seen.index[USERS].tolist(), threading.Event()

    def ask(number):
        rng = np.random.default_rng(number)
        try:
            while not done.is_set():
                user, where = users[rng.integers(len(users))], WHERE[rng.integers(3)]
                found = model.recommend(user, SOME, where=where)
                ids = found.item_ids.tolist()
                answers.add((user, where, (*zip(ids, found.scores.tolist(), strict=True),)))
                many = model.recommend_many(SOME, users=users, where=where)
                columns = (many[name].tolist() for name in ("user_id", "item_id", "score"))
                lists = {user: [] for user in users}
                for user, item_id, score in zip(*columns, strict=True):
                    lists[user].append((item_id, score))
                answers.update((user, where, (*found,)) for user, found in lists.items())
                calls[number] += 1 + len(users)
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
            model.save(tmp_path / "model")
            for held in models[-4:] * 50:  # far more changes than there is time to make
                model._model = held
                time.sleep(1e-4)
    finally:
        done.set()
        for reader in readers:
            reader.join()
        sys.setswitchinterval(interval)
    assert problems == []
    truths = [Truth(held, sample_items) for held in models]
    exact = index == "exact"
    wrong = [one for one in answers if not any(true.agrees(*one, exact=exact) for true in truths)]
    count("lists given while the model was changed", sum(calls))
    count("silent wrong answers", len(wrong))
    assert wrong == []
    assert len({truth.scores_of(users[0], None).tobytes() for truth in truths}) > 2
    assert sum(calls) > 1000


def test_eight_threads_filter_while_masks_come_and_go(sample_items):
    """More expressions than are kept, and a switch of threads at almost every step."""
    ids = np.sort(sample_items["item_id"].to_numpy())
    wanted = {
        f"year >= {year} or 'Drama' in genres and not year < 1980" for year in range(1930, 2020)
    }
    plain = Catalogue.of(sample_items, ids)
    expected = {where: matching(where, plain.columns).tobytes() for where in wanted}
    wrong, start = [], threading.Barrier(8)

    def ask(number):
        rng, fresh = np.random.default_rng(number), catalogues[0]
        start.wait()
        for where in rng.choice(sorted(wanted), 600):
            if fresh.mask(str(where)).tobytes() != expected[where]:
                wrong.append(where)

    catalogues, interval = [Catalogue.of(sample_items, ids)], sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        with ThreadPoolExecutor(8) as pool:
            list(pool.map(ask, range(8)))
    finally:
        sys.setswitchinterval(interval)
    assert wrong == []
