"""Metrics by their properties and beside ir-measures; test_measure has them by hand."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from recsys.evaluation import metrics
from recsys.evaluation.metrics import means_with_ci95

some_hits = st.tuples(st.integers(1, 6), st.integers(1, 8)).flatmap(
    lambda shape: hnp.arrays(bool, shape)
)


def test_novelty_is_the_mean_of_the_bits_of_the_listed_items():
    share = np.array([0.5, 0.25, 0.125, 0.125])
    rows = np.array([[0, 1], [2, 0], [0, 0]])
    listed = np.array([[True, True], [True, False], [False, False]])
    assert metrics.novelty(rows, listed, share)[:2].tolist() == [1.5, 3]
    assert np.isnan(metrics.novelty(rows, listed, share)[2])
    # It never looks at an item that is not listed.
    nobody = np.array([0.0, 1.0])
    assert metrics.novelty(np.array([[1, 0]]), np.array([[True, False]]), nobody).tolist() == [0]


def test_interval_of_two_users_is_their_range_and_of_one_a_point():
    means, intervals = means_with_ci95(np.array([[0.0, 7.0], [1.0, 7.0]]))
    assert means.tolist() == [0.5, 7]
    assert intervals.tolist() == [[0, 1], [7, 7]]
    means, intervals = means_with_ci95(np.array([[0.25]]))
    assert (means.tolist(), intervals.tolist()) == ([0.25], [[0.25, 0.25]])


def test_nan_is_left_out_of_its_own_column_only():
    values = np.array([[1.0, np.nan, 0.0], [np.nan, np.nan, 1.0], [3.0, np.nan, 0.5]])
    means, intervals = means_with_ci95(values)
    np.testing.assert_array_equal(means, [2, np.nan, 0.5])
    assert intervals[0].tolist() == [1, 3]
    assert np.isnan(intervals[1]).all()
    np.testing.assert_array_equal(intervals[2], means_with_ci95(values[:, 2:])[1][0])


@given(some_hits)
def test_a_list_that_begins_with_all_targets_is_ideal(hits):
    best = np.sort(hits, axis=1)[:, ::-1]
    has_any = hits.any(axis=1)
    n_targets = np.maximum(hits.sum(axis=1), 1)
    for k in range(1, hits.shape[1] + 1):
        np.testing.assert_allclose(metrics.ndcg(best, n_targets, k), has_any)
    assert (metrics.mrr(best) == has_any).all()


@given(hnp.arrays(float, hnp.array_shapes(min_dims=2, max_dims=2, max_side=12),
                  elements=st.floats(0, 1)))  # fmt: skip
def test_interval_covers_the_mean_and_stays_within_the_values(values):
    means, intervals = means_with_ci95(values)
    np.testing.assert_allclose(means, values.mean(axis=0))
    assert (intervals[:, 0] <= means + 1e-9).all()
    assert (intervals[:, 1] >= means - 1e-9).all()
    assert (intervals[:, 0] >= values.min(axis=0) - 1e-9).all()
    assert (intervals[:, 1] <= values.max(axis=0) + 1e-9).all()


def test_interval_of_paired_differences_is_narrower_than_that_of_strangers():
    rng = np.random.default_rng(0)
    one = rng.random(200)
    other = one + rng.normal(0, 0.02, 200)  # two models that find the same users hard
    _, (of_one, of_other, paired) = means_with_ci95(np.column_stack([one, other, one - other]))
    assert np.ptp(paired) < np.hypot(np.ptp(of_one), np.ptp(of_other)) / 10


def test_interval_holds_the_truth_19_times_in_20():
    values = np.random.default_rng(0).normal(size=(100, 1000))
    low, high = means_with_ci95(values)[1].T
    assert np.mean((low <= 0) & (high >= 0)) == pytest.approx(0.95, abs=0.02)


def test_accuracy_equals_ir_measures():
    """Its ideal DCG is cut at k, as ours; it breaks ties by name, so the scores have none."""
    ir = pytest.importorskip("ir_measures")
    rng = np.random.default_rng(0)
    n_users, n_items, length = 60, 25, 12
    rows = np.array([rng.permutation(n_items)[:length] for _ in range(n_users)])
    lengths = rng.integers(0, length + 1, n_users)  # some are unserved
    targets = [set(rng.permutation(n_items + 5)[: rng.integers(1, 20)]) for _ in range(n_users)]
    hits = np.array([np.isin(row, list(wanted)) for row, wanted in zip(rows, targets, strict=True)])
    hits &= np.arange(length) < lengths[:, None]
    n_targets = np.array([len(t) for t in targets])
    relevant = [ir.Qrel(f"{u:02}", str(item), 1) for u in range(n_users) for item in targets[u]]
    run = [ir.ScoredDoc(f"{u:02}", str(rows[u, place]), float(-place))
           for u in range(n_users) for place in range(lengths[u])]  # fmt: skip
    ours = {ir.RR: metrics.mrr(hits)}
    for k in (1, 3, 10, 20):
        ours[ir.R @ k] = metrics.recall(hits, n_targets, k)
        ours[ir.Success @ k] = metrics.hit_rate(hits, k)
        ours[ir.nDCG @ k] = metrics.ndcg(hits, n_targets, k)
    theirs = {measure: np.full(n_users, np.nan) for measure in ours}
    for one in ir.iter_calc(list(ours), relevant, run):
        theirs[one.measure][int(one.query_id)] = one.value
    for measure, values in ours.items():
        np.testing.assert_allclose(values, theirs[measure], atol=1e-12, err_msg=str(measure))


def test_intra_list_distance_is_the_mean_over_pairs():
    unit = np.array([[1, 0], [0, 1], [-1, 0], [0.6, 0.8]], np.float32)
    rows = np.array([[0, 1, 2], [0, 3, 0], [1, 0, 0]])
    served = np.array([[True] * 3, [True, True, False], [True, False, False]])
    found = metrics.intra_list_distance(rows, served, unit)
    np.testing.assert_allclose(found, [(1 + 2 + 1) / 3, 0.4, np.nan], atol=1e-6)
