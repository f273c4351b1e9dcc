"""Find the items with the largest inner product exactly, by a matrix product."""

from __future__ import annotations

import os
from contextlib import nullcontext
from typing import TYPE_CHECKING, Any

import numpy as np

from recsys.progress import each, whole
from recsys.search.threads import cached, one_blas_thread

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy.typing as npt

    Rows = npt.NDArray[np.integer[Any]]
    Floats = npt.NDArray[np.floating[Any]]
    Vectors = npt.NDArray[np.float32]
    Answer = tuple[Rows, Vectors]
    Csr = tuple[Rows, Rows]  # offsets, rows: rows[offsets[i] : offsets[i + 1]] belong to query i

# Each thread holds at most BLOCK scores (64 MB of float32), of at most MOST queries: few enough to
# stay in the cache where the catalogue is small.
BLOCK, MOST = 1 << 24, 256
GROUPS = 1024  # The k-th best score is bounded by the maxima of at least this many groups of items.


class ExactIndex:
    """Exact search over float32 vectors (n_items, d): the reference for approximate indexes."""

    backend, n_bytes = "exact", 0

    def __init__(self, vectors: Vectors) -> None:
        self.vectors = vectors

    @cached
    def _longest(self) -> float:
        return float(np.sqrt((self.vectors**2).sum(axis=1).max()))

    def query(
        self, vectors: Vectors, k: int, *, exclude: Csr | None = None, threads: int = 1
    ) -> Answer:
        """Find the k best rows for each query vector.

        Parameters
        ----------
        vectors : float32 array, shape (n, d)
        k : int
        exclude : (offsets, rows), optional
            Leave out rows[offsets[i] : offsets[i + 1]] for query i.
        threads : int
            Each takes 64 MB; more than there are processors are not started. Any number gives the
            same answer to the bit.

        Returns
        -------
        rows : int64 array, shape (n, min(k, n_items))
            Best first; ties go by row.
        scores : float32 array, same shape
            Inner products; -inf where fewer than k rows are left.
        """
        n_items, k = len(self.vectors), min(k, len(self.vectors))
        answer = np.empty((len(vectors), k), np.int64), np.empty((len(vectors), k), np.float32)
        if k == 0 or len(vectors) == 0:
            return answer
        size = max(1, min(BLOCK // n_items, MOST, len(vectors)))
        blocks = [slice(start, start + size) for start in range(0, len(vectors), size)]
        # Buffers are reused by all blocks: new memory would take a quarter of the time.
        threads = min(threads, os.cpu_count() or 1)
        places = [np.empty((size, n_items), np.float32) for _ in blocks[:threads]]

        def search(block: slice) -> None:
            queries, place = vectors[block], places.pop()
            scores = place[: len(queries)]
            if len(queries) == 1:  # row by row: BLAS starts no threads for this
                np.vecdot(self.vectors, queries[0], out=scores[0])
            else:
                np.matmul(queries, self.vectors.T, out=scores)
            if exclude is not None:
                bounds = exclude[0][block.start : block.start + len(queries) + 1]
                who = np.repeat(np.arange(len(queries)), np.diff(bounds))
                scores[who, exclude[1][bounds[0] : bounds[-1]]] = -np.inf
            answer[0][block], answer[1][block] = self._best(queries, scores, k)
            places.append(place)

        with one_blas_thread() if len(vectors) > 1 else nullcontext():
            _run(search, blocks, threads)
        return answer

    def find(self, query: Vectors, k: int, gone: Rows | None = None) -> Answer:
        """Find the k best rows for one query vector without `gone`; fewer if fewer remain."""
        exclude = None if gone is None else (np.array([0, len(gone)]), gone)
        rows, scores = (part[0] for part in self.query(query[None], k, exclude=exclude))
        left = scores > -np.inf
        return rows[left], scores[left]

    near = find

    def _best(self, queries: Vectors, scores: Vectors, k: int) -> Answer:
        """Pick by the fast scores, with a margin for their rounding, and order by exact scores."""
        lengths = np.sqrt((queries**2).sum(axis=1, keepdims=True))
        margin = np.finfo(np.float32).eps * (queries.shape[1] + 2) * self._longest * lengths
        who, rows = _at_least_kth(scores, k, margin)
        exact = exact_scores(self.vectors, rows, queries, who)
        return _first_k(who, rows, exact, len(queries), k)


def _run(search: Callable[[slice], None], blocks: list[slice], threads: int) -> None:
    """Search block by block, with a progress bar after two seconds."""
    if len(blocks) == 1:
        search(blocks[0])
        return
    from concurrent.futures import ThreadPoolExecutor

    with whole("exact search"), ThreadPoolExecutor(threads) as pool:
        for _ in each(pool.map(search, blocks), len(blocks)):
            pass


def unit_length(vectors: Vectors) -> Vectors:
    """Scale each row to length 1, so that inner products are cosines; rows of zeros stay."""
    lengths = np.sqrt((vectors.astype(np.float64) ** 2).sum(axis=1, keepdims=True))
    return (vectors / np.where(lengths > 0, lengths, 1)).astype(np.float32)


def exact_scores(vectors: Vectors, rows: Rows, queries: Vectors, who: Rows) -> Vectors:
    """Return the inner products of vectors[rows[i]] and queries[who[i]], float32 (n,)."""
    scores = np.empty(len(rows), np.float32)
    for start in range(0, len(rows), 512):  # no more than the cache holds
        part = slice(start, start + 512)
        scores[part] = row_products(vectors[rows[part]], queries[who[part]])
    return scores


def row_products(left: Vectors, right: Vectors) -> Vectors:
    """Return the inner products row by row, summed in float64 and rounded once.

    A pair has the same score in every call; a matrix product rounds differently with its shape.
    """
    return np.asarray(np.vecdot(left.astype(np.float64), right.astype(np.float64)), np.float32)


def top_k(scores: Floats, k: int) -> Answer:
    """Return the k best columns of each row of a score matrix; see `ExactIndex.query`.

    Parameters
    ----------
    scores : float array, shape (n, n_items)
        -inf = never chosen.
    k : int

    Examples
    --------
    >>> rows, best = top_k(np.array([[1.0, 3.0, -np.inf, 3.0]]), 3)
    >>> rows.tolist(), best.tolist()
    ([[1, 3, 0]], [[3.0, 3.0, 1.0]])
    """
    k = min(k, scores.shape[1])
    who, rows = _at_least_kth(scores, k, 0.0)
    return _first_k(who, rows, scores[who, rows].astype(np.float32), len(scores), k)


def _at_least_kth(scores: Floats, k: int, margin: Floats | float) -> tuple[Rows, Rows]:
    """Find all finite entries within a margin of their row's k-th largest, and few more.

    The k-th largest of the groups' maxima is at most the k-th largest of all, and at least k
    scores reach it. Coarse groups give this bound, fine groups say where to look, so most scores
    are read once. A group is every n-th item, since neighbours are often alike.
    """
    n_items, n_groups = scores.shape[1], max(GROUPS, 16 * k)
    fine = _group_maxima(scores, 8 * n_groups)
    coarse = _group_maxima(fine, n_groups)
    # Negated: numpy's ascending partition takes ten times as long where most scores are 0.
    kth = -np.partition(-coarse, k - 1, axis=1)[:, k - 1, None]
    floor = np.maximum(kth - margin, np.finfo(np.float32).min)
    who, group = np.divmod(np.flatnonzero(fine >= floor), fine.shape[1])
    rows = group[:, None] + np.arange(0, n_items, fine.shape[1])
    found = scores[who[:, None], np.minimum(rows, n_items - 1)]
    some, place = np.nonzero((found >= floor[who]) & (rows < n_items))
    return who[some], rows[some, place]


def _group_maxima(scores: Floats, n_groups: int) -> Floats:
    """Return each row's maxima of columns i, i + n_groups, ...; few columns stay as they are."""
    n, n_items = scores.shape
    deep, rest = divmod(n_items, n_groups)
    if deep < 2:
        return scores
    maxima: Floats = scores[:, : n_items - rest].reshape(n, deep, n_groups).max(axis=1)
    np.maximum(maxima[:, :rest], scores[:, n_items - rest :], out=maxima[:, :rest])
    return maxima


def _first_k(who: Rows, rows: Rows, scores: Vectors, n: int, k: int) -> Answer:
    """Sort candidates by (query, descending score, row) and put each query's first k in a table."""
    order = np.lexsort((rows, -scores, who))
    place = np.arange(len(who)) - np.searchsorted(who[order], who[order])
    order, place = order[place < k], place[place < k]
    best, values = np.zeros((n, k), np.int64), np.full((n, k), -np.inf, np.float32)
    best[who[order], place], values[who[order], place] = rows[order], scores[order]
    return best, values
