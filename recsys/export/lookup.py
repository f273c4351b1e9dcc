"""Write vectors to SQLite or Redis, and look them up; README.md in this folder has the layouts."""

from __future__ import annotations

import errno
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

    Ids = npt.NDArray[Any]
    Vector = npt.NDArray[np.float32]

FORMAT = 1
# At byte 68 of an SQLite file: tells an earlier export from anybody else's database.
APPLICATION_ID = int.from_bytes(b"i2vE", "big")
PREFIXES = {"input": "i2vEmb:", "output": "i2vOut:", "audience": "i2vAud:", "vector": "uEmb:"}
ABOUT_KEY = "recsys:about"
AGAIN = "export again with `recsys export`"


@dataclass(frozen=True)
class Table:
    """Vectors of items or of users, and what is known about them."""

    name: str  # "item" or "user"
    ids: Ids  # integers, or str as objects, shape (n,)
    titles: Ids | None  # str as objects, shape (n,)
    events: npt.NDArray[np.int64]  # views of an item; items with a vector that a user has viewed
    vectors: dict[str, Vector]  # by kind, or "vector": float32, shape (n, d)
    cold_ids: Ids  # those without a vector

    @property
    def facts(self) -> dict[str, Ids]:
        """The columns other than the vectors, by name."""
        titles = {} if self.titles is None else {"title": self.titles}
        return {f"{self.name}_id": self.ids, **titles, "events": self.events}


def _about(tables: Sequence[Table]) -> str:
    """Describe the tables in JSON: type of the ids, kinds of vectors and their dimensions."""
    about: dict[str, Any] = {"format": FORMAT}
    for table in tables:
        dimensions = {kind: vectors.shape[1] for kind, vectors in table.vectors.items()}
        ids = "text" if table.ids.dtype == object else "int"
        about[table.name] = {"ids": ids, "vectors": dimensions}
    return json.dumps(about)


def _packed(vectors: Vector) -> Iterable[bytes]:
    """Yield each row as little-endian float32 bytes."""
    return (row.tobytes() for row in vectors.astype("<f4", copy=False))


def write_sqlite(path: Path, tables: Sequence[Table]) -> None:
    """Write an SQLite file to `path`, which is empty; an id above 2^63 - 1 is a DataError."""
    try:
        _write_sqlite(path, tables)
    except sqlite3.OperationalError as error:
        full = error.sqlite_errorname in ("SQLITE_FULL", "SQLITE_IOERR_WRITE")
        raise OSError(errno.ENOSPC if full else errno.EIO, str(error)) from error


def _write_sqlite(path: Path, tables: Sequence[Table]) -> None:
    with closing(sqlite3.connect(path)) as database:
        # Nobody reads the file before it is complete: no journal is needed.
        database.executescript(
            "PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF; "
            f"PRAGMA application_id = {APPLICATION_ID}; CREATE TABLE about (json TEXT)"
        )
        database.execute("INSERT INTO about VALUES (?)", (_about(tables),))
        for table in tables:
            columns = [f"{name} {_sql_type(values)}" for name, values in table.facts.items()]
            columns += [f"{kind} BLOB" for kind in table.vectors]
            key, places = f"{table.name}_id", ", ".join("?" * len(columns))
            columns.append(f"PRIMARY KEY ({key})")
            database.execute(f"CREATE TABLE {table.name}s ({', '.join(columns)})")
            facts = (values.tolist() for values in table.facts.values())
            rows = zip(*facts, *map(_packed, table.vectors.values()), strict=True)
            database.executemany(f"INSERT INTO {table.name}s VALUES ({places})", rows)
            _sql_type(table.cold_ids)
            insert = f"INSERT INTO {table.name}s ({key}, events) VALUES (?, 0)"
            database.executemany(insert, zip(table.cold_ids.tolist(), strict=True))
        database.commit()


def _sql_type(values: Ids) -> str:
    if values.dtype == object:
        return "TEXT"
    if int(values.max(initial=0)) >= 1 << 63:
        raise DataError(f"the id {values.max()} is above 2^63 - 1, where SQLite's integers end")
    return "INTEGER"


def write_redis(url: str, tables: Sequence[Table]) -> None:
    """Replace the vectors of an earlier export in Redis, all in one transaction.

    The ImportError and OSErrors are those of `recsys.export.export`.
    """
    client, errors = _redis(url)
    try:
        old = [key for p in PREFIXES.values() for key in client.scan_iter(f"{p}*", count=1000)]
        if old and not client.exists(ABOUT_KEY):
            raise DataError(
                f"refusing to replace keys such as {old[0].decode(errors='replace')!r} in Redis at "
                f"'{shown(url)}': not an earlier export"
            )
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
        said = " ".join(str(error).split())  # on one line: it may quote keys with line ends
        raise OSError(f"Redis at '{shown(url)}': {said}") from None
    finally:
        client.close()


def is_redis(target: Any) -> bool:
    """Say whether a target is the URL of a Redis server."""
    return str(target).startswith(("redis://", "rediss://", "unix://"))


def shown(url: str) -> str:
    """Return a target without the password in its URL."""
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
    """Look up vectors by id in what `recsys export` wrote to an SQLite file or to Redis.

    Each look-up reads one row or key, with numpy alone; nothing is loaded before. An open SQLite
    file stays as it is when an export replaces it. Several threads may share one object.

    Parameters
    ----------
    source : str or Path
        The file, or a URL redis://..., rediss://..., unix://...

    Raises
    ------
    ModelError
        The source holds no export, or a damaged one (damaged numbers pass: there are no checksums).
    ImportError, OSError
        The package `redis` is missing; Redis does not answer.
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
        text = self._get(ABOUT_KEY) if self._in_redis else self._cell("SELECT json FROM about")
        try:
            found = dict(json.loads(text or ""))
            version = found["format"]
        except (ValueError, TypeError, KeyError):
            raise ModelError(f"'{self._source}' holds no vectors: {AGAIN}") from None
        if version != FORMAT:
            reads = f"has format {version!r}, this recsys reads {FORMAT}"
            raise ModelError(f"'{self._source}' {reads}: {AGAIN}")
        return found

    def user_vector(self, user_id: Any) -> Vector:
        """Return the vector of a user, float32 (d,).

        Raises
        ------
        UnknownUserError
        ColdUserError
            None of the user's items had a vector; with Redis, this is an UnknownUserError.
        ValueError
            User vectors were not exported.
        """
        vector = self._vector("user", user_id, "vector")
        if vector is None:
            raise UnknownUserError(f"unknown user {user_id!r}")
        if len(vector) == 0:
            raise ColdUserError(f"none of the items of user {user_id!r} has a vector")
        return vector

    def item_vector(self, item_id: Any, space: str = "input") -> Vector:
        """Return an item's "input", "output" or "audience" vector, float32 (d,).

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

    def _vector(self, table: str, wanted: Any, column: str) -> Vector | None:
        """Return a vector, an empty one for a user without vector, or None for an unknown id."""
        held = self._held.get(table, {"vectors": {}})
        if column not in held["vectors"]:
            kind = "user" if table == "user" else repr(column)
            raise ValueError(f"'{self._source}' holds no {kind} vectors")
        key = _key(wanted, held["ids"])
        if key is None:
            return None
        if self._in_redis:
            value = self._get(f"{PREFIXES[column]}{key}")
        else:
            sql = f"SELECT ifnull({column}, x'') FROM {table}s WHERE {table}_id = ?"
            value = self._cell(sql, key)
        if value is None:
            return None
        if value and len(value) != 4 * held["vectors"][column]:
            raise ModelError(f"the vector of {wanted!r} in '{self._source}' is damaged: {AGAIN}")
        return np.frombuffer(value, "<f4").astype(np.float32)

    def _cell(self, sql: str, *values: Any) -> Any:
        try:
            return (self._database.execute(sql, values).fetchone() or [None])[0]
        except OverflowError:  # an id of more than 64 bits
            return None
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
    """Return the key of an id, or None if it is of another type than the exported ids."""
    wanted = wanted.item() if isinstance(wanted, np.generic) else wanted
    if ids == "text":
        return wanted if isinstance(wanted, str) else None
    whole = isinstance(wanted, int | float) and wanted % 1 == 0
    return int(wanted) if whole else None
