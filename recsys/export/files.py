"""Write the vectors of a model for other programs; README.md in this folder has the layouts.

A new format is a name in FORMATS, a branch in `_write`, and how `_is_earlier` knows its files.
"""

from __future__ import annotations

import logging
import os
import re
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import numpy as np

from recsys import __version__
from recsys.data.columns import take
from recsys.data.files import named_if_full, replace_whole
from recsys.errors import DataError
from recsys.export.lookup import Table, is_redis, shown, write_redis, write_sqlite

if TYPE_CHECKING:
    from collections.abc import Iterable

    from recsys.recommender import Recommender

logger = logging.getLogger(__name__)
KINDS = ("input", "output", "audience", "users")
FORMATS = ("word2vec", "npz", "parquet", "projector", "sqlite", "redis")
# Other formats get all kinds by default.
DEFAULTS = {"word2vec": ["input"], "projector": ["audience"], "parquet": ["input", "output"]}
# What an earlier export starts with; of SQLite the application id that `lookup` writes.
BEGINNINGS = {
    "word2vec": rb"\d+ \d+\t\n",  # a tab, which readers ignore and other writers do not put there
    "npz": rb"PK.*recsys_version\.npy",
    "sqlite": rb"SQLite format 3\0.{52}i2vE",
}
NUMBER = "%.9g"  # nine digits give a float32 back exactly
MARK = ".recsys-export"  # beside the projector's files, whose names are everybody's
PROJECTOR_FILES = (MARK, "vectors.tsv", "metadata.tsv")


def export(
    model: Recommender,
    target: str | os.PathLike[str],
    *,
    format: str,
    what: str | Iterable[str] | None = None,
) -> dict[str, Any]:
    """Write vectors of a model where other programs can read them.

    A failed export leaves an earlier one; only that, of the same format, is ever replaced.

    Parameters
    ----------
    model : Recommender
        Fitted or loaded.
    target : str or path
        A file; for "projector" a folder; for "redis" redis://host:port/database or unix://path.
    format : {"word2vec", "npz", "parquet", "projector", "sqlite", "redis"}
    what : "input", "output", "audience", "users", or several, with commas or as a list, optional
        "word2vec" takes one (default "input"), and so does "projector" (default "audience"),
        "parquet" "users" or some of the others (default "input" and "output"), the rest take any
        (default all that the model has).

    Returns
    -------
    dict
        format, target, what, vector_size, n_items and n_users (None if not exported), and
        n_users_without_vector, who are left out (in SQLite their vector is NULL).

    Raises
    ------
    ValueError
        An unknown format or kind of vectors, or kinds that do not fit into one table.
    DataError
        The target holds something else, or the format cannot hold an id.
    ImportError, OSError
        The extra "redis" is missing; Redis does not answer, or the disk is full.
    """
    if format not in FORMATS:
        raise ValueError(f"format must be one of {', '.join(FORMATS)}, got {format!r}")
    if is_redis(target) != (format == "redis"):
        raise ValueError(
            f"format {format!r} does not go with the target '{shown(str(target))}': "
            "redis takes redis://host:port/database, the others a path"
        )
    kinds, path = _kinds(format, what), Path(target)
    if format != "redis" and path.exists() and not _is_earlier(path, format):
        raise DataError(f"refusing to overwrite '{path}': not an earlier {format} export")
    tables = _tables(model, kinds, strict=what is not None)
    if format == "redis":
        write_redis(str(target), tables)
    else:
        _write(path, format, tables)
    rows = {table.name: len(table.ids) for table in tables}
    vectors = {kind: vectors for table in tables for kind, vectors in table.vectors.items()}
    return {
        "format": format, "target": shown(str(target)),
        "what": ["users" if kind == "vector" else kind for kind in vectors],
        "vector_size": next(iter(vectors.values())).shape[1],
        "n_items": rows.get("item"), "n_users": rows.get("user"),
        "n_users_without_vector": sum(len(table.cold_ids) for table in tables),
    }  # fmt: skip


def _kinds(format: str, what: str | Iterable[str] | None) -> list[str]:
    """Check which kinds of vectors are wanted, or take the default."""
    if what is None:
        return DEFAULTS.get(format, list(KINDS))
    wanted = set(what.split(",") if isinstance(what, str) else what)
    if not wanted or wanted - set(KINDS):
        raise ValueError(f"what must be some of {', '.join(KINDS)}, got {sorted(wanted)}")
    if len(wanted) > 1 and len(DEFAULTS.get(format, KINDS)) == 1:
        raise ValueError(f"{format} holds one kind of vectors: choose one of {sorted(wanted)}")
    if wanted > {"users"} and format == "parquet":
        raise ValueError("a parquet file is one table: users, or items (the other kinds)")
    return [kind for kind in KINDS if kind in wanted]


def _tables(model: Recommender, kinds: list[str], *, strict: bool) -> list[Table]:
    """Return the tables to write; nothing else in this folder looks into a model."""
    from recsys.recommender import fitted

    held, tables = fitted(model), []
    known = held.tables
    if "output" in kinds and known.contexts is None:
        if strict:
            raise ValueError("this model has no output vectors (hs=1)")
        kinds = [kind for kind in kinds if kind != "output"]
    if spaces := {kind: held.item_vectors(kind) for kind in kinds if kind != "users"}:
        titles, ids = None if known.titles is None else take(known.titles), take(known.item_ids)
        tables.append(Table("item", ids, titles, known.counts, spaces, ids[:0]))
    if "users" in kinds:
        rows, vectors = held.user_vectors()
        events, ids = known.histories.lengths, take(known.user_ids, rows)
        cold_ids = take(known.user_ids, np.flatnonzero(events == 0))
        if len(cold_ids):
            logger.info("%d users have no vector and are left out", len(cold_ids))
        tables.append(Table("user", ids, None, events[rows], {"vector": vectors}, cold_ids))
    return tables


def _write(path: Path, format: str, tables: list[Table]) -> None:
    """Write a file, or a folder for the projector, and put it in place when it is whole."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if format == "projector":
        with (
            named_if_full(path),
            TemporaryDirectory(prefix=".recsys-", dir=path.parent) as made,
        ):
            _write_projector(Path(made), tables[0])
            path.mkdir(exist_ok=True)
            for name in PROJECTOR_FILES:
                os.replace(Path(made, name), path / name)
        return
    with replace_whole(path) as whole:
        if format == "sqlite":
            write_sqlite(whole, tables)
        elif format == "npz":
            _write_npz(whole, tables)
        elif format == "parquet":
            _write_parquet(whole, tables[0])
        else:
            _write_word2vec(whole, tables[0])


def _is_earlier(path: Path, format: str) -> bool:
    """Say whether a file or folder is an earlier export of this format, which may be replaced."""
    if format == "projector":
        names = {file.name for file in path.iterdir()} if path.is_dir() else {""}
        return not names or (MARK in names and names <= {*PROJECTOR_FILES})
    if not path.is_file():
        return False
    if format in BEGINNINGS:
        with path.open("rb") as file:
            return re.match(BEGINNINGS[format], file.read(100), re.DOTALL) is not None
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        return b"recsys_version" in (pq.read_schema(path).metadata or {})
    except (pa.ArrowException, OSError):
        return False


def _write_word2vec(path: Path, table: Table) -> None:
    texts, (vectors,) = list(map(str, table.ids.tolist())), table.vectors.values()
    for text in texts:
        if text.split() != [text]:
            raise DataError(
                f"the id {text!r} is empty or contains white space, where the word2vec format ends "
                "an id: use npz, parquet or sqlite"
            )
    numbers = f" {NUMBER}" * vectors.shape[1] + "\n"
    with path.open("w", encoding="utf-8", newline="\n") as file:
        file.write(f"{len(texts)} {vectors.shape[1]}\t\n")
        # The most frequent first, as gensim has it: `limit=` then takes those.
        for row in (-table.events).argsort(kind="stable").tolist():
            file.write(texts[row] + numbers % tuple(vectors[row].tolist()))


def _write_npz(path: Path, tables: list[Table]) -> None:
    arrays: dict[str, Any] = {}
    for table in tables:
        for name, values in {**table.facts, **table.vectors}.items():
            key = f"{table.name}_{name.removeprefix(f'{table.name}_')}"
            # As text of one width: an array of objects would be a pickle.
            arrays[key] = values.astype(str) if values.dtype == object else values
        if arrays[f"{table.name}_id"].tolist() != table.ids.tolist():
            raise DataError("an id ends in a zero character, which numpy drops: use sqlite")
    with path.open("wb") as file:
        np.savez(file, recsys_version=np.array(__version__), **arrays)


def _write_parquet(path: Path, table: Table) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    columns: dict[str, Any] = {name: pa.array(values) for name, values in table.facts.items()}
    for kind, vectors in table.vectors.items():
        columns[kind] = pa.FixedSizeListArray.from_arrays(vectors.ravel(), vectors.shape[1])
    pq.write_table(pa.table(columns, metadata={"recsys_version": __version__}), path)


def _write_projector(folder: Path, table: Table) -> None:
    (vectors,) = table.vectors.values()
    (folder / MARK).write_text(f"recsys {__version__}\n", encoding="utf-8")
    np.savetxt(folder / "vectors.tsv", vectors, NUMBER, "\t")
    with (folder / "metadata.tsv").open("w", encoding="utf-8", newline="\n") as file:
        file.write("\t".join(table.facts) + "\n")
        for cells in zip(*(fact.tolist() for fact in table.facts.values()), strict=True):
            # The projector splits at every tab and line end; nothing can be quoted.
            file.write("\t".join(" ".join(str(cell).split()) for cell in cells) + "\n")
