"""Hold a list of recommendations: light to make, readable when shown."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from recsys.errors import escape

if TYPE_CHECKING:
    import numpy.typing as npt
    import pandas as pd


class Recommendation(NamedTuple):
    """One row of a list."""

    rank: int
    item_id: Any
    title: str | None
    score: float
    reason: str | None


class Recommendations(Sequence[Recommendation]):
    """A ranked list of items, best first, ranks from 1.

    It prints as an aligned table. A pandas frame alone would cost more than the search for the
    items, so one is made only when asked for.

    Attributes
    ----------
    item_ids : array, shape (n,)
        Ids as they came in the ratings.
    scores : float32 array, shape (n,)
    cold : bool array, shape (n,)
        Which items nobody has watched, so that their vectors come from their metadata.
    """

    def __init__(
        self,
        item_ids: npt.NDArray[Any],
        scores: npt.NDArray[np.float32],
        titles: Callable[[], list[str]] | list[str] | None = None,
        reasons: list[str] | None = None,
        cold: npt.NDArray[np.bool_] | None = None,
    ) -> None:
        self.item_ids, self.scores = item_ids, scores
        self._named, self._reasons = titles, reasons
        self.cold = np.zeros(len(item_ids), bool) if cold is None else cold

    @property
    def _titles(self) -> list[str] | None:
        """The titles, read when somebody looks: that takes longer than making the list."""
        if callable(self._named):
            self._named = self._named()
        return self._named

    def __getstate__(self) -> dict[str, Any]:
        return vars(self) | {"_named": self._titles}

    def __len__(self) -> int:
        return len(self.item_ids)

    def __getitem__(self, place: Any) -> Any:
        if isinstance(place, slice):
            return [self[i] for i in range(*place.indices(len(self)))]
        place = range(len(self))[place]
        item_id = self.item_ids[place]
        # A Python int or str, as it was in the data; never a numpy scalar.
        item_id = item_id.item() if isinstance(item_id, np.generic) else item_id
        title = None if self._titles is None else self._titles[place]
        reason = None if self._reasons is None else self._reasons[place]
        return Recommendation(place + 1, item_id, title, float(self.scores[place]), reason)

    def to_dicts(self) -> list[dict[str, Any]]:
        """Return one dict a row, which JSON can hold."""
        return [row._asdict() for row in self]

    def to_frame(self) -> pd.DataFrame:
        """Return a frame: rank, item_id, title, score, reason, and `cold` where an item is."""
        import pandas as pd

        frame = pd.DataFrame(list(self), columns=list(Recommendation._fields))
        return frame.assign(cold=self.cold) if self.cold.any() else frame

    def _cells(self) -> list[list[str]]:
        """Header and rows as text, without the columns that are empty."""
        cells = {name: [str(getattr(row, name)) for row in self] for name in ("rank", "item_id")}
        if self._titles is not None:
            cells["title"] = self._titles
        cells["score"] = [f"{score:.4f}" for score in self.scores]
        if self.cold.any():
            cells[""] = ["cold" if cold else "" for cold in self.cold]
        if self._reasons is not None:
            cells["reason"] = self._reasons
        return [[*cells], *map(list, zip(*cells.values(), strict=True))]

    def __repr__(self) -> str:
        cells = [[*map(escape, row)] for row in self._cells()]
        widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
        sides = ["<" if name in ("title", "reason") else ">" for name in cells[0]]
        form = "  ".join(f"{{:{side}{width}}}" for side, width in zip(sides, widths, strict=True))
        return "\n".join(form.format(*row).rstrip() for row in cells)

    def _repr_html_(self) -> str:
        from html import escape

        head, *rows = self._cells()
        table = ["".join(f"<th>{name}</th>" for name in head)]
        table += ["".join(f"<td>{escape(cell)}</td>" for cell in row) for row in rows]
        return "\n".join(["<table>", *(f"<tr>{row}</tr>" for row in table), "</table>"])
