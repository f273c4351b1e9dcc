"""Find the items with the largest inner product, exactly or with Annoy.

To add a backend, write a class with the members of `Index`, `save` and `columns` in
`approximate.py`, let `usable_index` and `open_index` there and `build_index` in `choose.py` know
it, and name it in `recsys.settings`. `build_index` chooses how hard Annoy searches;
`recsys.model.ask.Model.recommend` which index answers.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from recsys.search.exact import Answer, Csr, Rows, Vectors


class Index(Protocol):
    """A search index over item vectors, float32 (n_items, d).

    Scores are exact inner products (`recsys.search.exact.row_products`); ties go by row.
    """

    backend: str
    vectors: Vectors

    @property
    def n_bytes(self) -> int:
        """Size of the index without the vectors."""

    def query(self, vectors: Vectors, k: int, *, exclude: Csr | None = None) -> Answer:
        """Find the k best rows for each query; see `ExactIndex.query`."""

    def find(self, query: Vectors, k: int, gone: Rows | None = None) -> Answer:
        """Find the k best rows for one query without `gone`; fewer only if fewer remain."""

    def near(self, query: Vectors, k: int, gone: Rows | None = None) -> Answer:
        """Do the same, where only rows that score above 0 need be the best; may find fewer."""
