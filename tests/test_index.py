"""Exact search is a brute-force sort, and Annoy finds what exact search finds."""

from __future__ import annotations

import subprocess
import sys
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from recsys.search import approximate as index_module
from recsys.search import choose as choose_module
from recsys.search import exact as exact_module
from recsys.search.annoy_file import check_annoy_file
from recsys.search.approximate import AnnoyIndex, best_of, open_index
from recsys.search.choose import build_index, measure_index
from recsys.search.exact import ExactIndex, exact_scores, top_k, unit_length

has_annoy = index_module.usable_index("annoy") == "annoy"
needs_annoy = pytest.mark.skipif(not has_annoy, reason="annoy is not installed")


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
    triples = zip(rows, scores, scores > -np.inf, strict=True)
    return [(found[some].tolist(), values[some].tolist()) for found, values, some in triples]


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
    vectors, queries = (
        np.array(draw(st.lists(st.integers(-2, 2), min_size=size, max_size=size)), np.float32)
        for size in (n_items * d, n * d)
    )
    some = st.lists(st.integers(0, n_items - 1), max_size=2 * n_items)
    excluded = draw(st.lists(some, min_size=n, max_size=n))
    return vectors.reshape(n_items, d), queries.reshape(n, d), draw(st.integers(1, 20)), excluded


def test_the_largest_inner_products_come_first_and_ties_go_by_row() -> None:
    vectors = np.array([[1, 0], [0, 1], [2, 0], [1, 0]], np.float32)
    rows, scores = ExactIndex(vectors).query(np.array([[1, 0], [0, -3]], np.float32), 3)
    assert rows.tolist() == [[2, 0, 3], [0, 2, 3]]
    assert scores.tolist() == [[2, 1, 1], [0, 0, 0]]
    assert (rows.dtype, scores.dtype) == (np.int64, np.float32)
    assert unit_length(np.array([[3, 4], [0, 0]])).tolist() == [
        [np.float32(0.6), np.float32(0.8)],
        [0, 0],
    ]


@given(searches())
@settings(deadline=None)
def test_exact_search_and_top_k_are_brute_force_sorts(search: Any) -> None:
    vectors, queries, k, excluded = search
    index, expected = ExactIndex(vectors), brute_force(vectors, queries, k, excluded)
    assert listed(*index.query(queries, k)) == brute_force(vectors, queries, k)
    products = (queries @ vectors.T).astype(np.float64)
    for i, gone in enumerate(excluded):
        products[i, gone] = -np.inf
    for rows, scores in (index.query(queries, k, exclude=as_csr(excluded)), top_k(products, k)):
        assert rows.shape == scores.shape == (len(queries), min(k, len(vectors)))
        assert scores.dtype == np.float32
        assert listed(rows, scores) == expected


@pytest.mark.parametrize("d", [1, 3, 64, 100])
def test_answers_do_not_depend_on_how_queries_are_batched(
    d: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    index, queries = ExactIndex(normal(150, d, seed=2)), normal(40, d, seed=3)
    gone = [list(range(i, 150, 7)) for i in range(40)]
    expected = index.query(queries, 20, exclude=as_csr(gone))
    for i, query in enumerate(queries):
        one = index.query(query[None], 20, exclude=as_csr(gone[i : i + 1]))
        assert all(np.array_equal(a[i], b[0]) for a, b in zip(expected, one, strict=True))
    for block in (1, 300):
        monkeypatch.setattr(exact_module, "BLOCK", block)
        again = index.query(queries, 20, exclude=as_csr(gone))
        assert all(map(np.array_equal, expected, again))


@pytest.mark.parametrize(
    ("n_items", "threads"), [(900, 1), (2048, 5), (2500, 2), (16_384, 1), (20_000, 1), (20_000, 5)]
)
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


@needs_annoy
@pytest.mark.parametrize("spread", [0.0, 1.0, 2.0], ids=["equal", "unequal", "very unequal"])
def test_annoy_finds_what_exact_search_finds(spread: float) -> None:
    vectors, queries = normal(12_000, 32, seed=9, spread=spread), normal(50, 32, seed=10)
    report = measure_index(AnnoyIndex(vectors), queries, 10)
    assert report["backend"] == "annoy"
    assert report["recall_vs_exact"] >= 0.95
    if spread == 1:  # by the longest vectors, which Annoy alone misses
        assert measure_index(AnnoyIndex(vectors, longest=0), queries, 10)["recall_vs_exact"] < 0.5
    if spread == 0:  # by its trees and their search
        poor = measure_index(AnnoyIndex(vectors, n_trees=1, search_k=1), queries, 10)
        assert poor["recall_vs_exact"] < 0.8
        assert poor["bytes"] < report["bytes"]


@needs_annoy
@given(searches().filter(lambda search: np.any(search[0])))
@settings(deadline=None)
@example((np.array([[0, 0], [1, 0]], np.float32), np.ones((1, 2), np.float32), 2, [[]]))
def test_on_small_catalogues_annoy_is_exact_search(search: Any) -> None:
    """search_k covers all of it, and k all of the items: ties cannot be cut differently."""
    vectors, queries, _, _ = search
    k = len(vectors)
    answer = AnnoyIndex(vectors, longest=0).query(queries, k)
    assert listed(*answer) == brute_force(vectors, queries, k)
    assert (answer[0].dtype, answer[1].dtype) == (np.int64, np.float32)


@needs_annoy
@pytest.mark.parametrize("k", [1, 10, 500, 3_000])
def test_lists_are_full_sorted_without_repeats_and_scored_exactly(k: int) -> None:
    vectors, queries = normal(2_000, 8, seed=14, spread=1), normal(5, 8, seed=15)
    found = AnnoyIndex(vectors, n_trees=1, search_k=1).query(queries, k)
    assert found[0].shape == found[1].shape == (5, min(k, 2_000))
    for query, rows, scores in zip(queries, *found, strict=True):
        assert len(set(rows)) == len(rows)
        assert np.array_equal(scores, exact_scores(vectors, rows, query[None], rows * 0))
        assert rows.tolist() == rows[np.lexsort((rows, -scores))].tolist()


@needs_annoy
def test_a_query_for_which_annoy_finds_too_few_is_answered_exactly() -> None:
    vectors, queries = normal(2_000, 8, seed=16), normal(3, 8, seed=17)
    index = AnnoyIndex(vectors, longest=0)
    index._annoy = SimpleNamespace(get_nns_by_vector=lambda *_: [5, 4])
    assert listed(*index.query(queries, 10)) == brute_force(vectors, queries, 10)
    assert sorted(index.near(queries[0], 2)[0]) == [4, 5]


@needs_annoy
def test_the_best_of_items_that_score_below_zero_are_found() -> None:
    """In Annoy the longest, at a right angle to every query, come before all of them."""
    vectors, queries = np.abs(normal(5_000, 16, seed=21)), -np.abs(normal(5, 16, seed=22))
    found = AnnoyIndex(vectors, search_k=2_000).query(queries, 20)
    assert listed(*found) == brute_force(vectors, queries, 20)
    vectors, queries = normal(12_000, 16, seed=23), normal(5, 16, seed=24)
    vectors[:, 0], queries[:, 0] = vectors[:, 0] - 2, 9
    index, exact = AnnoyIndex(vectors, search_k=2_000), ExactIndex(vectors)
    for query in queries:  # a filter leaves them
        left = vectors @ query < -0.01
        assert 11_000 < left.sum() < 11_900
        rows, _ = best_of(index, query, 20, left)
        assert rows.tolist() == exact.find(query, 20, np.flatnonzero(~left))[0].tolist()


@needs_annoy
def test_a_saved_index_is_mapped_or_rebuilt_as_it_was(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    vectors, queries = normal(2_500, 8, seed=19), normal(20, 8, seed=20)
    built = AnnoyIndex(vectors, n_trees=3, search_k=50, longest=50, seed=7)
    path, chosen = tmp_path / "index.ann", {"n_trees": 3, "search_k": 50}
    opens = partial(open_index, "annoy", vectors, seed=7)
    answer = listed(*built.query(queries, 10))
    built.save(path)
    content = path.read_bytes()

    def opened(path: Path | None) -> str:
        caplog.clear()
        index = opens(chosen=chosen, columns=built.columns, path=path)
        assert listed(*index.query(queries, 10)) == answer
        assert (index.n_bytes, len(index.longest)) == (len(content), 50)
        return caplog.text

    assert listed(*built.query(queries, 10)) == answer  # from the file that it has saved
    assert opened(path) == opened(None) == ""
    for seed in (7, 8):
        other = AnnoyIndex(vectors, n_trees=3, search_k=50, longest=50, seed=seed)
        other.save(tmp_path / "other.ann")
        assert ((tmp_path / "other.ann").read_bytes() == content) == (seed == 7)
    path.unlink()  # a mapped file must not change
    path.write_bytes(content[:-4])
    assert f"'{path}' is no index of these vectors; the index is rebuilt" in opened(path)
    for longest in (2_500, -1, 0.5):
        columns = {"longest": np.array([longest])}
        with pytest.raises(ValueError, match="longest does not point at items"):
            opens(chosen=chosen, columns=columns, path=path)
    index = opens(chosen={}, columns={}, path=None)
    assert (index.n_trees, index.search_k, len(index.longest)) == (20, 10_000, 1_000)


WITHOUT_ANNOY = """
import sys
sys.modules["annoy"] = None  # what `import annoy` meets where it is not installed
import numpy as np
from recsys.search.approximate import AnnoyIndex, usable_index
assert usable_index("annoy") == usable_index("annoy") == "exact"
AnnoyIndex(np.ones((2, 2), np.float32))
"""


@needs_annoy
@pytest.mark.parametrize("n", [1, 2, 5, 12, 13, 300, 2500])
@pytest.mark.parametrize("kind", ["normal", "equal", "zero"])
def test_what_annoy_writes_passes_and_what_would_never_end_does_not(
    n: int, kind: str, tmp_path: Path
) -> None:
    """A forger gives a node two children that are one, sixty times: 2 ** 60 ways to the items."""
    vectors, path = normal(n, 8, seed=n), tmp_path / "index.ann"
    vectors = {"normal": vectors, "equal": 0 * vectors + 1, "zero": 0 * vectors}[kind]
    AnnoyIndex(vectors, n_trees=7, longest=2).save(path)
    check_annoy_file(path, n, 8)
    nodes = np.fromfile(path, np.int32).reshape(-1, 12)
    top = nodes[nodes[:, 0] > 11]
    chain = np.repeat(top[:1] if len(top) else np.full((1, 12), 12, np.int32), 60, axis=0)
    for place, node in enumerate(chain):
        node[:3] = n, *[len(nodes) + place - 1 if place else 0] * 2
    np.concatenate([nodes, chain]).tofile(path)
    with pytest.raises(ValueError, match="is no index of these vectors"):
        check_annoy_file(path, n, 8)


@needs_annoy
@pytest.mark.parametrize(
    "forged",
    [{"n_trees": 10**9}, {"n_trees": 0}, {"n_trees": "20"}, {"n_trees": True}, {"search_k": 10**18},
     {"search_k": -1}, {"search_k": float("inf")}, {"longest": [3, 3]}, {"longest": [5, 4]},
     {"longest": [100]}, {"longest": [[1, 2]]}, {"longest": [0.5]}],
)  # fmt: skip
def test_settings_of_an_index_that_nobody_has_chosen_are_refused(forged: Any) -> None:
    chosen = {"n_trees": 20, "search_k": 2000} | forged
    longest = np.array(chosen.pop("longest", [4, 5]))
    with pytest.raises(ValueError, match=f"{next(iter(forged))} (must be|does not point)"):
        open_index("annoy", normal(100, 4, seed=0), seed=0, chosen=chosen,
                   columns={"longest": longest}, path=None)  # fmt: skip


def test_without_annoy_there_is_one_notice_and_an_error_that_says_what_to_install() -> None:
    done = subprocess.run([sys.executable, "-c", WITHOUT_ANNOY], capture_output=True, text=True)
    assert done.stderr.count("annoy is not installed: searching exactly instead") == 1
    assert done.stderr.count("ImportError: annoy is not installed: pip install annoy") == 1


@needs_annoy
@pytest.mark.parametrize("spread", [0.0, 0.3, 1.0])
def test_an_index_is_chosen_that_finds_enough_for_other_queries_too(spread: float) -> None:
    vectors, queries = normal(10_000, 24, seed=25, spread=spread), normal(200, 24, seed=26)
    exclude = as_csr([list(range(i, 10_000, 500)) for i in range(100)])
    index, chosen = build_index("annoy", vectors, queries[:100], exclude, seed=1)
    assert chosen.pop("overlap") >= 0.98
    assert chosen == {
        "n_trees": index.n_trees, "search_k": index.search_k, "n_longest": len(index.longest),
        "n_queries": 100, "k": 20,
    }  # fmt: skip
    assert measure_index(index, queries[100:], 10)["recall_vs_exact"] >= 0.97
    again, _ = build_index("annoy", vectors, queries[:100], exclude, seed=1)
    assert listed(*again.query(queries, 10)) == listed(*index.query(queries, 10))


@needs_annoy
def test_what_is_chosen_grows_until_it_finds_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(choose_module, "SEARCH_K", 50)
    monkeypatch.setattr(choose_module, "CHEAPER", 1)
    vectors, queries = normal(10_000, 24, seed=1), normal(200, 24, seed=2)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    _, chosen = build_index("annoy", vectors, queries, as_csr([[]] * 200), seed=1)
    assert chosen["search_k"] > 50
    assert np.log2(chosen["search_k"] / 50) % 1 > 0  # lessened after it has doubled
    assert 0.98 <= chosen["overlap"] < 0.99
    assert build_index("annoy", vectors, queries[:0], as_csr([]), seed=1)[1]["n_queries"] == 0
    monkeypatch.setattr(choose_module, "LONGEST", 50)
    vectors = normal(10_000, 24, seed=1, spread=1)
    _, chosen = build_index("annoy", vectors, queries, as_csr([[]] * 200), seed=1)
    assert chosen["n_longest"] > 50
    assert chosen["overlap"] >= 0.98


@needs_annoy
def test_rows_that_are_gone_are_not_found_by_annoy_nor_among_the_longest() -> None:
    vectors, queries = normal(5_000, 16, seed=27, spread=0.5), normal(200, 16, seed=28)
    best, _ = ExactIndex(vectors).query(queries, 60)
    exclude = as_csr([row[:40].tolist() for row in best])
    index = AnnoyIndex(vectors)
    rows, _ = index.query(queries, 20, exclude=exclude)
    found = [np.isin(of_query, rows[i]) for i, of_query in enumerate(best)]
    assert not np.any([some[:40] for some in found])
    assert np.mean([some[40:] for some in found]) > 0.95
    rows, scores = index.query(queries[:1], 20, exclude=as_csr([list(range(4_995))]))
    assert sorted(rows[0][scores[0] > -np.inf]) == list(range(4_995, 5_000))


def test_half_of_the_true_list_is_a_recall_of_a_half() -> None:
    class FindsHalf(ExactIndex):
        def query(self, vectors: Any, k: int, **options: Any) -> Any:
            rows, scores = super().query(vectors, 2 * k, **options)
            return rows[:, k // 2 : k // 2 + k], scores[:, k // 2 : k // 2 + k]

    vectors, queries = normal(50, 4, seed=23), normal(3, 4, seed=24)
    assert measure_index(FindsHalf(vectors), queries, 6)["recall_vs_exact"] == 0.5
    report = measure_index(ExactIndex(vectors), queries, 6)
    assert report.pop("microseconds_per_query") > 0
    assert report == {"backend": "exact", "recall_vs_exact": 1.0, "bytes": 0}
    report = measure_index(ExactIndex(vectors), queries[:0], 6)
    assert report["recall_vs_exact"] is report["microseconds_per_query"] is None


def test_who_has_watched_more_than_the_best_thousand_still_gets_the_best_of_the_rest():
    rng = np.random.default_rng(3)
    vectors = rng.normal(size=(20_000, 16)).astype(np.float32)
    query = rng.normal(size=16).astype(np.float32)
    index = AnnoyIndex(vectors, longest=500)
    gone = np.sort(np.argsort(-(vectors @ query))[:1500])
    rows = index.find(query, 20, gone)[0]
    best = ExactIndex(vectors).find(query, 20, gone)[0]
    assert len(np.intersect1d(rows, best)) >= 14  # none, if only 1,000 spare ones are asked for
    most = np.sort(np.argsort(-(vectors @ query))[:6000])
    assert (
        index.find(query, 20, most)[0].tolist()
        == ExactIndex(vectors).find(query, 20, most)[0].tolist()
    )
