"""Find items by words, and lay out the catalogue: what is known of items, and their map."""

from __future__ import annotations

import functools
import json
import os
import re
import unicodedata
from bisect import bisect_left
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from recsys.data.columns import Lists, take

if TYPE_CHECKING:
    from pathlib import Path

    import numpy.typing as npt

    from recsys.model.ask import Model

    Rows = npt.NDArray[np.integer[Any]]

MAP, MAP_ITEMS = "map.json", 5_000
GENRES, GROUPS = 40, 10
WORDS = 10  # of a search that count


def words_of(text: str) -> list[str]:
    """Split a text into words without case and accents.

    Examples
    --------
    >>> words_of("Amélie (Le Fabuleux Destin)")
    ['amelie', 'le', 'fabuleux', 'destin']
    """
    plain = unicodedata.normalize("NFKD", text.casefold())
    return re.findall(r"\w+", "".join(c for c in plain if not unicodedata.combining(c)))


@dataclass(frozen=True)
class Catalogue:
    """The items of one model, for people who look for them; `run` is the model's folder."""

    model: Model
    run: Path

    @functools.cached_property
    def by_count(self) -> Rows:
        """Rows of all items, most watched first."""
        return np.argsort(-self.model.tables.counts, kind="stable")

    @functools.cached_property
    def _words(self) -> tuple[list[str], Rows, Rows]:
        """All words of titles and ids, ascending; rows of items by word; where each begins."""
        tables, found = self.model.tables, dict[str, list[int]]()
        titles = [""] * len(tables.item_ids) if tables.titles is None else tables.titles[:]
        for row, (title, item_id) in enumerate(zip(titles, take(tables.item_ids), strict=True)):
            for word in {*words_of(title), *words_of(str(item_id))}:
                found.setdefault(word, []).append(row)
        words = sorted(found)
        lengths = [0, *(len(found[word]) for word in words)]
        return words, np.concatenate([found[word] for word in words]), np.cumsum(lengths)

    def search(self, text: str, k: int) -> list[dict[str, Any]]:
        """Return the k most watched items with words that begin with all of the words."""
        marked = np.ones(len(self.by_count), bool)
        words, rows, starts = self._words
        for prefix in words_of(text)[:WORDS]:
            first, last = bisect_left(words, prefix), bisect_left(words, prefix + "\U0010ffff")
            having = np.zeros(len(marked), bool)
            having[rows[starts[first] : starts[last]]] = True
            marked &= having
        if text.strip() and not words_of(text):
            marked[:] = False
        return [self.item(row) for row in self.by_count[marked[self.by_count]][:k].tolist()]

    def item(self, row: int) -> dict[str, Any]:
        """Return what is known of one item."""
        tables = self.model.tables
        columns = {} if tables.catalogue is None else tables.catalogue.columns
        found: dict[str, Any] = {
            "item_id": tables.item_ids[row : row + 1][0],
            "title": self.title(row),
            "n_events": int(tables.counts[row]),
        }
        if not isinstance(found["item_id"], str):
            found["item_id"] = int(found["item_id"])
        if isinstance(genres := columns.get("genres"), Lists):
            found["genres"] = list(genres[row])
        if isinstance(years := columns.get("year"), np.ndarray) and not np.isnan(years[row]):
            found["year"] = _whole(years[row])
        return found

    def title(self, row: int) -> str | None:
        """Return the title of an item, None where there is none."""
        titles = self.model.tables.titles
        return (titles[row] or None) if titles is not None else None

    @functools.cached_property
    def about(self) -> dict[str, Any]:
        """What a page needs to know: genres, years, columns to filter by, dials."""
        tables = self.model.tables
        columns = {} if tables.catalogue is None else tables.catalogue.columns
        years = columns.get("year")
        known = years[~np.isnan(years)] if isinstance(years, np.ndarray) else np.empty(0)
        return {
            "model": self.run.name,
            "n_items": len(tables.item_ids),
            "n_users": len(tables.user_ids),
            "has_titles": tables.titles is not None and any(tables.titles),
            "genres": [name for name, _ in self._genres[:GENRES]],
            "years": [_whole(known.min()), _whole(known.max())] if len(known) else None,
            "columns": list(columns),
            "dials": {"popularity": {"default": 1}, "diversity": {"default": 0}},
        }

    @functools.cached_property
    def _genres(self) -> list[tuple[str, int]]:
        """Genres and their codes, those of the most items first."""
        tables = self.model.tables
        genres = None if tables.catalogue is None else tables.catalogue.columns.get("genres")
        if not isinstance(genres, Lists):
            return []
        counts = np.bincount(genres.codes, minlength=len(genres.words))
        order = np.argsort(-counts, kind="stable")
        return [(genres.words[code], code) for code in order.tolist() if counts[code]]

    # ---- the map

    @functools.cached_property
    def map(self) -> dict[str, Any]:
        """The map, made once and kept in the folder of the run where that can be written.

        The two directions of largest variance of the items' audience vectors at length 1
        (`recsys.vectors.projection.project`), for the most watched items.
        """
        path = self.run / MAP
        try:
            found: dict[str, Any] = json.loads(path.read_bytes())
            if found["model"] == self.run.name:
                return found
        except (OSError, ValueError, KeyError, TypeError):
            pass
        made = self._make_map()
        part = path.with_name(f"{MAP}.{os.getpid()}")
        try:
            part.write_text(json.dumps(made))
            os.replace(part, path)
        except OSError:  # a folder that is read-only, or gone: it is made again next time
            part.unlink(missing_ok=True)
        return made

    @functools.cached_property
    def map_json(self) -> bytes:
        """The map as JSON, in UTF-8."""
        return json.dumps(self.map, ensure_ascii=False).encode("utf-8", "replace")

    @functools.cached_property
    def places(self) -> npt.NDArray[np.float64]:
        """Places on the map by the rows of items, (n_items, 2), NaN for those not on it."""
        places = np.full((len(self.by_count), 2), np.nan)
        rows = self.by_count[: len(self.map["x"])]
        places[rows, 0], places[rows, 1] = self.map["x"], self.map["y"]
        return places

    def _make_map(self) -> dict[str, Any]:
        from recsys.vectors.projection import project

        tables, rows = self.model.tables, self.by_count[:MAP_ITEMS]
        places = project(tables.audience[rows]) if len(rows) > 1 else np.zeros((len(rows), 2))
        groups = {code: group for group, (_, code) in enumerate(self._genres[:GROUPS])}
        group: list[int | None] = [None] * len(rows)
        if groups and tables.catalogue is not None:
            genres: Any = tables.catalogue.columns["genres"]
            codes = ({genres.words.index(g) for g in genres[row]} for row in rows.tolist())
            group = [min((groups[c] for c in own if c in groups), default=None) for own in codes]
        return {
            "model": self.run.name,
            "item_ids": take(tables.item_ids, rows).tolist(),
            "titles": [self.title(row) for row in rows.tolist()],
            "x": places[:, 0].round(5).tolist(),
            "y": places[:, 1].round(5).tolist(),
            "n_events": tables.counts[rows].tolist(),
            "group": group,
            "groups": [name for name, _ in self._genres[:GROUPS]],
        }


def _whole(number: float) -> float:
    """Return a number of a column, as an int where it is whole."""
    return int(number) if float(number).is_integer() else float(number)
