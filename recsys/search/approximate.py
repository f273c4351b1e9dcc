"""Find the items with the largest inner product: approximately with Annoy, and among filters."""

from __future__ import annotations

import functools
import itertools
import logging
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from recsys.search.exact import ExactIndex, row_products

if TYPE_CHECKING:
    import numpy.typing as npt

    Rows = npt.NDArray[np.integer[Any]]
    Vectors = npt.NDArray[np.float32]
    Answer = tuple[Rows, Vectors]

logger = logging.getLogger(__name__)

# Items that approximate search always scores too, the longest vectors: so many at least.
LONGEST = 1000
# What `build_annoy` begins with, and the share of the exact top so many that it is to find.
SEARCH_K, OVERLAP, TOP = 2000, 0.98, 20
# How many more than k of what Annoy finds are scored, which rounding may have put in another order.
SPARE = 20
# Share of the best that it takes to score twice as many of the longest vectors; and how many of
# them are scored in the time that one of Annoy's nodes takes (at 258 dimensions).
WORTHWHILE, CHEAPER = 0.02, 8
# Up to so many items that are left by a filter, all are scored: faster than a search among all.
FEW = 4000
# Up to so many items that a filter bars are taken to be the very best ones.
BARRED = 1000


def best_of(
    index: ExactIndex | AnnoyIndex, query: Vectors, k: int, left: npt.NDArray[np.bool_]
) -> tuple[Rows, Vectors]:
    """Find the k best of the items that filters have left: k, as long as there are so many.

    Few are scored one by one. Among many, the index is asked for as many as should hold k of
    them, then for more and more: for all that are barred, which may be the very best, as what a
    user has watched is, but up to `BARRED` of them, unless the share that is left asks for more.

    Parameters
    ----------
    index : ExactIndex or AnnoyIndex
    query : float32 array, shape (d,)
    k : int
    left : bool array, shape (n_items,)

    Returns
    -------
    rows : int64 array, shape (min(k, number left),)
        Best first; equal scores go by row.
    scores : float32 array, same shape
    """
    n_left, n_items = int(np.count_nonzero(left)), len(left)
    k = min(k, n_left)
    if k and isinstance(index, AnnoyIndex) and n_left > FEW:
        wanted = k + min(n_items - n_left, max(BARRED, 2 * k * n_items // n_left))
        while wanted < n_items // 4:
            rows, scores = index.near(query, wanted)
            keep = np.flatnonzero(left[rows])[:k]
            if len(keep) == k and scores[keep[-1]] > 0:
                return rows[keep], scores[keep]
            wanted *= 4
    rows = np.flatnonzero(left)
    if not k:
        return rows, np.empty(0, np.float32)
    if n_left < n_items // 2:
        found, scores = ExactIndex(index.vectors[rows]).find(query, k)
        return rows[found], scores
    return ExactIndex(index.vectors).find(query, k, np.flatnonzero(~left))


class AnnoyIndex:
    """Approximate search with Annoy; scores are exact inner products all the same.

    Annoy's own "dot" metric loses recall (1.17.3), so the inner product is searched as an angle:
    with one more coordinate, sqrt(M^2 - |v|^2) for an item and 0 for a query (M the longest
    vector), all items have the same length and the order by angle is the order by inner product.
    Annoy's trees do not see that a short item cannot score high: where lengths differ much (a
    standard deviation of their logarithm of 1) it finds a tenth of the best among 50,000 items.
    So the longest vectors are scored for every query beside what Annoy finds. In Annoy they stand
    where no query points, so that M is the length of the longest of the others: the less lengths
    differ, the better are the trees.

    Parameters
    ----------
    vectors : float32 array, shape (n_items, d)
        Finite, and not all zero.
    n_trees : int
        More trees find more and take more memory.
    search_k : int
        How many nodes a query may look at; more find more and take longer. See `build_annoy`.
    longest : int or integer array
        How many of the longest vectors are scored for every query, or their rows, ascending.
    seed : int
    path : Path, optional
        A file written by `save` for these very vectors: it is mapped, not built.

    Raises
    ------
    ValueError
        The file is no index of so many vectors of this dimension. Annoy itself would crash, hang
        or read elsewhere in memory, so the file is looked through before Annoy opens it. Not its
        coordinates: wrong ones could only lose items, as scores are not made of them.

    References
    ----------
    Bachrach et al. 2014, "Speeding Up the Xbox Recommender System Using a Euclidean
    Transformation for Inner-Product Spaces". Apart by length: Yan et al. 2018, "Norm-Ranging LSH
    for Maximum Inner Product Search". Annoy: https://github.com/spotify/annoy
    """

    def __init__(
        self,
        vectors: Vectors,
        *,
        n_trees: int = 20,
        search_k: int = 10_000,
        longest: int | Rows = LONGEST,
        seed: int = 0,
        path: Path | None = None,
    ) -> None:
        annoy = _import_annoy()
        if annoy is None:
            raise ImportError("annoy is not installed: pip install annoy (needs a C++ compiler)")
        self.vectors, self.n_trees, self.search_k = vectors, n_trees, search_k
        self.longest: Rows = (
            np.sort(by_length(vectors)[:longest]) if isinstance(longest, int) else longest
        )
        self._exact = ExactIndex(vectors)
        self._annoy = annoy.AnnoyIndex(vectors.shape[1] + 1, "angular")
        if path is None:
            self._build(seed)
        else:
            _check_annoy_file(path, *vectors.shape)
            self._annoy.load(str(path))

    def _build(self, seed: int) -> None:
        from tqdm import tqdm

        others = self.vectors.astype(np.float64)
        others[self.longest] = 0
        squares = (others**2).sum(axis=1)
        points = np.column_stack([others, np.sqrt((squares.max() or 1.0) - squares)])
        self._annoy.set_seed(seed)
        with tqdm(total=len(points), desc="index", delay=2, disable=None) as progress:
            for row, point in enumerate(points):
                self._annoy.add_item(row, point.tolist())
                progress.update()
        self._annoy.build(self.n_trees, n_jobs=1)  # more jobs, another index every time

    def save(self, path: Path) -> None:
        """Write the index to a file."""
        self._annoy.save(str(path))

    @property
    def n_bytes(self) -> int:
        """Size of the index as a file."""
        import tempfile

        with tempfile.TemporaryDirectory() as folder:
            self.save(Path(folder) / "index.ann")
            return (Path(folder) / "index.ann").stat().st_size

    def query(
        self,
        vectors: Vectors,
        k: int,
        *,
        exclude: tuple[Rows, npt.NDArray[np.integer]] | None = None,
    ) -> Answer:
        """Find about the k best rows for each query vector; see `ExactIndex.query`."""
        k = min(k, len(self.vectors))
        rows = np.zeros((len(vectors), k), np.int64)
        scores = np.full((len(vectors), k), -np.inf, np.float32)
        for i, vector in enumerate(vectors):
            gone = None if exclude is None else exclude[1][exclude[0][i] : exclude[0][i + 1]]
            found, best = self.find(vector, k, gone)
            rows[i, : len(found)], scores[i, : len(found)] = found, best
        return rows, scores

    def find(self, query: Vectors, k: int, gone: npt.NDArray[np.integer] | None = None) -> Answer:
        """Find about the k best rows for one query vector, without those that are gone.

        Fewer only where fewer are left: where Annoy finds too few, the query is answered exactly,
        and so it is where the k-th score is not above 0, see `near`.
        """
        k = min(k, len(self.vectors))
        rows, scores = self.near(query, k, gone)
        if len(rows) < k or (k and scores[-1] <= 0):
            return self._exact.find(query, k, gone)
        return rows, scores

    def near(self, query: Vectors, k: int, gone: npt.NDArray[np.integer] | None = None) -> Answer:
        """Find about the k best of the rows that score above 0; what follows may be any others.

        At a right angle to every query the longest stand in Annoy before all that score below 0.
        """
        out = set() if gone is None else set(gone.tolist())
        wanted = min(k + min(len(out), BARRED), len(self.vectors))
        found = self._annoy.get_nns_by_vector(
            [*query.tolist(), 0.0], wanted, max(self.search_k, self.n_trees * k, 2 * wanted)
        )
        # They come in order but for rounding.
        kept = (row for row in found if row not in out and row not in self._apart)
        near = list(itertools.islice(kept, k + SPARE))
        fast = np.vecdot(self._longest_vectors, query)
        if gone is not None:
            places = self._places[gone]
            fast[places[places >= 0]] = -np.inf
        scores = row_products(self.vectors[near], query) if near else np.empty(0, np.float32)
        kth = max((np.partition(part, -k)[-k] for part in (scores, fast) if len(part) >= k > 0),
                  default=-np.inf)  # fmt: skip
        enough = max(kth - self._margin(query), np.finfo(np.float32).min)
        more = self.longest[fast >= enough]
        rows = np.concatenate([np.array(near, np.int64), more])
        scores = np.concatenate([scores, row_products(self.vectors[more], query)])
        order = np.lexsort((rows, -scores))[:k]
        return rows[order], scores[order]

    @functools.cached_property
    def _apart(self) -> frozenset[int]:
        return frozenset(self.longest.tolist())

    @functools.cached_property
    def _longest_vectors(self) -> Vectors:
        return self.vectors[self.longest]

    @functools.cached_property
    def _places(self) -> npt.NDArray[np.int32]:
        """Place of each item among the longest, -1 where it is not, int32 array (n_items,)."""
        places = np.full(len(self.vectors), -1, np.int32)
        places[self.longest] = np.arange(len(self.longest))
        return places

    @functools.cached_property
    def _length(self) -> float:
        return float(
            np.sqrt(np.vecdot(self._longest_vectors, self._longest_vectors).max(initial=0))
        )

    def _margin(self, query: Vectors) -> float:
        """How much too small the fast product with one of the longest vectors may be."""
        eps = np.finfo(np.float32).eps * (len(query) + 2)
        return float(eps * self._length * np.sqrt(np.vecdot(query, query)))


def build_annoy(
    vectors: Vectors,
    queries: Vectors,
    exclude: tuple[Rows, npt.NDArray[np.integer]],
    *,
    seed: int,
) -> tuple[AnnoyIndex, dict[str, Any]]:
    """Build an index that finds at least `OVERLAP` of what exact search finds, and little more.

    The longest vectors are scored one by one as long as twice as many of them hold a further
    `WORTHWHILE` share of the best, more than as many others would; the rest is Annoy's. Until both
    find enough, what takes less time is doubled: search_k, or again the longest.

    Parameters
    ----------
    vectors : float32 array, shape (n_items, d)
    queries : float32 array, shape (n, d)
        Like those that are going to be asked.
    exclude : (offsets, rows)
        As in `ExactIndex.query`.
    seed : int

    Returns
    -------
    index : AnnoyIndex
    chosen : dict
        n_trees, search_k and n_longest; overlap, the mean share of the exact top k that is found;
        n_queries and k.
    """
    best = ExactIndex(vectors).query(queries, TOP, exclude=exclude)
    order, place = by_length(vectors), np.empty(len(vectors), np.int64)
    place[order] = np.arange(len(vectors))
    places = place[best[0][best[1] > -np.inf]]
    n_items, n_longest, search_k = len(vectors), LONGEST, SEARCH_K
    held = [float((places < n).sum() / max(len(places), 1)) for n in (LONGEST, 2 * LONGEST)]
    while held[0] < OVERLAP and held[1] - held[0] >= WORTHWHILE + n_longest / n_items:
        n_longest *= 2
        held = [held[1], float((places < 2 * n_longest).mean())]
    index = None
    while True:
        if index is None or len(index.longest) < n_longest:
            index = AnnoyIndex(vectors, longest=np.sort(order[:n_longest]), seed=seed)
        index.search_k = search_k
        overlap = _overlap(best, index.query(queries, TOP, exclude=exclude))
        if overlap >= OVERLAP or search_k >= index.n_trees * n_items:
            break
        if n_longest < min(CHEAPER * search_k, n_items):
            n_longest = min(2 * n_longest, n_items)
        else:
            search_k *= 2
    return index, {
        "n_trees": index.n_trees, "search_k": index.search_k, "n_longest": len(index.longest),
        "overlap": round(overlap, 4), "n_queries": len(queries), "k": TOP,
    }  # fmt: skip


def _overlap(best: Answer, found: Answer) -> float:
    """Return the mean share of the best that is found, over the queries that have any.

    By score: one item is as good as another of the same.
    """
    shares = [
        (values >= scores[scores > -np.inf][-1]).sum() / (scores > -np.inf).sum()
        for scores, values in zip(best[1], found[1], strict=True)
        if (scores > -np.inf).any()
    ]
    return float(np.mean(shares)) if shares else 1.0


def by_length(vectors: Vectors) -> Rows:
    """Return the rows by the length of their vectors, the longest first; equal ones by row."""
    return np.argsort(-np.vecdot(vectors, vectors), kind="stable")


def _check_annoy_file(path: Path, n_items: int, d: int) -> None:
    """Raise ValueError unless every place that a query could go to is inside the file.

    The file (Annoy 1.17, annoylib.h) is a row of nodes of one size: how many items lie below, two
    children, d + 1 numbers. The items come first; of a node with at most d + 3 items below,
    children and numbers are those items instead, and zeros; the last nodes are the roots. Annoy
    writes children before their parents, so that one that points ahead could make a query go in
    circles. Numbers lead nowhere, and neither does an item but one that is a child itself.

    Parameters
    ----------
    path : Path
    n_items, d : int
        The shape of what was indexed.
    """
    wrong = ValueError(f"'{path}' is no index of these vectors")
    n_nodes, rest = divmod(path.stat().st_size, 4 * (d + 4))
    if rest or n_nodes <= n_items:
        raise wrong
    nodes = np.asarray(np.memmap(path, np.uint32, mode="r", shape=(n_nodes, d + 4)))
    below = nodes[n_items:, 0]
    is_list = below <= d + 3
    outside = nodes[n_items:, 1:].max(axis=1) >= n_items
    parents = n_items + np.flatnonzero(~is_list)
    children = nodes[parents, 1:3]
    if (
        nodes[-1, 0] != n_items
        or (below < 1).any()
        or (below > n_items).any()
        or (outside & is_list).any()
        or (children >= parents[:, None]).any()
        or (nodes[children[children < n_items], 0] != 1).any()
    ):
        raise wrong


@functools.cache
def _import_annoy() -> Any:
    """Import annoy where it could be installed; None, with one notice, where not."""
    try:
        import annoy
    except ImportError:
        logger.warning("annoy is not installed: searching exactly instead (pip install annoy)")
        return None
    return annoy


def annoy_available() -> bool:
    """Say whether Annoy can be used; where not, a notice is logged, once."""
    return _import_annoy() is not None


def measure_index(index: ExactIndex | AnnoyIndex, queries: Vectors, k: int) -> dict[str, Any]:
    """Measure an index against exact search.

    Parameters
    ----------
    index : ExactIndex or AnnoyIndex
    queries : float32 array, shape (n, d)
        Asked one by one, as `recommend` asks.
    k : int

    Returns
    -------
    dict
        backend; recall_vs_exact, the mean share of the exact top k that is found;
        microseconds_per_query, the median; bytes, of the index without the vectors themselves.
        Null where there are no queries.
    """
    exact = ExactIndex(index.vectors)
    shares, seconds = [], []
    for query in queries:
        started = time.perf_counter()
        rows, _ = index.query(query[None], k)
        seconds.append(time.perf_counter() - started)
        shares.append(np.isin(exact.query(query[None], k)[0], rows).mean())
    return {
        "backend": "annoy" if isinstance(index, AnnoyIndex) else "exact",
        "recall_vs_exact": float(np.mean(shares)) if shares else None,
        "microseconds_per_query": float(np.median(seconds) * 1e6) if seconds else None,
        "bytes": index.n_bytes if isinstance(index, AnnoyIndex) else 0,
    }


def open_annoy(
    vectors: Vectors, *, seed: int, chosen: dict[str, Any], longest: Any, path: Path | None
) -> AnnoyIndex:
    """Map a stored index, or rebuild it."""
    given: dict[str, Any] = {"seed": seed}
    if chosen:
        if longest.dtype.kind != "i" or not ((longest >= 0) & (longest < len(vectors))).all():
            raise ValueError("longest does not point at items")
        given |= {name: int(chosen[name]) for name in ("n_trees", "search_k")}
        given["longest"] = longest
    if path is not None:
        try:
            return AnnoyIndex(vectors, **given, path=path)
        except (OSError, ValueError) as error:
            logger.warning("%s; the index is rebuilt from the vectors", error)
    return AnnoyIndex(vectors, **given)
