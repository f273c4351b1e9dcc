"""Walks go along edges only, as often as they should, and begin at every item."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from numpy.testing import assert_array_equal

from recsys.data.events import build_sequences
from recsys.vectors.item2vec import train_item2vec
from recsys.vectors.walks import count_neighbours, random_walks
from tests.test_events import sequences_of

# 0 is linked to all but 4, 1 and 2 to each other; 3 leads on to 4 alone. 5 has no neighbour, and
# 6 only itself. Weights: 0-1 one, 0-2 three, 0-3 two, 1-2 one, 3-4 four.
SMALL = sequences_of([[0, 1, 2, 0, 2, 0], [0, 3, 0], [3, 4, 3, 4, 3], [5], [6, 6]])


def walk(**given):
    return random_walks(SMALL, **{"walks_per_item": 1000, "walk_length": 6} | given)


def steps_of(walks, n):
    """All runs of n items within one walk, (n_runs, n)."""
    runs = np.lib.stride_tricks.sliding_window_view(walks.codes, n)
    rows = np.lib.stride_tricks.sliding_window_view(walks.user_rows, n)
    return runs[(rows == rows[:, :1]).all(axis=1)]


def test_neighbours_are_counted_within_users_in_both_directions(sample):
    graph = count_neighbours(SMALL).toarray()
    assert graph[0].tolist() == [0, 1, 3, 2, 0, 0, 0]
    assert (graph[1, 2], graph[3, 4], graph[5].sum(), graph[6].sum()) == (1, 4, 0, 0)
    sequences = build_sequences(sample)
    expected = np.zeros((len(sequences.item_ids),) * 2, np.int64)
    for user in range(len(sequences)):
        for a, b in pairwise(sequences.items_of(user)):
            expected[a, b] += a != b
    assert_array_equal(count_neighbours(sequences).toarray(), expected + expected.T)


@pytest.mark.parametrize(("p", "q"), [(1, 1), (0.5, 2), (20, 0.05)])
def test_walks_follow_edges_only_and_begin_everywhere(p, q):
    walks = walk(p=p, q=q, walks_per_item=20)
    first, then = steps_of(walks, 2).T
    assert (count_neighbours(SMALL).toarray()[first, then] > 0).all()
    starts = walks.codes[walks.offsets[:-1]].reshape(20, 7)
    assert (np.sort(starts, axis=1) == np.arange(7)).all()  # every item once a round
    assert len({tuple(row) for row in starts.tolist()}) > 10  # in random order
    assert_array_equal(walks.lengths, np.where(starts.ravel() >= 5, 1, 6))


@pytest.mark.parametrize("p", [0.25, 1.0, 4.0])
@pytest.mark.parametrize("q", [0.25, 1.0, 4.0])
def test_p_and_q_weigh_the_way_back_and_the_way_on_as_in_node2vec(p, q):
    walks = walk(p=p, q=q)
    came_from, at, then = steps_of(walks, 3).T
    # From 1 to 0: back to 1 (weight 1), to 2, which is linked to 1 (3), or to 3, which is not (2).
    here = (came_from == 1) & (at == 0)
    assert here.sum() > 1000
    expected = np.array([1 / p, 3.0, 2 / q])
    shares = np.bincount(then[here], minlength=6)[[1, 2, 3]] / here.sum()
    assert shares == pytest.approx(expected / expected.sum(), abs=0.05)
    assert (then[(came_from == 3) & (at == 4)] == 3).all()  # there is no other way


def test_word2vec_trains_on_walks_as_on_histories_with_a_vector_for_every_item():
    trained = train_item2vec(walk(walks_per_item=3), vector_size=4, epochs=1)
    assert_array_equal(trained.item_ids, SMALL.item_ids)
    one, again, other = (walk(p=0.5, q=2, walks_per_item=5, seed=seed) for seed in (3, 3, 4))
    assert_array_equal(one.codes, again.codes)
    assert not np.array_equal(other.codes, again.codes)
