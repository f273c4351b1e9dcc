"""Hold what is known about the items, in columns that a folder can map and that need no pandas."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from recsys.data.columns import Lists, TextColumn, take
from recsys.model.where import matching
from recsys.search.threads import cached

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    import numpy.typing as npt
    import pandas as pd

    from recsys.data.columns import Column

KEPT_FILTERS = 64
PARTS = ("words", "codes", "ends")  # of Lists


@dataclass(frozen=True)
class Catalogue:
    """Columns of the items, each of length n_items.

    Attributes
    ----------
    columns : dict of name -> float64 array, TextColumn or Lists
        NaN, "" and an empty list where something is not known.
    """

    columns: dict[str, Column]

    @classmethod
    def of(cls, items: pd.DataFrame, item_ids: npt.NDArray[Any]) -> Catalogue:
        """Lay out a table of items, as `check_items` gives it, for the items of these ids."""
        from recsys.data.frames.names import ITEM

        aligned = items.set_index(ITEM).reindex(item_ids)
        return cls({str(name): _column(aligned[name]) for name in aligned})

    @property
    def titles(self) -> TextColumn | None:
        """The column `title`, if there is one."""
        titles = self.columns.get("title")
        return titles if isinstance(titles, TextColumn) else None

    @cached
    def mask(self) -> Callable[[str], npt.NDArray[np.bool_]]:
        """Tell which items an expression holds for (`recsys.model.where`); the last are kept."""
        find_items = functools.partial(matching, columns=self.columns)
        return functools.lru_cache(KEPT_FILTERS)(find_items)

    def __getstate__(self) -> dict[str, Any]:
        return {"columns": self.columns}  # what is kept of filters cannot be pickled

    def take(self, rows: npt.NDArray[np.integer]) -> Catalogue:
        """Return the items of these rows."""
        taken: dict[str, Column] = {}
        for name, column in self.columns.items():
            if isinstance(column, np.ndarray):
                taken[name] = column[rows]
            else:
                taken[name] = type(column).of([column[row] for row in rows.tolist()])
        return Catalogue(taken)

    def to_frame(self, item_ids: npt.NDArray[Any] | TextColumn) -> pd.DataFrame:
        """Return a frame in the form of `check_items`, one row an item, for ids in this order."""
        import pandas as pd

        from recsys.data.frames.items import check_items
        from recsys.data.frames.names import ITEM

        plain = {
            name: column if isinstance(column, np.ndarray) else pd.Series(column[:], dtype=object)
            for name, column in self.columns.items()
        }
        return check_items(pd.DataFrame({ITEM: take(item_ids), **plain}))

    def to_columns(self) -> dict[str, Any]:
        """Return columns by the names under which they are stored."""
        stored: dict[str, Any] = {"catalogue": TextColumn.of(self.columns)}
        for place, column in enumerate(self.columns.values()):
            if isinstance(column, Lists):
                stored |= {f"catalogue{place}_{part}": getattr(column, part) for part in PARTS}
            else:
                stored[f"catalogue{place}"] = column
        return stored

    @classmethod
    def from_columns(cls, stored: Mapping[str, Any], n_items: int) -> Catalogue:
        """Take stored columns back; ValueError or KeyError if they do not fit each other."""
        columns: dict[str, Column] = {}
        for place, name in enumerate(stored["catalogue"]):
            if f"catalogue{place}_words" in stored:
                parts = (stored[f"catalogue{place}_{part}"] for part in PARTS)
                columns[name] = Lists(*parts).checked()
            else:
                columns[name] = stored[f"catalogue{place}"]
            if len(columns[name]) != n_items:
                raise ValueError(f"{name} has {len(columns[name])} rows for {n_items} items")
        return cls(columns)


def _column(values: pd.Series[Any]) -> Column:
    from pandas.api.types import is_bool_dtype, is_numeric_dtype

    if is_numeric_dtype(values.dtype) or is_bool_dtype(values.dtype):
        return np.asarray(values.astype("float64"))
    known = values.astype(object)
    if any(isinstance(value, tuple) for value in known):
        return Lists.of([value if isinstance(value, tuple) else () for value in known])
    return TextColumn.of(value if isinstance(value, str) else "" for value in known)
