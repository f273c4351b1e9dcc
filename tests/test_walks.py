"""Walks go along edges only, as often as they should, and leave no item without a vector."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_array_equal
from scipy.sparse import csr_array

from recsys import Recommender
from recsys.data.sequences import Sequences, build_sequences, offsets_from
from recsys.vectors import calibrate
from recsys.vectors import walks as module
from recsys.vectors.walks import random_walks, train_vectors, transitions

TINY = {"vector_size": 8, "epochs": 2, "calibrate": False, "index": "exact"}


def graph_of(edges, n_items):
    """An undirected graph of (a, b, weight)."""
    a, b, weight = np.array(edges).T
    both = (np.concatenate([weight, weight]), (np.concatenate([a, b]), np.concatenate([b, a])))
    graph = csr_array(both, shape=(n_items, n_items))
    graph.sort_indices()
    return graph


# 0 is linked to all but 4, 1 and 2 to each other; 3 leads on to 4 alone. 5 has no neighbour.
SMALL = graph_of([(0, 1, 1), (0, 2, 3), (0, 3, 2), (1, 2, 1), (3, 4, 4)], 6)


def walk(**given):
    settings = {"walks_per_item": 1000, "walk_length": 6} | given
    return random_walks(SMALL, np.arange(6), **settings)


def steps_of(walks, n):
    """All runs of n items within one walk, (n_runs, n)."""
    runs = np.lib.stride_tricks.sliding_window_view(walks.codes, n)
    rows = np.lib.stride_tricks.sliding_window_view(walks.user_rows, n)
    return runs[(rows == rows[:, :1]).all(axis=1)]


@pytest.mark.parametrize(("p", "q"), [(1, 1), (0.5, 2), (20, 0.05)])
def test_walks_follow_edges_only_and_begin_everywhere(p, q):
    walks = walk(p=p, q=q, walks_per_item=20)
    first, then = steps_of(walks, 2).T
    assert (SMALL.toarray()[first, then] > 0).all()
    starts = walks.codes[walks.offsets[:-1]].reshape(20, 6)
    assert (np.sort(starts, axis=1) == np.arange(6)).all()  # every item once a round
    assert len({tuple(row) for row in starts.tolist()}) > 10  # in random order
    assert_array_equal(walks.lengths, np.where(starts.ravel() == 5, 1, 6))


def test_a_step_goes_by_the_weight_of_the_edge():
    first, then = steps_of(walk(), 2).T
    shares = np.bincount(then[first == 0], minlength=6) / (first == 0).sum()
    assert shares == pytest.approx([0, 1 / 6, 3 / 6, 2 / 6, 0, 0], abs=0.02)


@pytest.mark.parametrize("p", [0.25, 1.0, 4.0])
@pytest.mark.parametrize("q", [0.25, 1.0, 4.0])
def test_p_and_q_weigh_the_way_back_and_the_way_on_as_in_node2vec(p, q):
    came_from, at, then = steps_of(walk(p=p, q=q), 3).T
    # From 1 to 0: back to 1 (weight 1), to 2, which is linked to 1 (3), or to 3, which is not (2).
    here = (came_from == 1) & (at == 0)
    assert here.sum() > 1000
    expected = np.array([1 / p, 3.0, 2 / q])
    shares = np.bincount(then[here], minlength=6)[[1, 2, 3]] / here.sum()
    assert shares == pytest.approx(expected / expected.sum(), abs=0.05)


def test_a_walk_turns_back_where_there_is_no_other_way():
    came_from, at, then = steps_of(walk(p=20, q=0.05, walks_per_item=10), 3).T
    assert (then[(came_from == 3) & (at == 4)] == 3).all()


def test_walks_are_seeded_and_differ_by_seed_and_round():
    again = walk(p=0.5, q=2, walks_per_item=5, seed=3)
    assert_array_equal(again.codes, walk(p=0.5, q=2, walks_per_item=5, seed=3).codes)
    other = walk(p=0.5, q=2, walks_per_item=5, seed=4)
    assert not np.array_equal(other.codes, again.codes)


def test_without_any_edge_every_walk_is_one_item():
    walks = random_walks(csr_array((3, 3), dtype=np.int64), np.arange(3), walks_per_item=2,
                         walk_length=5, p=2.0)  # fmt: skip
    assert walks.lengths.tolist() == [1] * 6


def test_neighbours_are_counted_within_users_in_both_directions(sample):
    sequences = build_sequences(sample)
    expected = np.zeros((len(sequences.item_ids),) * 2, np.int64)
    for user in range(len(sequences)):
        items = sequences.items_of(user)
        for a, b in pairwise(items):
            expected[a, b] += a != b
    assert_array_equal(transitions(sequences).toarray(), expected + expected.T)


@pytest.fixture
def trained_on(monkeypatch):
    """Collect what Word2Vec is given."""
    seen = []
    original = module.train_item2vec
    monkeypatch.setattr(module, "train_item2vec", lambda sequences, **given: seen.append(
        (sequences, given)) or original(sequences, **given))  # fmt: skip
    return seen


def test_histories_are_trained_on_as_they_are(sample, trained_on):
    params = Recommender(**TINY).params
    histories = build_sequences(sample)
    train_vectors(histories, params)
    [(sequences, given)] = trained_on
    assert sequences is histories
    assert given["epochs"] == 2


def test_walks_are_as_many_tokens_an_epoch_and_new_ones_in_each(sample, trained_on):
    params = Recommender(sequences="walks", **TINY | {"epochs": 4}).params
    histories = build_sequences(sample)
    trained = train_vectors(histories, params)
    [(walks, given)] = trained_on
    assert given["epochs"] == 1
    n_tokens = module.WALK_LENGTH * len(histories.item_ids)
    assert abs(len(walks.codes) / 4 - len(histories.codes)) <= n_tokens / 2
    rounds = walks.codes.reshape(4, -1)
    assert not np.array_equal(rounds[0], rounds[1])
    assert_array_equal(trained.item_ids, histories.item_ids)


def test_items_without_a_neighbour_and_rare_ones_are_treated_as_with_histories():
    lists = [[0, 1, 2, 1, 0, 2], [1, 2, 0], [3], [4, 3]]
    codes = np.concatenate(lists).astype(np.int32)
    offsets = offsets_from(np.array([len(one) for one in lists]))
    histories = Sequences(np.arange(4), np.arange(10, 15), codes, offsets)
    for min_count, items in [(1, [10, 11, 12, 13, 14]), (2, [10, 11, 12, 13])]:
        found = [
            train_vectors(
                histories, Recommender(**TINY, sequences=kind, min_count=min_count).params
            )
            for kind in ("histories", "walks")
        ]
        assert [one.item_ids.tolist() for one in found] == [items, items]
        assert all(np.isfinite(one.vectors).all() for one in found)


def test_too_rare_items_are_the_same_error_as_with_histories():
    views = pd.DataFrame({"user_id": [1, 1, 2], "item_id": [1, 2, 3]})
    for kind in ("histories", "walks"):
        with pytest.raises(ValueError, match=r"too little data: .* items after min_count=9"):
            Recommender(sequences=kind, min_count=9, **TINY).fit(views)


def test_a_model_of_walks_round_trips_and_is_the_same_each_time(sample, tmp_path):
    given = TINY | {"sequences": "walks", "p": 0.5, "q": 2.0}
    model = Recommender(**given).fit(sample)
    again = Recommender(**model.params).fit(sample.sample(frac=1, random_state=0))
    assert model.params == again.params
    assert {name: model.params[name] for name in ("sequences", "p", "q")} == {
        "sequences": "walks", "p": 0.5, "q": 2.0}  # fmt: skip
    model.save(tmp_path / "model")
    user, loaded = model.users[0], Recommender.load(tmp_path / "model")
    for other in (again, loaded):
        assert_array_equal(other.user_vector(user), model.user_vector(user))
        assert other.recommend(user).item_ids.tolist() == model.recommend(user).item_ids.tolist()
    plain = Recommender(**given | {"p": 1.0, "q": 1.0}).fit(sample)
    assert not np.array_equal(plain.user_vector(user), model.user_vector(user))


def test_calibration_trains_on_walks_too(sample, trained_on, monkeypatch):
    monkeypatch.setitem(calibrate.GRID, "epochs", (2, 4))
    given = {"vector_size": 4, "half_life": 2.0, "popularity_days": 30.0, "popularity_weight": 0.5}
    Recommender(sequences="walks", index="exact", **given).fit(sample.head(4000))
    tried = {len(walks.codes) // len(walks.item_ids) for walks, _ in trained_on}
    assert {parameters["epochs"] for _, parameters in trained_on} == {1}
    assert len(trained_on) == 3  # 2 and 4 epochs on the earlier part, the better one on all
    assert max(tried) == 2 * min(tried)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"sequences": "walk"}, "sequences must be one of"),
        ({"sequences": "walks", "p": 0}, "p must be a number from 0.05 to 20, got 0"),
        ({"sequences": "walks", "q": 21}, "q must be a number from 0.05 to 20, got 21"),
        ({"sequences": "walks", "q": None}, "q must be a number from 0.05 to 20, got None"),
        ({"sequences": "walks", "p": float("nan")}, "p must be a number"),
        ({"p": 0.5}, "p and q are of random walks: use them with sequences='walks'"),
    ],
)
def test_wrong_settings_are_refused_at_once(wrong, message):
    with pytest.raises(ValueError, match=message):
        Recommender(**wrong)
