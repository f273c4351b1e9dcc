"""Keep vectors where a service looks them up: in an SQLite file, or in Redis.

The tables of the SQLite file; a BLOB holds d float32 numbers, little-endian:

    items (item_id PRIMARY KEY, title TEXT, events INTEGER, input BLOB, output BLOB)
    users (user_id PRIMARY KEY, events INTEGER, vector BLOB)     vector is NULL: has none
    about (json TEXT)                                            one row: what the file holds

The keys in Redis; a value holds the same bytes as a BLOB:

    i2vEmb:<item id>    input vector
    i2vOut:<item id>    output vector
    uEmb:<user id>      user vector
    recsys:about        JSON: what was exported

Where the rest of the package is not at hand: `numpy.frombuffer(value, "<f4")`.
"""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlsplit

import numpy as np

from recsys.errors import ColdUserError, DataError, ModelError, UnknownItemError, UnknownUserError

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    import numpy.typing as npt
    import redis

FORMAT = 1
# At byte 68 of an SQLite file, so that an earlier export can be told from another's database.
APPLICATION_ID = int.from_bytes(b"i2vE", "big")
PREFIXES = {"input": "i2vEmb:", "output": "i2vOut:", "vector": "uEmb:"}
ABOUT_KEY = "recsys:about"
AGAIN = "export again with `recsys export`"


@dataclass(frozen=True)
class Table:
    """Vectors of items or of users, and what is known of them.

    Attributes
    ----------
    name : {"item", "user"}
    ids : integer array, or array of str as objects, shape (n,)
    titles : array of str as objects, shape (n,), or None
    events : int64 array, shape (n,)
        How often an item was watched; how many items with a vector a user has watched.
    vectors : dict of {"input", "output", "vector"} -> float32 array, shape (n, d)
    """

    name: str
    ids: npt.NDArray[Any]
    titles: npt.NDArray[Any] | None
    events: npt.NDArray[np.int64]
    vectors: dict[str, npt.NDArray[np.float32]]

    @property
    def facts(self) -> dict[str, npt.NDArray[Any]]:
        """The columns but for the vectors, by name."""
        titles = {} if self.titles is None else {"title": self.titles}
        return {f"{self.name}_id": self.ids, **titles, "events": self.events}


def _about(tables: Sequence[Table]) -> str:
    """Say in JSON what is exported: the type of the ids and the kinds of vectors in each table."""
    described = {
        table.name: {
            "ids": "text" if table.ids.dtype == object else "int",
            "vectors": {kind: vectors.shape[1] for kind, vectors in table.vectors.items()},
        }
        for table in tables
    }
    return json.dumps({"format": FORMAT, **described})


def _packed(vectors: npt.NDArray[np.float32]) -> Iterable[bytes]:
    """Yield each row as little-endian float32 bytes."""
    return (row.tobytes() for row in vectors.astype("<f4", copy=False))


def write_sqlite(path: Path, tables: Sequence[Table], cold_users: npt.NDArray[Any]) -> None:
    """Write a new SQLite file.

    Parameters
    ----------
    path : Path
        Does not exist yet.
    tables : of items, of users, or both
    cold_users : array
        Ids of users without a vector: their row says so.

    Raises
    ------
    DataError
        An integer id is above 2^63 - 1, where SQLite's integers end.
    """
    with closing(sqlite3.connect(path)) as database:
        # The file is not in use before it is whole: no journal is needed.
        database.executescript(
            "PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF; "
            f"PRAGMA application_id = {APPLICATION_ID}; CREATE TABLE about (json TEXT)"
        )
        database.execute("INSERT INTO about VALUES (?)", (_about(tables),))
        for table in tables:
            facts = {name: values.tolist() for name, values in table.facts.items()}
            cells = [*facts.values(), *map(_packed, table.vectors.values())]
            columns = ", ".join(
                [f"{name} {_sql_type(values)}" for name, values in table.facts.items()]
                + [f"{kind} BLOB" for kind in table.vectors]
            )
            key, places = f"PRIMARY KEY ({table.name}_id)", ", ".join("?" * len(cells))
            database.execute(f"CREATE TABLE {table.name}s ({columns}, {key})")
            rows = zip(*cells, strict=True)
            database.executemany(f"INSERT INTO {table.name}s VALUES ({places})", rows)
        if len(cold_users):
            _sql_type(cold_users)
            ids = ((user_id,) for user_id in cold_users.tolist())
            database.executemany("INSERT INTO users (user_id, events) VALUES (?, 0)", ids)
        database.commit()


def _sql_type(values: npt.NDArray[Any]) -> str:
    if values.dtype == object:
        return "TEXT"
    if int(values.max()) >= 1 << 63:
        raise DataError(f"the id {values.max()} is above 2^63 - 1, where SQLite's integers end")
    return "INTEGER"


def write_redis(url: str, tables: Sequence[Table]) -> None:
    """Put the vectors into Redis in the place of those of an earlier export.

    All of it is one transaction in one pipeline: readers see the old vectors or the new, and an
    export that fails leaves the old ones. The server needs memory for both, for a moment; since
    https://github.com/redis/redis/pull/12961 it takes no transaction larger than its
    `client-query-buffer-limit` (1 GB by default).

    Parameters
    ----------
    url : str
        As `redis.Redis.from_url` takes it: redis://host:port/database, rediss://, unix://path.
    tables : of items, of users, or both

    Raises
    ------
    ImportError
        The package `redis` is not installed.
    OSError
        Redis does not answer, or refuses.
    """
    client, errors = _redis(url)
    try:
        old = [key for p in PREFIXES.values() for key in client.scan_iter(f"{p}*", count=1000)]
        pipe = client.pipeline(transaction=True)
        for start in range(0, len(old), 1000):
            pipe.unlink(*old[start : start + 1000])
        for table in tables:
            for kind, vectors in table.vectors.items():
                for key, value in zip(table.ids.tolist(), _packed(vectors), strict=True):
                    pipe.set(f"{PREFIXES[kind]}{key}", value)
        pipe.set(ABOUT_KEY, _about(tables))
        pipe.execute()
    except errors as error:
        said = " ".join(str(error).split())  # it may name keys, and in them a line end
        raise OSError(f"Redis at '{shown(url)}': {said}") from None
    finally:
        client.close()


def is_redis(target: Any) -> bool:
    """Say whether a target is the URL of a Redis server."""
    return str(target).startswith(("redis://", "rediss://", "unix://"))


def shown(url: str) -> str:
    """Return a target as it may be shown: a URL without a password in it."""
    if not is_redis(url):
        return url
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"


def _redis(url: str) -> tuple[redis.Redis, type[Exception]]:
    try:
        import redis
    except ImportError:
        raise ImportError('Redis needs its client: pip install -e ".[redis]"') from None
    return redis.Redis.from_url(url), redis.RedisError


class LookUp:
    """Look up vectors by id in what `recsys export` has put into an SQLite file or into Redis.

    One look-up reads one row by its primary key, or one key, and nothing is loaded: it opens at
    once whatever the size. It needs neither the model nor pandas, gensim or Annoy. An SQLite file
    stays as it was opened when an export replaces it. Several threads may use one object.

    Parameters
    ----------
    source : str or Path
        The file, or the URL redis://..., rediss://..., unix://...

    Raises
    ------
    ModelError
        There is nothing from `recsys export`, or it is damaged. (Neither SQLite nor Redis has
        checksums: a damaged number is not noticed.)
    ImportError, OSError
        The package `redis` is missing; Redis does not answer.

    Examples
    --------
    >>> look_up = LookUp("vectors.db")  # doctest: +SKIP
    >>> look_up.user_vector(42) @ look_up.item_vector(1, space="output")  # doctest: +SKIP
    """

    def __init__(self, source: str | Path) -> None:
        self._source = shown(str(source))
        self._in_redis = is_redis(source)
        self._database: Any
        if self._in_redis:
            self._database, self._redis_error = _redis(str(source))
        else:
            self._database = _open_file(Path(source))
        try:
            self._held = self._read_about()
        except BaseException:
            self.close()
            raise

    def _read_about(self) -> dict[str, Any]:
        if self._in_redis:
            text = self._get(ABOUT_KEY)
        else:
            (text,) = self._row("SELECT json FROM about") or (None,)
        try:
            found = json.loads(text or "")
            version = found["format"]
        except (ValueError, TypeError, KeyError):
            raise ModelError(f"'{self._source}' holds no vectors: {AGAIN}") from None
        if version != FORMAT:
            raise ModelError(
                f"'{self._source}' has format version {version!r} and this recsys reads {FORMAT}: "
                f"{AGAIN}"
            )
        return dict(found)

    def user_vector(self, user_id: Any) -> npt.NDArray[np.float32]:
        """Return the vector of a user, float32 (d,).

        Raises
        ------
        UnknownUserError
            Redis holds only users who have a vector: there this is raised for the others too.
        ColdUserError
            None of the user's items had a vector.
        ValueError
            User vectors were not exported.
        """
        vector = self._vector("user", user_id, "vector")
        if vector is None:
            raise UnknownUserError(f"unknown user {user_id!r}")
        if len(vector) == 0:
            raise ColdUserError(f"none of the items of user {user_id!r} has a vector")
        return vector

    def item_vector(self, item_id: Any, space: str = "input") -> npt.NDArray[np.float32]:
        """Return an item's input or output vector, float32 (d,).

        Parameters
        ----------
        item_id : int or str
        space : {"input", "output"}

        Raises
        ------
        UnknownItemError
        ValueError
            Another space, or one that was not exported.
        """
        vector = self._vector("item", item_id, space)
        if vector is None:
            raise UnknownItemError(f"unknown item {item_id!r}: it has no vector")
        return vector

    def _vector(self, table: str, wanted: Any, column: str) -> npt.NDArray[np.float32] | None:
        """Return a vector, an empty one for a user without, None for an unknown id."""
        held = self._held.get(table, {"vectors": {}})
        if column not in held["vectors"]:
            kind = "user" if table == "user" else repr(column)
            raise ValueError(f"'{self._source}' holds no {kind} vectors")
        key = _key(wanted, held["ids"])
        if key is None:
            return None
        if self._in_redis:
            value = self._get(f"{PREFIXES[column]}{key}")
        elif isinstance(key, int) and not -(1 << 63) <= key < 1 << 63:
            return None
        else:
            row = self._row(f"SELECT {column} FROM {table}s WHERE {table}_id = ?", key)
            value = row and (row[0] or b"")
        if value is None:
            return None
        if value and len(value) != 4 * held["vectors"][column]:
            raise ModelError(f"the vector of {wanted!r} in '{self._source}' is damaged: {AGAIN}")
        return np.frombuffer(value, "<f4").astype(np.float32)

    def _row(self, sql: str, *values: Any) -> Any:
        try:
            return self._database.execute(sql, values).fetchone()
        except sqlite3.Error as error:
            raise ModelError(f"'{self._source}' cannot be read ({error}): {AGAIN}") from None

    def _get(self, key: str) -> Any:
        try:
            return self._database.get(key)
        except self._redis_error as error:
            raise OSError(f"Redis at '{self._source}': {error}") from None

    def close(self) -> None:
        """Close the file or the connection."""
        self._database.close()

    def __enter__(self) -> LookUp:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _open_file(path: Path) -> sqlite3.Connection:
    uri = f"file:{quote(str(path.absolute()))}?mode=ro"
    try:
        # SQLite built to be used by several threads at once has the level 3.
        return sqlite3.connect(uri, uri=True, check_same_thread=sqlite3.threadsafety < 3)
    except sqlite3.Error as error:
        raise ModelError(f"'{path}' cannot be opened ({error}): {AGAIN}") from None


def _key(wanted: Any, ids: str) -> int | str | None:
    """Return an id as the key that it has, None where its type is not that of the ids.

    Examples
    --------
    >>> _key(42, "int"), _key("42", "int"), _key(42, "text"), _key(np.int64(42), "int")
    (42, None, None, 42)
    """
    wanted = wanted.item() if isinstance(wanted, np.generic) else wanted
    if ids == "text":
        return wanted if isinstance(wanted, str) else None
    whole = isinstance(wanted, int | float) and wanted % 1 == 0
    return int(wanted) if whole else None
