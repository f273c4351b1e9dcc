"""Find the items with the largest inner product exactly, by one matrix product."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any

import numpy as np

from recsys.search.threads import one_blas_thread

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy.typing as npt

    Rows = npt.NDArray[np.integer[Any]]
    Vectors = npt.NDArray[np.float32]
    Answer = tuple[Rows, Vectors]

# Scores held at a time by exact search, 64 MB of float32 for each thread, of so many queries at
# most: few enough to stay in the cache, where the catalogue is small.
BLOCK, MOST = 1 << 24, 256
# The k-th best score is bounded by the best ones of so many groups of items, see `_at_least_kth`.
GROUPS = 1024


class ExactIndex:
    """Exact search by one matrix product: the truth that Annoy is measured against.

    Parameters
    ----------
    vectors : float32 array, shape (n_items, d)
    """

    def __init__(self, vectors: Vectors) -> None:
        self.vectors = vectors

    @functools.cached_property
    def _longest(self) -> float:
        return float(np.sqrt((self.vectors**2).sum(axis=1).max()))

    def query(
        self,
        vectors: Vectors,
        k: int,
        *,
        exclude: tuple[Rows, npt.NDArray[np.integer]] | None = None,
        threads: int = 1,
    ) -> Answer:
        """Find the k best rows for each query vector.

        Parameters
        ----------
        vectors : float32 array, shape (n, d)
        k : int
        exclude : (offsets, rows), optional
            CSR: rows[offsets[i]:offsets[i + 1]] are not to be found for query i.
        threads : int
            The answer is the same to the bit with any number. Each takes 64 MB.

        Returns
        -------
        rows : int64 array, shape (n, min(k, n_items))
            Best first; equal scores go by row.
        scores : float32 array, same shape
            Inner products; -inf where exclusion has left fewer than k.
        """
        n_items = len(self.vectors)
        k = min(k, n_items)
        answer = np.empty((len(vectors), k), np.int64), np.empty((len(vectors), k), np.float32)
        if k == 0 or len(vectors) == 0:
            return answer
        size = max(1, min(BLOCK // n_items, MOST, len(vectors)))
        blocks = [slice(start, start + size) for start in range(0, len(vectors), size)]
        # The scores of all blocks go to the same places: new memory takes a quarter of the time.
        n_places = min(threads, len(blocks))
        places = [np.empty((size, n_items), np.float32) for _ in range(n_places)]

        def search(block: slice) -> None:
            queries, place = vectors[block], places.pop()
            try:
                scores = _products(queries, self.vectors, place[: len(queries)])
                if exclude is not None:
                    bounds = exclude[0][block.start : block.start + len(queries) + 1]
                    who = np.repeat(np.arange(len(queries)), np.diff(bounds))
                    scores[who, exclude[1][bounds[0] : bounds[-1]]] = -np.inf
                answer[0][block], answer[1][block] = self._best(queries, scores, k)
            finally:
                places.append(place)

        if len(vectors) == 1:
            search(blocks[0])
        else:
            with one_blas_thread():
                _run(search, blocks, threads)
        return answer

    def find(self, query: Vectors, k: int, gone: npt.NDArray[np.integer] | None = None) -> Answer:
        """Find the k best rows for one query vector, without those that are gone, as `query` does.

        Fewer only where fewer are left.
        """
        exclude = None if gone is None else (np.array([0, len(gone)]), gone)
        rows, scores = (part[0] for part in self.query(query[None], k, exclude=exclude))
        left = scores > -np.inf
        return rows[left], scores[left]

    def _best(self, queries: Vectors, scores: Vectors, k: int) -> Answer:
        """Pick by the fast scores with a margin for their rounding, then order by exact ones."""
        lengths = np.sqrt((queries**2).sum(axis=1, keepdims=True))
        margin = np.finfo(np.float32).eps * (queries.shape[1] + 2) * self._longest * lengths
        who, rows = _at_least_kth(scores, k, margin)
        exact = exact_scores(self.vectors, rows, queries, who)
        return _first_k(who, rows, exact, len(queries), k)


def _products(queries: Vectors, vectors: Vectors, out: Vectors) -> Vectors:
    """Return the inner products of all pairs, (n, n_items), laid down in `out`."""
    if len(queries) == 1:  # row by row, for which BLAS starts no threads: none to be kept from it
        np.vecdot(vectors, queries[0], out=out[0])
    else:
        np.matmul(queries, vectors.T, out=out)
    return out


def _run(search: Callable[[slice], None], blocks: list[slice], threads: int) -> None:
    """Search block by block; where it takes long, with a progress bar."""
    if len(blocks) == 1:
        search(blocks[0])
        return
    from concurrent.futures import ThreadPoolExecutor

    from tqdm import tqdm

    with ThreadPoolExecutor(threads) as pool:
        done = pool.map(search, blocks)
        for _ in tqdm(done, "exact search", len(blocks), delay=2, disable=None, unit="block"):
            pass


def unit_length(vectors: Vectors) -> Vectors:
    """Scale each row to length 1, so that inner products are cosines; a row of zeros stays."""
    lengths = np.sqrt((vectors.astype(np.float64) ** 2).sum(axis=1, keepdims=True))
    return (vectors / np.where(lengths > 0, lengths, 1)).astype(np.float32)


def exact_scores(vectors: Vectors, rows: Rows, queries: Vectors, who: Rows) -> Vectors:
    """Inner product of vectors[rows[i]] and queries[who[i]], the same however it is asked for.

    A matrix product rounds differently with the shape of the block; summing in float64 and
    rounding once makes one pair give one score in every call.
    """
    scores = np.empty(len(rows), np.float32)
    for start in range(0, len(rows), 512):  # no more than the cache holds
        part = slice(start, start + 512)
        left, right = vectors[rows[part]], queries[who[part]]
        scores[part] = row_products(left, right)
    return scores


def row_products(left: Vectors, right: Vectors) -> Vectors:
    """Return the inner products row by row, summed in float64 and rounded once."""
    sums: npt.NDArray[np.float64] = np.vecdot(left.astype(np.float64), right.astype(np.float64))
    return sums.astype(np.float32)


def top_k(scores: npt.NDArray[np.floating[Any]], k: int) -> Answer:
    """Order the columns of each row of a score matrix, best first; equal scores go by column.

    Parameters
    ----------
    scores : float array, shape (n, n_items)
        -inf = not to be chosen.
    k : int

    Returns
    -------
    rows : int64 array, shape (n, min(k, n_items))
    scores : float32 array, same shape
        -inf where fewer than k could be chosen.

    Examples
    --------
    >>> rows, best = top_k(np.array([[1.0, 3.0, -np.inf, 3.0]]), 3)
    >>> rows.tolist(), best.tolist()
    ([[1, 3, 0]], [[3.0, 3.0, 1.0]])
    """
    k = min(k, scores.shape[1])
    who, rows = _at_least_kth(scores, k, 0.0)
    return _first_k(who, rows, scores[who, rows].astype(np.float32), len(scores), k)


def _at_least_kth(
    scores: npt.NDArray[np.floating[Any]], k: int, margin: npt.ArrayLike
) -> tuple[Rows, Rows]:
    """Find all entries that reach their row's k-th largest less a margin, and few more.

    One that is -inf is never found.
    """
    # The k-th largest of the maxima of groups is no more than the k-th largest of all, and at least
    # k scores reach it. Coarse groups give the bound, fine ones tell where to look, so that most
    # scores are looked at once. A group is every n-th item: neighbours are often alike.
    n_items, n_groups = scores.shape[1], max(GROUPS, 16 * k)
    fine = _group_maxima(scores, 8 * n_groups)
    coarse = _group_maxima(fine, n_groups)
    # Downwards, since upwards numpy takes ten times as long where most scores are 0.
    kth = -np.partition(-coarse, k - 1, axis=1)[:, k - 1, None]
    floor = np.maximum(kth - margin, np.finfo(np.float32).min)
    who, group = np.divmod(np.flatnonzero(fine >= floor), fine.shape[1])
    rows = group[:, None] + np.arange(0, n_items, fine.shape[1])
    found = scores[who[:, None], np.minimum(rows, n_items - 1)]
    some, place = np.nonzero((found >= floor[who]) & (rows < n_items))
    return who[some], rows[some, place]


def _group_maxima(scores: npt.NDArray[Any], n_groups: int) -> npt.NDArray[Any]:
    """Return the largest of each row's columns i, i + n_groups, ...; few columns as they are."""
    n, n_items = scores.shape
    deep, rest = divmod(n_items, n_groups)
    if deep < 2:
        return scores
    maxima: npt.NDArray[Any] = scores[:, : n_items - rest].reshape(n, deep, n_groups).max(axis=1)
    np.maximum(maxima[:, :rest], scores[:, n_items - rest :], out=maxima[:, :rest])
    return maxima


def _first_k(who: Rows, rows: Rows, scores: Vectors, n: int, k: int) -> Answer:
    """Order candidates by (query, score downwards, row) and lay the first k of each in a table."""
    order = np.lexsort((rows, -scores, who))
    who, rows, scores = who[order], rows[order], scores[order]
    place = np.arange(len(who)) - np.searchsorted(who, who)
    first = place < k
    best, values = np.zeros((n, k), np.int64), np.full((n, k), -np.inf, np.float32)
    best[who[first], place[first]] = rows[first]
    values[who[first], place[first]] = scores[first]
    return best, values
