"""Take the vectors out of a saved model, for everything that is not `recsys`.

word2vec    text, a vector a line, as gensim's `KeyedVectors.load_word2vec_format` reads it
npz         numpy arrays by name, no pickle
parquet     one table, a list of float32 a row
projector   a folder with vectors.tsv and metadata.tsv, for https://projector.tensorflow.org
sqlite      a file with look-up tables, which `recsys.LookUp` reads too
redis       keys i2vEmb:<id>, i2vOut:<id>, uEmb:<id>; `recsys.LookUp` reads them too

Three kinds of vectors: `input` and `output` of the items, and `users`. Two items whose input
vectors point the same way are interchangeable; a user's vector is a weighted average of input
vectors, and its inner product with an item's output vector says how well that item goes with the
user (to which `recommend` adds a ridge regression and popularity, which are not exported).
"""

from __future__ import annotations

import logging
import os
import re
import secrets
import shutil
import zipfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from recsys import __version__
from recsys.errors import DataError
from recsys.recommender import fitted

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    import numpy as np
    import numpy.typing as npt

    from recsys.export.lookup import Table
    from recsys.recommender import Recommender

    Ids = npt.NDArray[Any]

logger = logging.getLogger(__name__)

KINDS = ("input", "output", "users")
FORMATS = ("word2vec", "npz", "parquet", "projector", "sqlite", "redis")
PROJECTOR_FILES = {"vectors.tsv", "metadata.tsv"}


def export(
    model: Recommender,
    target: str | os.PathLike[str],
    *,
    format: str,
    what: str | Iterable[str] | None = None,
) -> dict[str, Any]:
    """Write vectors of a model where other programs can read them.

    What is written is beside the target until it is whole; then it takes the target's place in
    one step (of a projector folder, in one step a file). Whatever fails, an earlier export stays.
    Nothing is replaced but an earlier export of the same format.

    Parameters
    ----------
    model : Recommender
        Fitted or loaded.
    target : str or path
        A file; for "projector" a folder; for "redis" a URL (redis://host:port/database,
        rediss://, unix://path), where vectors of an earlier export are removed.
    format : {"word2vec", "npz", "parquet", "projector", "sqlite", "redis"}
    what : "input", "output", "users", or several of them, optional
        Several as a list, or in one text with commas. "word2vec" and "projector" take one (None =
        "input"), "parquet" takes "users" or of the others one or both (None = both), the rest take
        any (None = all that there are).

    Returns
    -------
    dict
        format, target, what, vector_size, n_items and n_users (None if not exported), and
        n_users_without_vector, who are left out (in SQLite their vector is NULL).

    Raises
    ------
    ValueError
        An unknown format or kind of vectors, or kinds that do not go into one table.
    DataError
        The target holds something else, or an id cannot be written in this format.
    ImportError
        The extra "redis" is missing.
    OSError
        The disk is full, Redis does not answer, or the like.
    """
    from recsys.export import lookup

    if format not in FORMATS:
        raise ValueError(f"format must be one of {', '.join(FORMATS)}, got {format!r}")
    if lookup.is_redis(target) != (format == "redis"):
        raise ValueError(
            f"format {format!r} does not go with the target '{lookup.shown(str(target))}': "
            "redis takes redis://host:port/database, the others a path"
        )
    chosen = _kinds(model, format, what)
    tables, cold_users = _tables(model, chosen)
    if format == "redis":
        lookup.write_redis(str(target), tables)
    elif format == "projector":
        _write_projector(Path(target), tables[0])
    else:
        _write_file(Path(target), format, tables, cold_users)
    rows = {table.name: len(table.ids) for table in tables}
    return {
        "format": format,
        "target": lookup.shown(str(target)),
        "what": chosen,
        "vector_size": model.params["vector_size"],
        "n_items": rows.get("item"),
        "n_users": rows.get("user"),
        "n_users_without_vector": len(cold_users),
    }


def _kinds(model: Recommender, format: str, what: str | Iterable[str] | None) -> list[str]:
    """Check which kinds of vectors are wanted, or choose them."""
    there = [
        kind for kind in KINDS if kind != "output" or fitted(model).tables.contexts is not None
    ]
    if what is None:
        usual = {"word2vec": ("input",), "projector": ("input",), "parquet": ("input", "output")}
        return [kind for kind in there if kind in usual.get(format, KINDS)]
    wanted = set(what.split(",") if isinstance(what, str) else what)
    if not wanted or wanted - set(KINDS):
        raise ValueError(f"what must be some of {', '.join(KINDS)}, got {sorted(wanted)}")
    if wanted - set(there):
        raise ValueError("this model has no output vectors (hs=1)")
    if format in ("word2vec", "projector") and len(wanted) > 1:
        raise ValueError(f"{format} holds one kind of vectors: choose one of {sorted(wanted)}")
    if format == "parquet" and "users" in wanted and len(wanted) > 1:
        raise ValueError("a parquet file is one table: users, or items (input and output)")
    return [kind for kind in KINDS if kind in wanted]


def _tables(model: Recommender, kinds: list[str]) -> tuple[list[Table], Ids]:
    """Return the tables to write, and the ids of users without a vector."""
    import numpy as np

    from recsys.data.columns import take
    from recsys.export.lookup import Table

    asked, tables = fitted(model), []
    held = asked.tables
    spaces = {kind: asked.item_vectors(kind) for kind in kinds if kind != "users"}
    if spaces:
        titles = None if held.titles is None else take(held.titles)
        tables.append(Table("item", model.items, titles, held.counts, spaces))
    if "users" not in kinds:
        return tables, np.empty(0, dtype=object)
    rows, vectors = asked.user_vectors()
    user_ids = take(held.user_ids, rows)
    events = held.histories.lengths
    tables.append(Table("user", user_ids, None, events[events > 0], {"vector": vectors}))
    cold_users = take(held.user_ids, np.flatnonzero(events == 0))
    if len(cold_users):
        logger.info("%d users have no vector and are left out", len(cold_users))
    return tables, cold_users


# ---- files


def _write_file(path: Path, format: str, tables: list[Table], cold_users: Ids) -> None:
    from recsys.export import lookup

    if path.exists() and not _is_earlier(path, format):
        raise DataError(f"'{path}' is there and no {format} export: it is left as it is")
    with _beside(path) as made:
        if format == "sqlite":
            lookup.write_sqlite(made, tables, cold_users)
        elif format == "npz":
            _write_npz(made, tables)
        elif format == "parquet":
            _write_parquet(made, tables[0])
        else:
            _write_word2vec(made, tables[0])
        with made.open("rb") as file:
            os.fsync(file.fileno())
        os.replace(made, path)


@contextmanager
def _beside(path: Path) -> Iterator[Path]:
    """Give a free name in the same folder; what is left there at the end is removed."""
    path.parent.mkdir(parents=True, exist_ok=True)
    made = path.absolute().with_name(f".recsys-export-{secrets.token_hex(4)}.tmp")
    try:
        yield made
    finally:
        if made.is_dir():
            shutil.rmtree(made)
        else:
            made.unlink(missing_ok=True)


def _is_earlier(path: Path, format: str) -> bool:
    """Say whether a file is an export of this format, as nothing else is replaced."""
    if not path.is_file():
        return False
    with path.open("rb") as file:
        head = file.read(100)
    if format == "word2vec":
        return re.match(rb"\d+ \d+\n", head) is not None
    if format == "sqlite":
        from recsys.export import lookup

        return head[68:72] == lookup.APPLICATION_ID.to_bytes(4, "big")
    if format == "npz":
        return zipfile.is_zipfile(path) and b"recsys_version.npy" in head
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        return b"recsys_version" in (pq.read_schema(path).metadata or {})
    except (pa.ArrowException, OSError):
        return False


def _write_word2vec(path: Path, table: Table) -> None:
    import numpy as np

    texts, (vectors,) = list(map(str, table.ids.tolist())), table.vectors.values()
    for text in texts:
        if text.split() != [text]:
            raise DataError(
                f"the id {text!r} has white space in it or is empty, and the word2vec format ends "
                "an id at a space: use npz, parquet or sqlite"
            )
    with path.open("w", encoding="utf-8", newline="\n") as file:
        file.write(f"{len(texts)} {vectors.shape[1]}\n")
        # The most frequent first, as gensim has it: `limit=` then takes those.
        for row in np.argsort(-table.events, kind="stable").tolist():
            file.write(f"{texts[row]} {_numbers(vectors[row], ' ')}\n")


def _write_npz(path: Path, tables: list[Table]) -> None:
    import numpy as np

    arrays: dict[str, Any] = {}
    for table in tables:
        for name, values in {**table.facts, **table.vectors}.items():
            # As text of one width: an array of objects would be a pickle.
            plain = values.astype(str) if values.dtype == object else values
            arrays[name if name.startswith(table.name) else f"{table.name}_{name}"] = plain
        if arrays[f"{table.name}_id"].tolist() != table.ids.tolist():
            raise DataError("an id ends in a zero character, which numpy drops: use sqlite")
    with path.open("wb") as file:
        np.savez(file, recsys_version=np.array(__version__), **arrays)


def _write_parquet(path: Path, table: Table) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    columns: dict[str, Any] = {
        name: pa.array(values.tolist() if values.dtype == object else values)
        for name, values in table.facts.items()
    }
    for kind, vectors in table.vectors.items():
        flat = pa.array(vectors.ravel())
        columns[kind] = pa.FixedSizeListArray.from_arrays(flat, vectors.shape[1])
    pq.write_table(pa.table(columns, metadata={"recsys_version": __version__}), path)


def _write_projector(folder: Path, table: Table) -> None:
    names = {path.name for path in folder.iterdir()} if folder.exists() else set()
    if names not in (set(), PROJECTOR_FILES):
        raise DataError(f"'{folder}' is not empty and no projector export: it is left as it is")
    (vectors,) = table.vectors.values()
    with _beside(folder) as made:
        made.mkdir()
        with (made / "vectors.tsv").open("w", encoding="utf-8", newline="\n") as file:
            file.writelines(_numbers(row, "\t") + "\n" for row in vectors)
        with (made / "metadata.tsv").open("w", encoding="utf-8", newline="\n") as file:
            file.write("\t".join(table.facts) + "\n")
            for cells in zip(*(fact.tolist() for fact in table.facts.values()), strict=True):
                # The projector splits at every tab and line end; nothing can be quoted.
                file.write("\t".join(" ".join(str(cell).split()) for cell in cells) + "\n")
        folder.mkdir(exist_ok=True)
        for name in sorted(PROJECTOR_FILES):
            os.replace(made / name, folder / name)


def _numbers(row: npt.NDArray[np.float32], separator: str) -> str:
    """Write float32 numbers with the nine digits that give the very same ones back."""
    return separator.join(["%.9g" % number for number in row.tolist()])  # noqa: UP031
