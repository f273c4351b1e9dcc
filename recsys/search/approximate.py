"""Find the items with the largest inner product with Annoy, and among the items filters leave."""

from __future__ import annotations

import functools
import logging
import os
import weakref
from itertools import filterfalse, islice
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import numpy as np

from recsys.search.annoy_file import check_annoy_file
from recsys.search.exact import ExactIndex, row_products
from recsys.search.threads import cached

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy.typing as npt

    from recsys.search import Index
    from recsys.search.exact import Answer, Csr, Rows, Vectors

logger = logging.getLogger(__name__)

LOWEST = float(np.finfo(np.float32).min)

LONGEST = 1000  # At least this many of the longest vectors are scored for every query.
SEARCH_K = 2000  # Nodes that a query looks at, at least.
SPARE = 20  # Annoy's results beyond k that are scored too: rounding may have swapped them.
MOST_TREES = 100  # that an index is opened with; `choose.build_index` makes fewer
FEW = 4000  # Up to this many filtered items are all scored, which is faster than searching.
COPIED = 1 << 24  # bytes of the file at a time
PICKLED = {"vectors", "n_trees", "search_k", "longest"}
BARRED = 1000  # At most this many of the items that a filter bars are assumed to be the best.


def best_of(index: Index, query: Vectors, k: int, allowed: npt.NDArray[np.bool_]) -> Answer:
    """Find the k best of the items that are allowed; fewer only if fewer are.

    `allowed` is bool (n_items,). Few items are all scored. Among many, the index is asked for as
    many as should hold k of them, then for more until they do.
    """
    n_allowed, n_items = int(np.count_nonzero(allowed)), len(allowed)
    k = min(k, n_allowed)
    if not isinstance(index, ExactIndex) and n_allowed > FEW:
        wanted = k + min(n_items - n_allowed, max(BARRED, 2 * k * n_items // n_allowed))
        while wanted < n_items // 4:
            rows, scores = index.near(query, wanted)
            keep = np.flatnonzero(allowed[rows])[:k]
            if len(keep) == k and scores[keep[-1]] > 0:
                return rows[keep], scores[keep]
            wanted *= 4
    if n_allowed < n_items // 2:
        rows = np.flatnonzero(allowed)
        found, scores = ExactIndex(index.vectors[rows]).find(query, k)
        return rows[found], scores
    return ExactIndex(index.vectors).find(query, k, np.flatnonzero(~allowed))


class AnnoyIndex:
    """Approximate search with Annoy; the scores are exact inner products.

    Annoy's own "dot" metric loses recall (1.17.3), so the inner product is searched as an angle:
    with one more coordinate, sqrt(M^2 - |v|^2) for an item and 0 for a query (M the longest
    vector), all items have the same length and the order by angle is that by inner product.
    Annoy's trees cannot see that a short vector cannot score high: where lengths differ much (a
    standard deviation of their logarithm of 1), they find a tenth of the best among 50,000 items.
    So every query also scores the longest vectors. In Annoy they are zeroed, and M is the longest
    of the rest: the less lengths differ, the better the trees.

    Parameters
    ----------
    vectors : float32 array, shape (n_items, d)
        Finite, and not all zero.
    n_trees : int
        More trees find more and take more memory.
    search_k : int
        Nodes a query may look at; more find more and take longer. See `build_index`.
    longest : int or integer array
        How many of the longest vectors to score for every query, or their rows, ascending.
    seed : int
    path : Path, optional
        A file that `save` wrote for these very vectors: mapped instead of building. What is built
        lies in a file without a name, where `tempfile` puts it, as long as the index lives.

    Raises
    ------
    ImportError
        Annoy is not installed.
    ValueError
        The file is not an index of vectors of this shape (`check_annoy_file`). Wrong coordinates
        pass: they can only lose items, as scores do not use them.

    References
    ----------
    Bachrach et al. 2014, "Speeding Up the Xbox Recommender System Using a Euclidean
    Transformation for Inner-Product Spaces". Splitting by length: Yan et al. 2018, "Norm-Ranging
    LSH for Maximum Inner Product Search". Annoy: https://github.com/spotify/annoy
    """

    backend = "annoy"

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
        self.vectors, self.n_trees, self.search_k = vectors, n_trees, search_k
        if isinstance(longest, int):
            longest = np.sort(by_length(vectors)[:longest])
        self.longest = longest
        self._exact, self._annoy = ExactIndex(vectors), self._empty()
        if path is None:
            with TemporaryDirectory(prefix="recsys-") as folder:
                self._build(seed, path := Path(folder) / "index.ann")
                self._handle = self._hold(path)
        else:
            check_annoy_file(path, *vectors.shape)
            self._annoy.load(str(path))
            self._handle = self._hold(path)

    def _empty(self) -> Any:
        annoy = _import_annoy()
        if annoy is None:
            raise ImportError("annoy is not installed: pip install annoy (needs a C++ compiler)")
        return annoy.AnnoyIndex(self.vectors.shape[1] + 1, "angular")

    def _hold(self, path: Path) -> int:
        """Hold the mapped file open, to copy from: Annoy cannot save while it answers.

        Its `save` takes the index away from other threads for a moment, which ends the process.
        """
        handle = os.open(path, os.O_RDONLY)
        weakref.finalize(self, os.close, handle)
        return handle

    def _build(self, seed: int, path: Path) -> None:
        others = self.vectors.astype(np.float64)
        others[self.longest] = 0
        squares = (others**2).sum(axis=1)
        points = np.column_stack([others, np.sqrt((squares.max() or 1.0) - squares)])
        self._annoy.set_seed(seed % 2**31)  # larger ones overflow
        for row, point in enumerate(points):
            self._annoy.add_item(row, point.tolist())
        self._annoy.build(self.n_trees, n_jobs=1)  # more jobs, another index every time
        self._annoy.save(str(path))

    def save(self, path: Path) -> None:
        """Write the index to a file."""
        with path.open("wb") as file:
            for start in range(0, self.n_bytes, COPIED):
                file.write(os.pread(self._handle, COPIED, start))

    def __getstate__(self) -> dict[str, Any]:
        """Return what another process needs: the file as bytes."""
        held = {name: held for name, held in vars(self).items() if name in PICKLED}
        return held | {"file": os.pread(self._handle, self.n_bytes, 0)}

    def __setstate__(self, held: dict[str, Any]) -> None:
        file = held.pop("file")
        vars(self).update(held)
        self._exact, self._annoy = ExactIndex(self.vectors), self._empty()
        with TemporaryDirectory(prefix="recsys-") as folder:
            path = Path(folder) / "index.ann"
            path.write_bytes(file)
            self._annoy.load(str(path))
            self._handle = self._hold(path)

    @property
    def columns(self) -> dict[str, Rows]:
        """What is stored beside the file, for `open_index`."""
        return {"longest": self.longest}

    @property
    def n_bytes(self) -> int:
        """Size of the index as a file."""
        return os.fstat(self._handle).st_size

    def query(self, vectors: Vectors, k: int, *, exclude: Csr | None = None) -> Answer:
        """Find about the k best rows for each query vector; see `ExactIndex.query`."""
        n, k = len(vectors), min(k, len(self.vectors))
        rows, scores = np.zeros((n, k), np.int64), np.full((n, k), -np.inf, np.float32)
        for i, vector in enumerate(vectors):
            gone = None if exclude is None else exclude[1][exclude[0][i] : exclude[0][i + 1]]
            found, best = self.find(vector, k, gone)
            rows[i, : len(found)], scores[i, : len(found)] = found, best
        return rows, scores

    def find(self, query: Vectors, k: int, gone: Rows | None = None) -> Answer:
        """Find about the k best rows for one query vector without `gone`; fewer if fewer remain."""
        k, n_items = min(k, len(self.vectors)), len(self.vectors)
        if gone is not None and BARRED < len(gone) > n_items // 4 - k:
            return self._exact.find(query, k, gone)
        rows, scores = self.near(query, k, gone)
        if len(rows) < k or (k and scores[-1] <= 0):  # see `near`
            return self._exact.find(query, k, gone)
        return rows, scores

    def near(self, query: Vectors, k: int, gone: Rows | None = None) -> Answer:
        """Find about the k best of the rows that score above 0; any others may follow.

        In Annoy, those below 0 come after the zeroed longest, which may fill the answer.
        """
        out = set() if gone is None else set(gone.tolist())
        wanted = min(k + len(out), len(self.vectors))
        found = self._annoy.get_nns_by_vector(
            [*query.tolist(), 0.0], wanted, max(self.search_k, self.n_trees * k, 2 * wanted)
        )
        apart, ends, longest, place_of, slack = self._apart
        kept = filterfalse(apart.__contains__, filterfalse(out.__contains__, found))
        near = np.fromiter(islice(kept, k + SPARE), np.int64)
        rows, n = np.concatenate([ends, near]), len(longest)
        fast = np.empty(len(rows), np.float32)
        fast[n] = -np.inf
        np.vecdot(longest, query, out=fast[:n])
        np.vecdot(self.vectors.take(near, axis=0), query, out=fast[n + 1 :])
        if gone is not None:
            fast[place_of[gone]] = -np.inf
        kth = np.partition(fast, -k)[-k] if len(fast) >= k > 0 else -np.inf
        margin = slack * float(query @ query) ** 0.5  # rounding of `fast`
        rows = rows[fast >= max(kth - margin, LOWEST)]
        scores = row_products(self.vectors.take(rows, axis=0), query)
        order = np.lexsort((rows, -scores))[:k]
        return rows[order], scores[order]

    @cached
    def _apart(self) -> tuple[frozenset[int], Rows, Vectors, Rows, float]:
        """The longest vectors, for `near`.

        Their rows, as a set, and with one more at the end that stands for all others; themselves;
        each item's place among them, or that at the end; margin of a score, by the query's length.
        """
        vectors, n = self.vectors[self.longest], len(self.longest)
        places = np.full(len(self.vectors), n, np.int32)
        places[self.longest] = np.arange(n)
        some = vectors if n else self.vectors
        length = float(np.sqrt(np.vecdot(some, some).max(initial=0)))
        slack = float(np.finfo(np.float32).eps) * (vectors.shape[1] + 2) * length
        return frozenset(self.longest.tolist()), np.append(self.longest, 0), vectors, places, slack


def open_index(
    kind: str,
    vectors: Vectors,
    *,
    seed: int,
    chosen: dict[str, Any],
    columns: Mapping[str, Any],
    path: Path | None,
) -> AnnoyIndex | None:
    """Map a stored index, or rebuild it as it was if the file is missing or damaged.

    Parameters
    ----------
    kind, vectors, seed, chosen
        As `build_index` took and returned them; `chosen` may be empty, for the defaults.
    columns : mapping of name -> array
        Holds `AnnoyIndex.columns`, or a ValueError is raised.
    path : Path or None
        Where the index was saved.
    """
    if usable_index(kind) != "annoy":
        return None
    options: dict[str, Any] = {"seed": seed}
    if chosen:
        rows = columns.get("longest", np.empty(0))
        ends = np.concatenate([[-1], rows, [len(vectors)]]) if rows.ndim == 1 else rows
        if rows.dtype.kind != "i" or ends.ndim != 1 or not (np.diff(ends) > 0).all():
            raise ValueError("longest does not point at items")
        options |= {"longest": rows} | {name: chosen[name] for name in ("n_trees", "search_k")}
        most = 4 * max(SEARCH_K, MOST_TREES * len(vectors))
        for name, limit in (("n_trees", MOST_TREES), ("search_k", most)):
            if type(options[name]) is not int or not 1 <= options[name] <= limit:
                raise ValueError(f"{name} must be a whole number from 1 to {limit}")
    if path is not None:
        try:
            return AnnoyIndex(vectors, **options, path=path)
        except (OSError, ValueError) as error:  # replaced by another process just now, or forged
            logger.warning("%s; the index is rebuilt from the vectors", error)
    return AnnoyIndex(vectors, **options)


def by_length(vectors: Vectors) -> Rows:
    """Return the rows by length of their vectors, the longest first; ties go by row."""
    return np.argsort(-np.vecdot(vectors, vectors), kind="stable")


def usable_index(kind: str) -> str:
    """Return the kind of index itself, or "exact" if its package is not installed."""
    return "exact" if kind == "annoy" and _import_annoy() is None else kind


@functools.cache
def _import_annoy() -> Any:
    """Import annoy; return None, with one notice, if it is not installed."""
    try:
        import annoy
    except ImportError:
        logger.warning("annoy is not installed: searching exactly instead (pip install annoy)")
        return None
    return annoy
