"""Hold what a fitted model knows: ids, vectors, histories, items; find rows by id or title."""

from __future__ import annotations

import warnings
from dataclasses import dataclass, fields, replace
from itertools import islice
from typing import TYPE_CHECKING, Any

import numpy as np

from recsys.data.columns import TextColumn, find, find_all, several_ids, take, to_column
from recsys.data.events import Events
from recsys.data.sequences import Sequences
from recsys.errors import DataWarning, UnknownItemError, UnknownUserError, escape, warn
from recsys.model.catalogue import Catalogue
from recsys.search.exact import unit_length
from recsys.search.threads import cached
from recsys.settings import shown

if TYPE_CHECKING:
    from collections.abc import Iterable

    import numpy.typing as npt
    import pandas as pd

    from recsys.vectors.item2vec import ItemVectors

    Rows = npt.NDArray[np.int64]

NAMED = 10_000  # Among so many ids those without a vector are named.
# Those attributes of `Tables` that are columns.
STORED = (
    "item_ids", "user_ids", "vectors", "contexts", "audience", "readout", "counts", "staleness",
    "cold",
)  # fmt: skip


@dataclass(frozen=True)
class Tables:
    """A fitted model as columns; codes of the sequences are rows of the item columns.

    Attributes
    ----------
    item_ids, user_ids : integer array or TextColumn, shapes (n_items,) and (n_users,)
        Ascending.
    vectors : float32 array, shape (n_items, d)
        Input vectors.
    contexts : float32 array, shape (n_items, d), or None
        Output vectors.
    audience : float32 array, shape (n_items, up to 96)
        Audience vectors (`recsys.vectors.audience`): the space of similar items.
    readout : float32 array, shape (n_items, d + r + 2)
        What the index holds, see `recsys.vectors.readout`.
    counts : int64 array, shape (n_items,)
        Interactions of each item.
    catalogue : Catalogue or None
        What is known about the items, row by row.
    histories, watched : Sequences
        What user vectors are made of, and what is not recommended again; the same unless there is a
        `min_rating`.
    staleness : float64 array, shape (n_users,)
        Days from the last event of each history to the latest event of all.
    events : Events
        All that the model was given, for updates: also events of items without a vector.
    cold : bool array, shape (n_items,), or None
        Items that nobody has watched, whose vectors come from their metadata; None = none.
    """

    item_ids: Any
    user_ids: Any
    vectors: npt.NDArray[np.float32]
    contexts: npt.NDArray[np.float32] | None
    audience: npt.NDArray[np.float32]
    readout: npt.NDArray[np.float32]
    counts: npt.NDArray[np.int64]
    catalogue: Catalogue | None
    histories: Sequences
    watched: Sequences
    staleness: npt.NDArray[np.float64]
    events: Events
    cold: npt.NDArray[np.bool_] | None = None

    @classmethod
    def of(
        cls,
        trained: ItemVectors,
        audience: npt.NDArray[np.float32],
        readout: npt.NDArray[np.float32],
        histories: Sequences,
        watched: Sequences,
        staleness: npt.NDArray[np.float64],
        items: pd.DataFrame | None,
        events: Events,
    ) -> Tables:
        """Lay out what `fit` made; the sequences are over the items that have a vector."""
        catalogue = None
        if items is not None:
            catalogue = Catalogue.of(items, trained.item_ids)
            if any(items["title"]) and not any(catalogue.columns["title"]):
                warn("no item of the ratings has a title: are the ids of one kind?")
        return cls(
            item_ids=to_column(trained.item_ids),
            user_ids=to_column(histories.user_ids),
            vectors=trained.vectors,
            contexts=trained.contexts,
            audience=audience,
            readout=np.ascontiguousarray(readout),  # rows are gathered, and go one by one
            counts=histories.counts(),
            catalogue=catalogue,
            histories=histories,
            watched=watched,
            staleness=staleness,
            events=events,
        )

    def to_columns(self) -> dict[str, Any]:
        """Return the columns by the names under which they are stored."""
        columns = {name: getattr(self, name) for name in STORED}
        columns |= {"event_times": self.events.times, "event_ratings": self.events.ratings}
        columns |= _parts("history", self.histories)
        if self.watched is not self.histories:
            columns |= _parts("watched", self.watched)
        if self.catalogue is not None:
            columns |= self.catalogue.to_columns()
        sequences = self.events.sequences
        if not self._watched_all_events:
            ids = sequences.item_ids
            columns["event_item_ids"] = ids if isinstance(ids, TextColumn) else to_column(ids)
            columns |= _parts("event", sequences)
        return {name: column for name, column in columns.items() if column is not None}

    @classmethod
    def from_columns(cls, columns: dict[str, Any], *, deep: bool) -> Tables:
        """Take stored columns back; `deep` looks at every number of the vectors.

        Raises
        ------
        ValueError, KeyError
            The columns contradict each other, or one is missing.
        """
        n_users, n_items = len(columns["user_ids"]), len(columns["item_ids"])
        histories = _sequences(columns, "history", n_users, n_items)
        watched = histories
        if "watched_codes" in columns:
            watched = _sequences(columns, "watched", n_users, n_items)
        given = {name: columns[name] for name in ("item_ids", "user_ids")}
        catalogue = Catalogue.from_columns(columns, n_items) if "catalogue" in columns else None
        events = _events(columns, watched, n_users)
        d = columns["vectors"].size // max(n_items, 1)
        wide, width = (columns[name].size // max(n_items, 1) for name in ("audience", "readout"))
        if not 0 <= width - d - 2 <= wide:
            raise ValueError(
                f"readout has {width} columns, for {d} of vectors and {wide} of audience"
            )
        for name, shape, kind in (
            ("vectors", (n_items, d), np.float32),
            ("contexts", (n_items, d), np.float32),
            ("audience", (n_items, wide), np.float32),
            ("readout", (n_items, width), np.float32),
            ("counts", (n_items,), np.int64),
            ("cold", (n_items,), np.bool_),
            ("staleness", (n_users,), np.float64),
        ):
            if name in ("contexts", "cold") and name not in columns:
                continue
            column = given[name] = columns[name]
            if column.dtype != kind or column.shape != shape:
                found = f"{name} has shape {column.shape} and dtype {column.dtype}"
                raise ValueError(f"{found} instead of {shape} and {np.dtype(kind)}")
        given |= {"catalogue": catalogue, "events": events}
        tables = cls(histories=histories, watched=watched, **{"contexts": None} | given)
        if deep:
            tables.check_numbers()
        return tables

    def __getstate__(self) -> dict[str, Any]:
        """Leave out what can be worked out again."""
        return {one.name: getattr(self, one.name) for one in fields(self)}

    def check_numbers(self) -> None:
        """Raise ValueError if there is a NaN or an infinity among the numbers that are learned."""
        for name in ("vectors", "contexts", "audience", "readout"):
            column = getattr(self, name)
            ends = [] if column is None else [column.min(initial=0), column.max(initial=0)]
            if not np.isfinite(ends).all():
                raise ValueError(f"{name} holds NaN or infinity")

    @property
    def _watched_all_events(self) -> bool:
        """Whether each event is of an item of the model; copies need not share their arrays."""
        ours, theirs = self.watched, self.events.sequences
        if ours.codes is theirs.codes:
            return True
        same_items = len(theirs.item_ids) == len(self.item_ids)  # all that are here are there
        return same_items and np.array_equal(ours.codes, theirs.codes)

    @property
    def titles(self) -> TextColumn | None:
        """Titles, shape (n_items,), "" where there is none; None without a table of items."""
        return None if self.catalogue is None else self.catalogue.titles

    @cached
    def unit_vectors(self) -> npt.NDArray[np.float32]:
        """Audience vectors at length 1, float32 array of shape (n_items, up to 96)."""
        return unit_length(self.audience)

    @property
    def answering(self) -> npt.NDArray[np.float32]:
        """Those columns of the audience vectors that the read-out answers, float32 (n_items, r)."""
        return self.audience[:, : self.readout.shape[1] - self.vectors.shape[1] - 2]

    @property
    def is_cold(self) -> npt.NDArray[np.bool_]:
        """Mark the items that nobody has watched, bool array of shape (n_items,)."""
        return np.zeros(len(self.item_ids), bool) if self.cold is None else self.cold

    def without_items(self, item_ids: Iterable[Any]) -> Tables:
        """Return the tables without some items, see `recsys.Recommender.remove_items`."""
        gone = [self.item_row(item_id) for item_id in several_ids(item_ids)]
        if not gone:
            return self
        rows = np.setdiff1d(np.arange(len(self.item_ids)), gone)
        if len(rows) == 0:
            raise ValueError("at least one item has to stay in the model")
        places = np.full(len(self.item_ids), -1)
        places[rows] = np.arange(len(rows))
        stays = ~np.isin(take(self.events.sequences.item_ids), take(self.item_ids, np.array(gone)))
        events = self.events.where(stays[self.events.sequences.codes])
        ids = take(events.sequences.item_ids)[stays]
        sequences = events.sequences.renumber(np.cumsum(stays) - 1, ids)
        left = self._with_items(
            take(self.item_ids, rows),
            self.numbers[rows],
            self.counts[rows],
            self.is_cold[rows],
            places,
        )
        catalogue = None if self.catalogue is None else self.catalogue.take(rows)
        return replace(left, catalogue=catalogue, events=replace(events, sequences=sequences))

    def with_cold_items(
        self, item_ids: npt.NDArray[Any], predicted: npt.NDArray[np.float32], items: pd.DataFrame
    ) -> Tables:
        """Return the tables with more items, which nobody has watched.

        Their ids are new ones of the same kind, `predicted` holds their `numbers`, and `items` what
        is known of all items, old and new (`recsys.data.frames.items.check_items`).
        """
        everything = np.concatenate([take(self.item_ids), item_ids])
        order = np.argsort(everything, kind="stable")
        more = self._with_items(
            everything[order],
            np.concatenate([self.numbers, predicted])[order],
            np.append(self.counts, np.zeros(len(item_ids), np.int64))[order],
            np.append(self.is_cold, np.ones(len(item_ids), bool))[order],
            np.argsort(order)[: len(self.item_ids)],
        )
        return replace(more, catalogue=Catalogue.of(items, everything[order]))

    def _with_items(
        self, item_ids: Any, numbers: Any, counts: Any, cold: Any, places: Rows
    ) -> Tables:
        """Return the tables with other items; `places` has the new row of each old one, or -1."""
        histories, watched = (
            old.renumber(places, np.arange(len(item_ids))) for old in (self.histories, self.watched)
        )
        widths = [0 if part is None else part.shape[1] for part in self._parts]
        split = np.split(numbers, np.cumsum(widths)[:-1], axis=1)
        vectors, contexts, audience, readout = (part.copy() for part in split)
        return replace(
            self,
            item_ids=to_column(item_ids),
            vectors=vectors,
            contexts=None if self.contexts is None else contexts,
            audience=audience,
            readout=readout,
            counts=counts,
            cold=cold if cold.any() else None,
            histories=histories,
            watched=histories if self.watched is self.histories else watched,
        )

    @property
    def numbers(self) -> npt.NDArray[np.float32]:
        """All that is learned of each item side by side, those of the four matrices it has."""
        return np.hstack([part for part in self._parts if part is not None])

    @property
    def _parts(self) -> tuple[npt.NDArray[np.float32] | None, ...]:
        return self.vectors, self.contexts, self.audience, self.readout

    def user_row(self, user_id: Any) -> int:
        """Return the row of a user id, or raise UnknownUserError."""
        row = find(self.user_ids, user_id)
        if row is None:
            raise UnknownUserError(
                f"unknown user {shown(user_id)}{_other_kind(self.user_ids, user_id, 'user')}; "
                "for a history at hand use recommend_for(item_ids), or fallback='popularity' "
                "(--fallback popularity)"
            )
        return row

    def item_row(self, item_id: Any) -> int:
        """Return the row of an item id, or raise UnknownItemError."""
        row = find(self.item_ids, item_id)
        if row is None:
            hint = _other_kind(self.item_ids, item_id, "item")
            raise UnknownItemError(
                f"unknown item {shown(item_id)}: it has no vector in this model{hint}"
            )
        return row

    def item_rows(self, item_ids: Iterable[Any]) -> Rows:
        """Return the rows of those ids that have one, in their order."""
        return find_all(self.item_ids, item_ids)

    def describe(self) -> str:
        """Say how much there is."""
        n_items, n_users, n_events = map(len, (self.item_ids, self.user_ids, self.events))
        return f"{n_items:,} items, {n_users:,} users, {n_events:,} events"

    def known_rows(self, item_ids: Iterable[Any]) -> Rows:
        """Return the same, and warn of ids that have none."""
        ids = several_ids(item_ids)
        rows = self.item_rows(ids)
        if len(rows) < len(ids):
            unknown = (one for one in islice(ids, NAMED) if find(self.item_ids, one) is None)
            first = [
                one.item() if isinstance(one, np.generic) else one for one in islice(unknown, 3)
            ]
            text = f"skipped {len(ids) - len(rows):,} of {len(ids):,} items without a vector"
            if first:
                kind = _other_kind(self.item_ids, first[0], "item")
                text += f", such as {', '.join(map(shown, first))}{kind}"
            warnings.warn(text, DataWarning, stacklevel=3)
        return rows

    def allowed(
        self,
        excluded: npt.NDArray[np.integer[Any]],
        allow: Iterable[Any] | None,
        where: str | pd.Series | None,
    ) -> npt.NDArray[np.bool_]:
        """Tell which items the filters leave, bool array (n_items,); `excluded` are rows.

        `allow`, `where` and errors are those of `recsys.Recommender.recommend`.
        """
        allowed = np.full(len(self.counts), allow is None)
        if allow is not None:
            allowed[self.item_rows(allow)] = True
        if isinstance(where, str):
            allowed &= (self.catalogue or Catalogue({})).mask(where)
        elif where is not None:
            allowed &= self._marked(where)
        allowed[excluded] = False
        return allowed

    def _marked(self, where: Any) -> npt.NDArray[np.bool_]:
        if getattr(getattr(where, "index", None), "name", None) != "item_id":
            raise ValueError(
                "where must be an expression such as 'year >= 1990', or a boolean Series by item "
                "id: items.set_index('item_id')['year'] >= 1990"
            )
        dtype = getattr(where, "dtype", type(where).__name__)
        if str(dtype) not in ("bool", "boolean", "bool[pyarrow]"):
            raise ValueError(f"where must be a boolean Series, got one of {dtype}")
        marked = np.zeros(len(self.counts), bool)
        marked[self.item_rows(where.index[where.fillna(False).to_numpy(bool)])] = True
        return marked

    def row_of_title(self, title: Any) -> int:
        """Return the row of the item with exactly this title, or raise UnknownItemError."""
        titles = [] if self.titles is None else self.titles[:]
        rows = [row for row, text in enumerate(titles) if text and text == title]
        if len(rows) == 1:
            return rows[0]
        if rows:
            ids = ", ".join(escape(self.item_ids[row]) for row in rows)
            raise UnknownItemError(f"{title!r} is the title of several items, with the ids {ids}")
        from difflib import get_close_matches

        close = ", ".join(map(repr, get_close_matches(str(title), {*titles} - {""})))
        hint = f"; close titles: {close}" if close else ""
        raise UnknownItemError(f"unknown item {title!r}: neither an id nor a title{hint}")


def _other_kind(column: Any, wanted: Any, what: str) -> str:
    """Say so if an id is a number among texts, or the other way round."""
    if isinstance(column, TextColumn) is isinstance(wanted, str):
        return ""
    kinds = ("text", "number") if isinstance(column, TextColumn) else ("number", "text")
    other = isinstance(wanted, str | int | np.integer)
    return f" (the model's {what} ids are {kinds[0]}s, this is a {kinds[1]})" if other else ""


def _events(columns: dict[str, Any], watched: Sequences, n_users: int) -> Events:
    item_ids, sequences = columns["item_ids"], watched
    if "event_codes" in columns:
        item_ids = columns["event_item_ids"]
        sequences = _sequences(columns, "event", n_users, len(item_ids))
    times, ratings = columns.get("event_times"), columns.get("event_ratings")
    for name, column, kinds in (("times", times, "iu"), ("ratings", ratings, "f")):
        if column is not None and (
            column.shape != sequences.codes.shape or column.dtype.kind not in kinds
        ):
            raise ValueError(f"event_{name} does not fit the {len(sequences.codes)} events")
    named = replace(sequences, user_ids=columns["user_ids"], item_ids=item_ids)
    return Events(named, times, ratings)


def _parts(kind: str, sequences: Sequences) -> dict[str, Any]:
    return {f"{kind}_codes": sequences.codes, f"{kind}_offsets": sequences.offsets}


def _sequences(columns: dict[str, Any], kind: str, n_users: int, n_items: int) -> Sequences:
    """Check a CSR matrix in full: scipy reads past the end of memory where it is wrong."""
    codes, offsets = columns[f"{kind}_codes"], columns[f"{kind}_offsets"]
    if codes.dtype != np.int32 or offsets.dtype != np.int64:
        raise ValueError(f"{kind}_codes and {kind}_offsets are no codes and offsets")
    if len(offsets) != n_users + 1 or offsets[0] != 0 or offsets[-1] != len(codes):
        raise ValueError(f"{kind}_offsets do not fit {kind}_codes")
    # As unsigned numbers, negative ones are the largest.
    if codes.view(np.uint32).max(initial=0) >= max(n_items, 1):
        raise ValueError(f"{kind}_codes point outside the items")
    if (offsets[1:] < offsets[:-1]).any():
        raise ValueError(f"{kind}_offsets do not ascend")
    return Sequences(np.arange(n_users), np.arange(n_items), codes, offsets)
