"""Keep events and logged lists in SQLite or PostgreSQL, by one code."""

from __future__ import annotations

import json
import sqlite3
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite

from recsys.errors import DataError

DAY = 86_400
DISLIKE = "dislike"  # the kind of event that speaks against an item
TIMEOUT = 5  # seconds that a statement waits for another writer
MOST = 10_000  # newest events of a user that are read

METADATA = sa.MetaData()
_KEY = sa.BigInteger().with_variant(sa.Integer, "sqlite")
# Ids are kept as text, as a model's own ids would print.
EVENTS = sa.Table(
    "events", METADATA,
    sa.Column("id", _KEY, primary_key=True),
    sa.Column("event_id", sa.Text, unique=True),
    sa.Column("user_id", sa.Text, nullable=False),
    sa.Column("item_id", sa.Text, nullable=False),
    sa.Column("kind", sa.Text, nullable=False),
    sa.Column("rating", sa.Double),
    sa.Column("time", sa.BigInteger, nullable=False),
    sa.Column("received", sa.BigInteger, nullable=False),
    sa.Index("events_by_user", "user_id", "time"),
    sa.Index("events_by_age", "received"),
)  # fmt: skip
LISTS = sa.Table(
    "lists", METADATA,
    sa.Column("id", _KEY, primary_key=True),
    sa.Column("time", sa.BigInteger, nullable=False),
    sa.Column("experiment", sa.Text, nullable=False),
    sa.Column("arm", sa.Text, nullable=False),
    sa.Column("model", sa.Text, nullable=False),
    sa.Column("user_id", sa.Text, nullable=False),
    sa.Column("items", sa.Text, nullable=False),  # a JSON array of item ids as text, by rank
    sa.Index("lists_by_user", "user_id"),
    sa.Index("lists_by_age", "time"),
)  # fmt: skip
UPDATES = sa.Table(
    "updates", METADATA,
    sa.Column("id", _KEY, primary_key=True),
    sa.Column("time", sa.BigInteger, nullable=False),
    sa.Column("folder", sa.Text, nullable=False),
    sa.Column("outcome", sa.Text, nullable=False),  # taken, refused, failed, nothing new
    sa.Column("detail", sa.Text, nullable=False),
)  # fmt: skip
ARMS = sa.Table(
    "arms", METADATA,
    sa.Column("id", _KEY, primary_key=True),
    sa.Column("experiment", sa.Text, nullable=False),
    sa.Column("arm", sa.Text, nullable=False),
    sa.Column("share", sa.Double, nullable=False),
    sa.UniqueConstraint("experiment", "arm"),
)  # fmt: skip
VERSION = sa.Table("schema_version", sa.MetaData(), sa.Column("version", sa.Integer))
# What brings a store from version i to i + 1: append, and never change what was released.
MIGRATIONS: Sequence[Sequence[sa.Table]] = ((EVENTS, UPDATES), (LISTS, ARMS))

Row = Mapping[str, Any]


class Store:
    """A database of events and lists; every process and thread may have its own or share one.

    Parameters
    ----------
    url : str
        `sqlite:///PATH` or `postgresql+psycopg://...`; tables are made where they are missing.
    create : bool
        Whether to make a SQLite file that is not there.

    Raises
    ------
    DataError
        The URL cannot be read or is of another kind, the database cannot be opened, or its tables
        were made by a newer version.
    """

    def __init__(self, url: str, *, create: bool = True) -> None:
        try:
            parsed = sa.make_url(url)
        except sa.exc.ArgumentError:
            raise DataError("a store is sqlite:///PATH or postgresql+psycopg://...") from None
        self.is_sqlite = parsed.drivername in ("sqlite", "sqlite+pysqlite")
        if not self.is_sqlite and parsed.drivername != "postgresql+psycopg":
            raise DataError(
                f"a store is sqlite:///PATH or postgresql+psycopg://..., not {parsed.drivername}"
            )
        if self.is_sqlite and not (create or Path(parsed.database or "").is_file()):
            raise DataError(f"there is no store '{parsed.database}': `recsys serve` makes one")
        self.engine = _sqlite(parsed) if self.is_sqlite else _postgresql(parsed)
        self.reader = self.engine.execution_options(isolation_level="AUTOCOMMIT")
        self._kept_lock = threading.Lock()
        compiled = _EVENTS_OF.compile(self.engine)
        self._events_of, self._limit = str(compiled), (*compiled.params.values(),)[1:]
        self._insert = sqlite.insert if self.is_sqlite else postgresql.insert
        self._kept: sa.PoolProxiedConnection | None = None
        try:
            self._migrate()
            if self.is_sqlite:
                self._kept = self.engine.raw_connection()
        except sa.exc.DBAPIError as error:
            self.close()
            shown = parsed.render_as_string(hide_password=True)
            raise DataError(f"the store {shown} cannot be opened: {error.orig}") from None
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Store:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close all connections."""
        if self._kept is not None:
            self._kept.close()
        self.engine.dispose()

    def ping(self) -> None:
        """Raise an error of SQLAlchemy if the database cannot be asked."""
        with self.reader.connect() as connection:
            connection.execute(sa.select(1))

    # ---- events

    def add_events(self, events: Sequence[Row]) -> int:
        """Store events durably and return how many were new by their `event_id`.

        Parameters
        ----------
        events : sequence of mappings
            `user_id`, `item_id`, `kind`, `rating`, `time` (seconds since 1970) and `event_id`, the
            last None where there is none.
        """
        now = int(time.time())
        rows = [{**event, "received": now} for event in events]
        statement = self._insert(EVENTS).on_conflict_do_nothing(index_elements=["event_id"])
        with self.engine.begin() as connection:
            done = connection.execute(
                statement, rows, execution_options={"preserve_rowcount": True}
            )
        return done.rowcount

    def events_of(self, user_id: str) -> Sequence[Any]:
        """Return item_id, time, rating and kind of a user's newest events, oldest first."""
        if self._kept is not None:  # every list asks: SQLAlchemy would take ten times as long
            with self._kept_lock:
                cursor = self._kept.cursor()
                cursor.execute(self._events_of, (user_id, *self._limit))
                return cursor.fetchall()[::-1]
        with self.reader.connect() as connection:
            return connection.execute(_EVENTS_OF, {"user": user_id}).all()[::-1]

    def all_events(self) -> dict[str, list[Any]]:
        """Return the columns user_id, item_id, rating, kind and time of all events, by time."""
        columns = [EVENTS.c[name] for name in ("user_id", "item_id", "rating", "kind", "time")]
        with self.reader.connect() as connection:
            asked = sa.select(*columns).order_by(EVENTS.c.time, EVENTS.c.id)
            rows = connection.execute(asked).all()
        return {one.name: [row[place] for row in rows] for place, one in enumerate(columns)}

    def forget_user(self, user_id: str) -> dict[str, int]:
        """Delete a user's events and lists, and return how many of each there were."""
        return self._delete(EVENTS.c.user_id == user_id, LISTS.c.user_id == user_id)

    def forget_older(self, days: float) -> dict[str, int]:
        """Delete what was received or logged more than some days ago; return how many of each."""
        oldest = int(time.time() - days * DAY)
        return self._delete(EVENTS.c.received < oldest, LISTS.c.time < oldest)

    def _delete(self, *which: sa.ColumnElement[bool]) -> dict[str, int]:
        with self.engine.begin() as connection:
            return {
                table.name: connection.execute(sa.delete(table).where(some)).rowcount
                for table, some in zip((EVENTS, LISTS), which, strict=True)
            }

    # ---- lists and updates

    def add_lists(self, lists: Sequence[Row]) -> None:
        """Store lists that were shown: time, experiment, arm, model, user_id, items (ids, text)."""
        rows = [{**one, "items": json.dumps(one["items"])} for one in lists]
        with self.engine.begin() as connection:
            connection.execute(sa.insert(LISTS), rows)

    def add_arms(self, experiment: str, shares: Mapping[str, float]) -> None:
        """Note the arms of an experiment, which stay as they are once it has begun.

        Raises
        ------
        DataError
            It was begun with other arms or shares, so that users would change sides.
        """
        rows = [{"experiment": experiment, "arm": a, "share": share} for a, share in shares.items()]
        statement = self._insert(ARMS).on_conflict_do_nothing()
        if not self.arms_of(experiment):
            with self.engine.begin() as connection:
                connection.execute(statement, rows)
        if self.arms_of(experiment) != shares:
            begun = ", ".join(f"{a}={s:g}" for a, s in self.arms_of(experiment).items())
            raise DataError(
                f"experiment {experiment!r} was begun with the shares {begun}: others need a new "
                "--experiment NAME"
            )

    def arms_of(self, experiment: str) -> dict[str, float]:
        """Return the shares of the arms of an experiment, the first one first."""
        asked = sa.select(ARMS.c.arm, ARMS.c.share).where(ARMS.c.experiment == experiment)
        with self.reader.connect() as connection:
            return {row.arm: row.share for row in connection.execute(asked.order_by(ARMS.c.id))}

    def experiments(self) -> list[str]:
        """Return the names of all experiments."""
        with self.reader.connect() as connection:
            return [*connection.scalars(sa.select(ARMS.c.experiment).distinct())]

    def lists_of(self, experiment: str) -> Iterator[tuple[int, str, str, str, list[str]]]:
        """Yield time, arm, model, user and items of every list of an experiment."""
        columns = (LISTS.c.time, LISTS.c.arm, LISTS.c.model, LISTS.c.user_id, LISTS.c["items"])
        asked = sa.select(*columns).where(LISTS.c.experiment == experiment)
        with self.reader.connect() as connection:
            for shown, arm, model, user, items in connection.execute(asked):
                yield shown, arm, model, user, json.loads(items)

    def times_of_events(self) -> dict[tuple[str, str], list[int]]:
        """Return when each user did something with each item, but dislike it."""
        asked = sa.select(EVENTS.c.user_id, EVENTS.c.item_id, EVENTS.c.time)
        times: dict[tuple[str, str], list[int]] = {}
        with self.reader.connect() as connection:
            for user, item, moment in connection.execute(asked.where(EVENTS.c.kind != DISLIKE)):
                times.setdefault((user, item), []).append(moment)
        return times

    def add_update(self, folder: str, outcome: str, detail: str) -> None:
        """Note what became of an update."""
        row = {"time": int(time.time()), "folder": folder, "outcome": outcome, "detail": detail}
        with self.engine.begin() as connection:
            connection.execute(sa.insert(UPDATES), row)

    def count_updates(self) -> dict[str, int]:
        """Return the number of updates by their outcome."""
        counts = sa.select(UPDATES.c.outcome, sa.func.count().label("n")).group_by(
            UPDATES.c.outcome
        )
        with self.reader.connect() as connection:
            return {row.outcome: row.n for row in connection.execute(counts)}

    # ---- the schema

    def _migrate(self) -> None:
        with self.engine.begin() as connection:
            if self.is_sqlite:
                connection.exec_driver_sql("BEGIN IMMEDIATE")
            else:
                connection.execute(sa.select(sa.func.pg_advisory_xact_lock(0x7265637379)))
            VERSION.create(connection, checkfirst=True)
            version = connection.execute(sa.select(VERSION.c.version)).scalar() or 0
            if version > len(MIGRATIONS):
                raise DataError(
                    f"the store has schema version {version} and this recsys knows "
                    f"{len(MIGRATIONS)}: use a newer recsys"
                )
            if version == len(MIGRATIONS):
                return
            for tables in MIGRATIONS[version:]:
                for table in tables:
                    table.create(connection)
            connection.execute(sa.delete(VERSION))
            connection.execute(sa.insert(VERSION), {"version": len(MIGRATIONS)})


_EVENTS_OF = (
    sa.select(EVENTS.c.item_id, EVENTS.c.time, EVENTS.c.rating, EVENTS.c.kind)
    .where(EVENTS.c.user_id == sa.bindparam("user"))
    .order_by(EVENTS.c.time.desc(), EVENTS.c.id.desc())
    .limit(MOST)
)


def _sqlite(url: sa.URL) -> sa.Engine:
    if url.database in (None, "", ":memory:"):
        raise DataError("a SQLite store is a file: sqlite:///PATH")
    engine = sa.create_engine(url, connect_args={"timeout": TIMEOUT}, pool_reset_on_return=None)

    @sa.event.listens_for(engine, "connect")
    def prepare(connection: sqlite3.Connection, _: Any) -> None:
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("PRAGMA synchronous=FULL")  # a commit is on the disk when it returns
        connection.execute("PRAGMA secure_delete=ON")  # what is forgotten is overwritten

    return engine


def _postgresql(url: sa.URL) -> sa.Engine:
    limits = f"-c statement_timeout={TIMEOUT}s -c lock_timeout={TIMEOUT}s"
    given = {"connect_timeout": TIMEOUT, "options": limits}
    return sa.create_engine(url, connect_args=given, pool_pre_ping=True)


def is_full(error: BaseException) -> bool:
    """Tell whether an error of a database says that the disk of the store is full."""
    cause = getattr(error, "orig", error)
    full = getattr(cause, "sqlite_errorcode", None) == sqlite3.SQLITE_FULL
    return full or getattr(cause, "sqlstate", None) == "53100"
