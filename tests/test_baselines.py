"""Every baseline scores as its formula says, for any histories."""

import numpy as np
import pytest
from numpy.testing import assert_allclose

from recsys.data.sequences import Sequences, offsets_from
from recsys.evaluation.baselines import (
    ease,
    item_knn,
    markov,
    plus_popularity,
    popularity,
    random,
    recent_popularity,
    svd,
    user_item_matrix,
)

RNG_VIEWS = np.random.default_rng(3).random((30, 12)) < 0.3
FITS = {
    "popularity": lambda train: popularity(train.counts()),
    "recent-popularity": lambda train: recent_popularity(train.counts(), train.counts()),
    "item-knn": item_knn,
    "svd": svd,
    "ease": ease,
    "markov": markov,
    "markov + popularity": lambda train: plus_popularity(
        markov(train), train.counts(), train.counts(), weight=0.5
    ),
    "random": lambda train: random(len(train.item_ids)),
}


def sequences(lists, n_items):
    """Histories of the users 0, 1, ... as lists of codes."""
    lengths = np.array([len(codes) for codes in lists])
    codes = np.array([code for codes in lists for code in codes], dtype=np.int32)
    return Sequences(np.arange(len(lists)), np.arange(n_items), codes, offsets_from(lengths))


def of_matrix(views):
    return sequences([np.flatnonzero(row).tolist() for row in views], views.shape[1])


def recent_half_life_3(lists, n_items):
    """Weigh histories as `baselines` says, user by user."""
    weights = np.zeros((len(lists), n_items))
    for user, codes in enumerate(lists):
        for steps_back, code in enumerate(reversed(codes)):
            weights[user, code] += 0.5 ** (steps_back / 3)
    return weights / weights.sum(axis=1, keepdims=True)


HISTORIES = [[0, 4, 11], [7], [3, 3, 1], list(range(12))]


@pytest.mark.parametrize(
    ("half_life", "expected"),
    [(1, [[2 / 7, 0, 5 / 7], [0, 1, 0]]), (None, [[1, 0, 1], [0, 1, 0]])],
)
def test_recent_items_weigh_more_and_repeats_add_up_or_count_once(half_life, expected):
    histories = sequences([[2, 0, 2], [1]], 3)
    matrix = user_item_matrix(histories, half_life=half_life)
    assert_allclose(matrix.toarray(), expected, rtol=1e-6)
    assert (histories.offsets.tolist(), histories.codes.tolist()) == ([0, 3, 4], [2, 0, 2, 1])


def test_recent_popularity_goes_by_recent_counts_and_then_by_all():
    train = sequences([[0, 0, 0, 1, 1, 2, 3]], 4)
    score = recent_popularity(np.array([1, 1, 0, 2]), train.counts())
    assert np.argsort(-score(train)[0]).tolist() == [3, 0, 1, 2]
    # It tells apart what float32 would not.
    train = sequences([[0] * 50_000 + [1] * 50_001], 2)
    before, after = recent_popularity(np.array([200, 200]), train.counts())(train)[0]
    assert before < after


@pytest.mark.parametrize("name", FITS)
def test_every_baseline_works_on_a_catalogue_of_five_items_or_fewer(name):
    for lists in ([[0, 1, 2, 3, 4]], [[0, 1, 2], [2, 3, 4]], [[0, 1], [0, 1]], [[0], [0]]):
        train = sequences(lists, 1 + max(map(max, lists)))
        scores = FITS[name](train)(train)
        assert (scores.shape, scores.dtype) == ((len(train), len(train.item_ids)), np.float32)
        assert np.isfinite(scores).all()


@pytest.mark.parametrize("name", FITS)
def test_scores_belong_to_the_caller_and_do_not_depend_on_who_else_is_asked(name):
    score = FITS[name](of_matrix(RNG_VIEWS))
    score(sequences(HISTORIES, 12))[:] = -np.inf  # the caller strikes out what was watched
    scores = score(sequences(HISTORIES, 12))
    assert np.isfinite(scores).all()
    if name != "random":
        assert_allclose(scores[2:3], score(sequences(HISTORIES[2:3], 12)), rtol=1e-6)


SEVERAL_BLOCKS = np.random.default_rng(0).random((40, 1100)) < 0.05


@pytest.mark.parametrize(
    ("views", "lists", "n_neighbours"),
    [(RNG_VIEWS, HISTORIES, 2), (RNG_VIEWS, HISTORIES, 500),
     (SEVERAL_BLOCKS, [[0, 1050], [1030, 1023, 1024]], 1100)],
)  # fmt: skip
def test_item_knn_equals_its_dense_formula(views, lists, n_neighbours):
    train, n_items = views.astype(float), views.shape[1]
    n_users = train.sum(axis=0)
    similar = train.T @ train / (np.sqrt(np.outer(n_users, n_users)) + 5)
    np.fill_diagonal(similar, 0)
    for row in similar:
        row[row < np.sort(row)[::-1][min(n_neighbours, n_items) - 1]] = 0
    score = item_knn(of_matrix(views), n_neighbours=n_neighbours)
    expected = recent_half_life_3(lists, n_items) @ similar
    assert_allclose(score(sequences(lists, n_items)), expected, atol=1e-6)


@pytest.mark.parametrize("n_components", [1, 4, 32])
def test_svd_equals_the_projection_on_the_first_directions(n_components):
    directions = np.linalg.svd(RNG_VIEWS.astype(float))[2][: min(n_components, 11)]
    expected = recent_half_life_3(HISTORIES, 12) @ directions.T @ directions
    score = svd(of_matrix(RNG_VIEWS), n_components=n_components)
    assert_allclose(score(sequences(HISTORIES, 12)), expected, atol=1e-5)


def test_ease_equals_a_ridge_regression_of_each_item_on_all_others():
    train, between = RNG_VIEWS.astype(float), np.zeros((12, 12))
    for item in range(12):
        rest = np.delete(np.arange(12), item)
        gram = train[:, rest].T @ train[:, rest] + 500 * np.eye(11)
        between[rest, item] = np.linalg.solve(gram, train[:, rest].T @ train[:, item])
    expected = recent_half_life_3(HISTORIES, 12) @ between
    assert_allclose(ease(of_matrix(RNG_VIEWS))(sequences(HISTORIES, 12)), expected, atol=1e-7)


def test_markov_counts_what_came_next_and_a_step_later_for_less():
    # item counts 3, 2, 1: 0 -> 1 twice next, once (a step later); 0 -> 2 once a step later
    score = markov(sequences([[0, 1, 2], [0, 0, 1]], 3))
    from_0 = [1 / 3, (1 + 1 + 0.9) / np.sqrt(3 * 2), 0.9 / np.sqrt(3 * 1)]
    from_1 = [0, 0, 1 / np.sqrt(2 * 1)]
    assert_allclose(score(sequences([[0], [1], [2]], 3)), [from_0, from_1, [0, 0, 0]], rtol=1e-6)
    older, newer = 0.5 ** (1 / 2), 1
    both = (older * np.array(from_0) + newer * np.array(from_1)) / (older + newer)
    assert_allclose(score(sequences([[0, 1]], 3), half_life=2), [both], rtol=1e-6)


def test_markov_looks_ten_items_ahead_and_not_at_the_next_user():
    score = markov(sequences([list(range(12)), [12]], 13))
    from_0 = score(sequences([[0]], 13))[0]
    assert_allclose(from_0, [0, *(0.9**gap for gap in range(10)), 0, 0], rtol=1e-6)
    assert not score(sequences([[11]], 13)).any()


def test_popularity_is_added_to_scores_standardised_user_by_user():
    def score(histories):
        return np.array([[1, 2, 3], [7, 7, 7]], dtype=np.float32)

    found = plus_popularity(score, np.array([0, 50, 50]), np.array([25, 25, 50]), weight=2)
    shares = np.log(np.array([0, 0.5, 0.5]) + 0.02 * np.array([0.25, 0.25, 0.5]))
    root = np.sqrt(3 / 2)
    expected = np.array([[-root, 0, root], [0, 0, 0]]) + 2 * (shares - shares.mean())
    assert_allclose(found(sequences([[0], [1]], 3)), expected, rtol=1e-5)
