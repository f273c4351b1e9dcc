from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from recsys.search import approximate as index_module
from recsys.search import exact as exact_module
from recsys.search.approximate import AnnoyIndex, best_of, build_annoy, measure_index
from recsys.search.exact import ExactIndex, exact_scores, top_k, unit_length

ROOT = Path(__file__).parents[1]
needs_annoy = pytest.mark.skipif(
    not index_module.annoy_available(), reason="annoy is not installed"
)


def brute_force(vectors: Any, queries: Any, k: int, excluded: Any = ()) -> Any:
    """Rows and scores of one list a query: sorted in Python, equal scores by row."""
    lists = []
    for i, query in enumerate(queries.astype(np.float64)):
        scores = [np.float32(np.sum(vector * query)) for vector in vectors.astype(np.float64)]
        rows = set(range(len(vectors))) - (set(excluded[i]) if len(excluded) else set())
        lists.append(sorted((-scores[row], row) for row in rows)[:k])
    return [([row for _, row in one], [-score for score, _ in one]) for one in lists]


def listed(rows: Any, scores: Any) -> Any:
    """The same shape from an index's answer; what is not filled is left out."""
    return [
        (r[s > -np.inf].tolist(), s[s > -np.inf].tolist())
        for r, s in zip(rows, scores, strict=True)
    ]


def as_csr(lists: list[list[int]]) -> tuple[Any, Any]:
    offsets = np.cumsum([0, *map(len, lists)])
    return offsets, np.array([row for one in lists for row in one], dtype=np.int32)


def normal(n: int, d: int, *, seed: int, spread: float = 0.0) -> Any:
    """Random vectors; with a spread, their lengths are log-normal: very unequal."""
    rng = np.random.default_rng(seed)
    lengths = np.exp(spread * rng.standard_normal((n, 1)))
    return (lengths * rng.standard_normal((n, d))).astype(np.float32)


@st.composite
def searches(draw: st.DrawFn) -> Any:
    """Vectors and queries of small whole numbers, so that ties abound; k; rows to leave out."""
    n_items, n, d = draw(st.integers(1, 12)), draw(st.integers(0, 5)), draw(st.integers(1, 3))
    number = st.integers(-2, 2)
    vectors = draw(st.lists(number, min_size=n_items * d, max_size=n_items * d))
    queries = draw(st.lists(number, min_size=n * d, max_size=n * d))
    some = st.lists(st.integers(0, n_items - 1), max_size=2 * n_items)
    excluded = draw(st.lists(some, min_size=n, max_size=n))
    return (
        np.array(vectors, np.float32).reshape(n_items, d),
        np.array(queries, np.float32).reshape(n, d),
        draw(st.integers(1, 20)),
        excluded,
    )


# ---- exact search


def test_the_largest_inner_products_come_first_and_ties_go_by_row() -> None:
    vectors = np.array([[1, 0], [0, 1], [2, 0], [1, 0]], np.float32)
    rows, scores = ExactIndex(vectors).query(np.array([[1, 0], [0, -3]], np.float32), 3)
    assert rows.tolist() == [[2, 0, 3], [0, 2, 3]]
    assert scores.tolist() == [[2, 1, 1], [0, 0, 0]]
    assert (rows.dtype, scores.dtype) == (np.int64, np.float32)


def test_excluded_rows_are_not_found_and_what_is_missing_is_minus_infinity() -> None:
    vectors = np.array([[1], [2], [3]], np.float32)
    queries = np.array([[1], [1], [-1]], np.float32)
    exclude = as_csr([[2], [0, 1, 2], []])
    rows, scores = ExactIndex(vectors).query(queries, 2, exclude=exclude)
    assert scores.tolist() == [[2, 1], [-np.inf, -np.inf], [-1, -2]]
    assert rows[[0, 2]].tolist() == [[1, 0], [0, 1]]


@given(searches())
def test_exact_search_is_a_brute_force_sort(search: Any) -> None:
    vectors, queries, k, excluded = search
    index = ExactIndex(vectors)
    assert listed(*index.query(queries, k)) == brute_force(vectors, queries, k)
    rows, scores = index.query(queries, k, exclude=as_csr(excluded))
    assert rows.shape == scores.shape == (len(queries), min(k, len(vectors)))
    assert listed(rows, scores) == brute_force(vectors, queries, k, excluded)


@given(searches())
def test_top_k_is_a_brute_force_sort_of_the_columns(search: Any) -> None:
    vectors, queries, k, excluded = search
    scores = (queries @ vectors.T).astype(np.float64)
    for i, rows in enumerate(excluded):
        scores[i, rows] = -np.inf
    rows, best = top_k(scores, k)
    assert best.dtype == np.float32
    assert listed(rows, best) == brute_force(vectors, queries, k, excluded)


@pytest.mark.parametrize("k", [1, 7, 500, 900])
def test_many_copies_of_one_vector_come_in_order_of_their_rows(k: int) -> None:
    vectors = np.repeat(normal(1, 16, seed=1), 500, axis=0)
    rows, _ = ExactIndex(vectors).query(vectors[:1], k)
    assert rows.tolist() == [list(range(min(k, 500)))]


@pytest.mark.parametrize("block", [1, 300, 1 << 24])
@pytest.mark.parametrize("d", [1, 3, 64, 100])
def test_answers_do_not_depend_on_how_queries_are_batched(
    block: int, d: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    index, queries = ExactIndex(normal(150, d, seed=2)), normal(40, d, seed=3)
    exclude = as_csr([list(range(i, 150, 7)) for i in range(40)])
    rows, scores = index.query(queries, 20, exclude=exclude)
    monkeypatch.setattr(exact_module, "BLOCK", block)
    again = index.query(queries, 20, exclude=exclude)
    assert np.array_equal(rows, again[0])
    assert np.array_equal(scores, again[1])
    for i, query in enumerate(queries):
        one = index.query(query[None], 20, exclude=as_csr([list(range(i, 150, 7))]))
        assert np.array_equal(rows[i], one[0][0])
        assert np.array_equal(scores[i], one[1][0])


@pytest.mark.parametrize("threads", [1, 2, 5])
@pytest.mark.parametrize("n_items", [900, 2048, 2500, 16_384, 20_000])
def test_ties_across_groups_blocks_and_threads_come_in_order_of_their_rows(
    n_items: int, threads: int
) -> None:
    """Few distinct scores, some rows left out, more queries than a block holds."""
    rng = np.random.default_rng(4)
    vectors = rng.integers(-3, 4, (n_items, 2)).astype(np.float32)
    queries = rng.integers(-3, 4, (600, 2)).astype(np.float32)
    left_out = rng.integers(0, n_items, (600, 300)).astype(np.int32)
    exclude = np.arange(0, 600 * 300 + 1, 300), left_out.ravel()
    rows, scores = ExactIndex(vectors).query(queries, 40, exclude=exclude, threads=threads)
    truth = queries @ vectors.T
    np.put_along_axis(truth, left_out, -np.inf, axis=1)
    order = np.argsort(-truth, axis=1, kind="stable")[:, :40]
    assert np.array_equal(rows, order)
    assert np.array_equal(scores, np.take_along_axis(truth, order, axis=1))


@pytest.mark.parametrize("d", [2, 3, 16, 64, 200])
def test_rounding_in_float32_moves_nothing_across_the_end_of_the_list(d: int) -> None:
    """Vectors that differ in their last bits: a float32 matrix product orders them at random."""
    base = normal(1, d, seed=4)
    bits = np.random.default_rng(5).integers(-3, 4, (300, d), dtype=np.int32)
    vectors = (base.view(np.int32) + bits).view(np.float32)
    for query in [base, *normal(10, d, seed=6)[:, None]]:
        for k in (1, 5, 150):
            found = ExactIndex(vectors).query(query, k)
            assert listed(*found) == brute_force(vectors, query, k)


def test_a_pair_has_one_score_to_the_bit_however_it_is_asked_for() -> None:
    vectors, queries = normal(70_000, 17, seed=7), normal(3, 17, seed=8)
    rows, who = np.arange(70_000), np.arange(70_000) % 3
    scores = exact_scores(vectors, rows, queries, who)
    assert np.allclose(scores, (vectors * queries[who]).sum(axis=1), atol=1e-5)
    for part in (slice(65_530, 65_545), slice(0, 1), slice(69_999, None), slice(0, None, 1000)):
        assert np.array_equal(scores[part], exact_scores(vectors, rows[part], queries, who[part]))


def test_rows_are_scaled_to_length_one_and_zeros_stay() -> None:
    assert unit_length(np.array([[3, 4], [0, 0], [-2, 0]], np.float32)).tolist() == [
        [np.float32(0.6), np.float32(0.8)],
        [0, 0],
        [-1, 0],
    ]


# ---- Annoy


@needs_annoy
@pytest.mark.parametrize("spread", [0.0, 1.0, 2.0], ids=["equal", "unequal", "very unequal"])
def test_annoy_finds_what_exact_search_finds(spread: float) -> None:
    vectors, queries = normal(12_000, 32, seed=9, spread=spread), normal(100, 32, seed=10)
    report = measure_index(AnnoyIndex(vectors), queries, 10)
    assert report["backend"] == "annoy"
    assert report["recall_vs_exact"] >= 0.95


@needs_annoy
def test_the_longest_vectors_are_found_though_annoy_misses_them() -> None:
    vectors, queries = normal(12_000, 32, seed=9, spread=1), normal(20, 32, seed=10)
    alone = AnnoyIndex(vectors, longest=0)
    assert measure_index(alone, queries, 10)["recall_vs_exact"] < 0.5
    assert measure_index(AnnoyIndex(vectors), queries, 10)["recall_vs_exact"] == 1


@needs_annoy
def test_more_trees_and_a_longer_search_find_more() -> None:
    vectors, queries = normal(5_000, 32, seed=11), normal(50, 32, seed=12)
    poor = measure_index(AnnoyIndex(vectors, n_trees=1, search_k=1), queries, 10)
    good = measure_index(AnnoyIndex(vectors, n_trees=20, search_k=10_000), queries, 10)
    assert poor["recall_vs_exact"] < 0.8 < 0.95 < good["recall_vs_exact"]
    assert poor["bytes"] < good["bytes"]


@needs_annoy
@given(searches().filter(lambda search: np.any(search[0])))
@example((np.array([[0, 0], [1, 0]], np.float32), np.ones((1, 2), np.float32), 2, [[]]))
def test_on_small_catalogues_annoy_is_exact_search(search: Any) -> None:
    """search_k covers all of it, and k all of the items: ties cannot be cut differently."""
    vectors, queries, _, _ = search
    k = len(vectors)
    answer = AnnoyIndex(vectors, longest=0).query(queries, k)
    assert listed(*answer) == brute_force(vectors, queries, k)
    assert (answer[0].dtype, answer[1].dtype) == (np.int64, np.float32)


@needs_annoy
@pytest.mark.parametrize("n_items", [1, 5])
def test_tiny_catalogues_are_listed_whole(n_items: int) -> None:
    vectors = normal(n_items, 4, seed=13)
    rows, scores = AnnoyIndex(vectors).query(vectors[:1], 10)
    assert sorted(rows[0]) == list(range(n_items))
    assert listed(rows, scores) == brute_force(vectors, vectors[:1], 10)


@needs_annoy
@pytest.mark.parametrize("k", [1, 10, 500, 2_000, 3_000])
@pytest.mark.parametrize("n_trees", [1, 20])
def test_lists_are_full_sorted_without_repeats_and_scored_exactly(k: int, n_trees: int) -> None:
    vectors, queries = normal(2_000, 8, seed=14, spread=1), normal(5, 8, seed=15)
    rows, scores = AnnoyIndex(vectors, n_trees=n_trees, search_k=1).query(queries, k)
    assert rows.shape == scores.shape == (5, min(k, 2_000))
    for i in range(5):
        assert len(set(rows[i])) == rows.shape[1]
        exact = (vectors[rows[i]].astype(np.float64) @ queries[i]).astype(np.float32)
        assert np.allclose(scores[i], exact, rtol=1e-6, atol=1e-6)
        assert rows[i].tolist() == rows[i][np.lexsort((rows[i], -scores[i]))].tolist()


@needs_annoy
def test_a_query_for_which_annoy_finds_too_few_is_answered_exactly() -> None:
    vectors, queries = normal(2_000, 8, seed=16), normal(3, 8, seed=17)
    index = AnnoyIndex(vectors, longest=0)

    class FindsTwo:
        def get_nns_by_vector(self, vector: list[float], k: int, search_k: int) -> list[int]:
            return [5, 4]

    index._annoy = FindsTwo()
    assert listed(*index.query(queries, 10)) == brute_force(vectors, queries, 10)
    assert sorted(index.near(queries[0], 2)[0]) == [4, 5]


@needs_annoy
def test_the_best_of_items_that_all_score_below_zero_are_found() -> None:
    """In Annoy the longest, at a right angle to every query, stand before all of them."""
    vectors, queries = np.abs(normal(5_000, 16, seed=21)), -np.abs(normal(5, 16, seed=22))
    index = AnnoyIndex(vectors, search_k=2_000)
    assert listed(*index.query(queries, 20)) == brute_force(vectors, queries, 20)


@needs_annoy
def test_filters_that_leave_what_scores_below_zero_leave_the_best_of_that() -> None:
    vectors, queries = normal(12_000, 16, seed=23, spread=0.3), normal(5, 16, seed=24)
    index, exact = AnnoyIndex(vectors, search_k=2_000), ExactIndex(vectors)
    for query in queries:
        scores = vectors @ query
        left = scores < -0.01
        assert 4_000 < left.sum() < 8_000
        rows, _ = best_of(index, query, 20, left)
        barred = np.flatnonzero(~left)
        assert rows.tolist() == exact.find(query, 20, barred)[0].tolist()


@needs_annoy
def test_many_copies_of_one_vector_do_no_harm_to_annoy() -> None:
    vectors = np.repeat(normal(2, 8, seed=18), 1_000, axis=0)
    rows, scores = AnnoyIndex(vectors).query(vectors[:1], 50)
    assert len(set(rows[0])) == 50
    assert set(scores[0]) == {exact_scores(vectors, rows[0, :1], vectors[:1], rows[0, :1] * 0)[0]}
    assert (rows < 1_000).all()


@needs_annoy
def test_a_saved_index_is_mapped_and_answers_alike(tmp_path: Path) -> None:
    vectors, queries = normal(500, 8, seed=19), normal(20, 8, seed=20)
    built = AnnoyIndex(vectors, n_trees=3, search_k=50)
    answer = built.query(queries, 10)
    built.save(tmp_path / "index.ann")
    loaded = AnnoyIndex(vectors, n_trees=3, search_k=50, path=tmp_path / "index.ann")
    for index in (built, loaded):  # Annoy goes on from the file that it has saved
        assert listed(*index.query(queries, 10)) == listed(*answer)
        assert index.n_bytes == (tmp_path / "index.ann").stat().st_size
    loaded.save(tmp_path / "again.ann")
    assert (tmp_path / "again.ann").read_bytes() == (tmp_path / "index.ann").read_bytes()


BUILD = """
import sys, numpy as np
from pathlib import Path
from recsys.search.approximate import AnnoyIndex
vectors = np.random.default_rng(0).standard_normal((2000, 16)).astype(np.float32)
AnnoyIndex(vectors, seed=int(sys.argv[2])).save(Path(sys.argv[1]))
"""


@needs_annoy
def test_two_processes_build_the_same_bytes_and_another_seed_builds_others(tmp_path: Path) -> None:
    hashes = []
    for hash_seed, seed in (("1", "7"), ("2", "7"), ("1", "8")):
        path = tmp_path / "index.ann"
        run_python(BUILD, str(path), seed, PYTHONHASHSEED=hash_seed)
        hashes.append(hashlib.sha256(path.read_bytes()).hexdigest())
    assert hashes[0] == hashes[1] != hashes[2]


WITHOUT_ANNOY = """
import sys
sys.modules["annoy"] = None  # what `import annoy` meets where it is not installed
import numpy as np
from recsys.search.approximate import AnnoyIndex, annoy_available
assert not annoy_available() and not annoy_available()
try:
    AnnoyIndex(np.ones((2, 2), np.float32))
except ImportError as error:
    print(error)
"""


def test_without_annoy_there_is_one_notice_and_an_error_that_says_what_to_install() -> None:
    done = run_python(WITHOUT_ANNOY)
    assert done.stdout.count("pip install annoy") == 1
    assert done.stderr.count("annoy is not installed: searching exactly instead") == 1


def run_python(code: str, *args: str, **env: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", code, *args],
        env={**os.environ, "PYTHONPATH": str(ROOT), **env},
        capture_output=True,
        text=True,
        check=True,
    )


def crowd(n: int, d: int, spread: float) -> Any:
    """Vectors in clusters, of lengths as unequal as the spread says, and queries near them."""
    rng = np.random.default_rng(0)
    centres = rng.standard_normal((40, d))
    vectors = centres[rng.integers(0, 40, n)] + 0.7 * rng.standard_normal((n, d))
    vectors *= np.exp(spread * rng.standard_normal((n, 1)))
    queries = centres[rng.integers(0, 40, 200)] + 0.7 * rng.standard_normal((200, d))
    return vectors.astype(np.float32), queries.astype(np.float32)


@needs_annoy
@pytest.mark.parametrize("spread", [0.0, 0.3, 1.0])
def test_an_index_is_chosen_that_finds_enough_for_other_queries_too(spread: float) -> None:
    vectors, queries = crowd(10_000, 24, spread)
    exclude = as_csr([list(range(i, 10_000, 500)) for i in range(100)])
    index, chosen = build_annoy(vectors, queries[:100], exclude, seed=1)
    assert chosen == {
        "n_trees": index.n_trees, "search_k": index.search_k, "n_longest": len(index.longest),
        "overlap": chosen["overlap"], "n_queries": 100, "k": 20,
    }  # fmt: skip
    assert chosen["overlap"] >= 0.98
    assert measure_index(index, queries[100:], 10)["recall_vs_exact"] >= 0.97
    again, same = build_annoy(vectors, queries[:100], exclude, seed=1)
    assert same == chosen
    assert listed(*again.query(queries, 10)) == listed(*index.query(queries, 10))


@needs_annoy
def test_what_is_chosen_grows_until_it_finds_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(index_module, "SEARCH_K", 50)
    monkeypatch.setattr(index_module, "CHEAPER", 1)
    vectors, queries = normal(10_000, 24, seed=1), normal(200, 24, seed=2)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    _, equal = build_annoy(vectors, queries, as_csr([[]] * 200), seed=1)
    assert equal["search_k"] > 50
    assert equal["overlap"] >= 0.98
    monkeypatch.setattr(index_module, "LONGEST", 50)
    vectors, queries = crowd(10_000, 24, 1.0)
    _, unequal = build_annoy(vectors, queries, as_csr([[]] * 200), seed=1)
    assert unequal["n_longest"] > 50
    assert unequal["overlap"] >= 0.98


@needs_annoy
def test_without_users_an_index_is_built_all_the_same() -> None:
    vectors = normal(50, 4, seed=1)
    index, chosen = build_annoy(vectors, vectors[:0], as_csr([]), seed=1)
    assert chosen["n_queries"] == 0
    assert listed(*index.query(vectors, 5)) == brute_force(vectors, vectors, 5)


@needs_annoy
def test_rows_that_are_gone_are_not_found_by_annoy_nor_among_the_longest() -> None:
    vectors, queries = crowd(5_000, 16, 0.5)
    best, _ = ExactIndex(vectors).query(queries, 60)
    exclude = as_csr([row[:40].tolist() for row in best])
    index = AnnoyIndex(vectors)
    rows, _ = index.query(queries, 20, exclude=exclude)
    assert not any(np.isin(found, gone[:40]).any() for found, gone in zip(rows, best, strict=True))
    pairs = zip(rows, best, strict=True)
    assert np.mean([np.isin(gone[40:], found).mean() for found, gone in pairs]) > 0.95
    rows, scores = index.query(queries[:1], 20, exclude=as_csr([list(range(4_995))]))
    assert sorted(rows[0][scores[0] > -np.inf]) == list(range(4_995, 5_000))


# ---- measuring


def test_exact_search_measured_against_itself_is_perfect_and_needs_no_bytes() -> None:
    report = measure_index(ExactIndex(normal(50, 4, seed=21)), normal(3, 4, seed=22), 5)
    assert report.pop("microseconds_per_query") > 0
    assert report == {"backend": "exact", "recall_vs_exact": 1.0, "bytes": 0}


def test_half_of_the_true_list_is_a_recall_of_a_half() -> None:
    class FindsHalf(ExactIndex):
        def query(self, vectors: Any, k: int, **options: Any) -> Any:
            rows, scores = super().query(vectors, 2 * k, **options)
            return rows[:, k // 2 : k // 2 + k], scores[:, k // 2 : k // 2 + k]

    index = FindsHalf(normal(50, 4, seed=23))
    assert measure_index(index, normal(3, 4, seed=24), 6)["recall_vs_exact"] == 0.5


def test_without_queries_there_is_nothing_to_measure() -> None:
    report = measure_index(ExactIndex(normal(5, 4, seed=25)), np.empty((0, 4), np.float32), 5)
    assert report["recall_vs_exact"] is None
    assert report["microseconds_per_query"] is None
