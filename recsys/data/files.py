"""Find the file that a source names, open it as a stream, and write files whole.

Nothing is unpacked to disk. At the top this file imports the standard library only, so that
whatever writes a file may use `replace_whole`.
"""

from __future__ import annotations

import csv
import errno
import gzip
import logging
import os
import re
import secrets
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import IO, Literal, cast

from recsys.errors import DataError, escape
from recsys.progress import Span, part, whole

logger = logging.getLogger(__name__)

_LAYOUTS = {  # file names of MovieLens and RecBole, and of shops
    "ratings": ("ratings.csv", "u.data", "ratings.dat", "*.inter"),
    "items": (
        "movies.csv", "items.csv", "u.item", "movies.dat", "*.item",
        *(f"{name}.{kind}" for name in ("items", "movies", "products", "articles", "books")
          for kind in ("csv", "tsv", "txt", "parquet", "pq")),
    ),
}  # fmt: skip
_TABLES = ("*.csv", "*.tsv", "*.parquet", "*.pq")  # read where a folder has a single table


@dataclass(frozen=True)
class File:
    """A file, or a member of a zip."""

    path: Path
    member: str | None = None

    @property
    def name(self) -> str:
        """Name without folders and `.gz`, in lower case."""
        return Path(self.member or self.path).name.lower().removesuffix(".gz")

    def __str__(self) -> str:
        return f"'{escape(self.path)}'" + (f" ({escape(self.member)})" if self.member else "")

    @property
    def packed(self) -> bool:
        """Whether the bytes on disk are not those of the table."""
        return self.member is not None or self.name != self.path.name.lower()

    @contextmanager
    def open(self, *, progress: bool = False) -> Iterator[IO[bytes]]:
        """Open for reading, decompressed; with a progress bar if it takes long."""
        with ExitStack() as stack:
            stream: IO[bytes] = stack.enter_context(self.path.open("rb"))
            if progress:
                stack.enter_context(whole(f"reading {escape(self.name)}"))
                if (span := stack.enter_context(part(1.0))) is not None:
                    stream = _watched(stream, self.path.stat().st_size, span)
            if self.member is not None:
                archive = stack.enter_context(zipfile.ZipFile(stream))
                stream = stack.enter_context(archive.open(self.member))
            if (self.member or self.path.name).lower().endswith(".gz"):
                stream = stack.enter_context(gzip.open(stream))  # type: ignore[arg-type]
            yield stream


def _watched(stream: IO[bytes], size: int, span: Span) -> IO[bytes]:
    """Move a progress bar by how much of a stream has been read."""
    from tqdm.utils import CallbackIOWrapper

    n_read = 0

    def tell(n_more: int) -> None:
        nonlocal n_read
        n_read += n_more
        span.at(min(1.0, n_read / max(1, size)))

    return cast("IO[bytes]", CallbackIOWrapper(tell, stream, "read"))


def find_file(source: str | os.PathLike[str], kind: Literal["ratings", "items"]) -> File:
    """Find the file to read: the path itself, or the one table in a data set, folder or zip."""
    path, patterns = _locate(source), _LAYOUTS[kind]
    if not path.is_dir() and path.suffix.lower() != ".zip":
        if kind == "items" and _matches(File(path), _LAYOUTS["ratings"]):
            raise DataError(f"{File(path)} is a ratings file; it has no items table")
        return File(path)
    levels = _levels(path)
    tries = [(level, [pattern]) for level in levels for pattern in patterns]
    if kind == "ratings":  # or the only table that is not one of items
        others = [[f for f in level if not _matches(f, _LAYOUTS["items"])] for level in levels]
        tries += [(level, [*_TABLES]) for level in (*others, *levels)]
    for level, wanted in tries:
        found = [file for file in level if _matches(file, wanted)]
        if len(found) > 1:
            names = ", ".join(sorted(str(file) for file in found))
            raise DataError(
                f"{File(path)} holds more than one {kind} table; name the file: {names}"
            )
        if found:
            return found[0]
    looked = (
        ", ".join(patterns[:5])
        + ", products.csv and the like" * (kind == "items")
        + " or a single csv, tsv or parquet file" * (kind == "ratings")
    )
    raise DataError(f"no {kind} found in {File(path)}; looked for {looked}")


def is_table(source: str | os.PathLike[str]) -> bool:
    """Tell that a source is one file with one table, so that no items come with ratings."""
    path = _locate(source)
    return path.is_file() and path.suffix.lower() != ".zip"


def _locate(source: str | os.PathLike[str]) -> Path:
    """Return the path that a source names, fetched first if it is the name of a data set."""
    from recsys.data.datasets import DATASETS, fetch, sample_folder

    name = os.fspath(source)
    if isinstance(source, str) and (name in DATASETS or name == "sample"):
        if Path(name).exists():
            text = "'%s' is the data set; for the path of that name write './%s'"
            logger.info(text, name, name)
        return sample_folder() if name == "sample" else fetch(name)
    if not name or not Path(name).exists():
        known = ", ".join(["sample", *DATASETS])
        kinds = f"is not a file, a folder or the name of a data set ({known})"
        raise DataError(f"'{escape(name[:200])}' {kinds}")
    if not (Path(name).is_file() or Path(name).is_dir()):  # a pipe or device, which may never end
        raise DataError(f"'{escape(name)}' is neither a regular file nor a folder")
    return Path(name)


def _matches(file: File, patterns: Sequence[str]) -> bool:
    return any(fnmatchcase(file.name, pattern) for pattern in patterns)


def _levels(path: Path) -> list[list[File]]:
    """List the files at the top of a folder or zip, and those one folder down."""
    if path.is_dir():
        inside = [list(path.iterdir()), list(path.glob("*/*"))]
        return [[File(p) for p in ps if p.name[0] != "." and p.is_file()] for ps in inside]
    with zipfile.ZipFile(path) as archive:
        names = [name for name in archive.namelist() if name[-1] != "/"]
    # Hidden members and those whose path leads out of the zip are ignored.
    plain = [name for name in names if not re.search(r"(^|/)(\.|__MACOSX/|/)", name)]
    return [[File(path, name) for name in plain if name.count("/") == depth] for depth in (0, 1)]


@contextmanager
def one_line_errors(source: str | os.PathLike[str]) -> Iterator[None]:
    """Turn whatever goes wrong while reading into a `DataError` of one line."""
    from pyarrow import ArrowInvalid

    try:
        yield
    except DataError:
        raise
    except csv.Error as e:
        problem = "cannot be split into rows; does a line end in \\r alone, or a quote never close?"
        raise DataError(f"'{escape(source)}' {problem} ({escape(e)})") from e
    # RuntimeError: a zip with a password, or packed in a way that zipfile does not know.
    # UnicodeDecodeError: a name in a damaged zip or parquet file.
    except (OSError, EOFError, zlib.error, zipfile.BadZipFile, RuntimeError, ArrowInvalid,
            UnicodeDecodeError) as e:  # fmt: skip
        # A damaged zip can send zipfile to a position before its beginning: EINVAL.
        problem = f"is corrupt or cut short, get it again: {e!s:.200}"
        if isinstance(e, RuntimeError) or getattr(e, "errno", None) not in (None, errno.EINVAL):
            problem = f"cannot be read: {getattr(e, 'strerror', None) or e}"
        raise DataError(f"'{escape(source)}' {escape(' '.join(problem.split()))}") from e


@contextmanager
def named_if_full(path: str | os.PathLike[str]) -> Iterator[None]:
    """Say of a full disk what could not be written, whoever met it: numpy, SQLite or Arrow."""
    try:
        yield
    except OSError as error:
        # numpy and Annoy give no number of the error.
        unnamed = error.errno is None and re.search(
            "requested and .* written|Unable to", str(error)
        )
        if unnamed or error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            problem = "the disk is full, or a limit on the size of files is reached"
            raise OSError(f"'{path}' cannot be written: {problem}") from error
        raise


@contextmanager
def replace_whole(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Yield the path of a new file in the same folder that becomes `path` after the `with` block.

    It is synced to disk and moved in one step; if anything fails, it is removed and `path` is
    unchanged. A killed process leaves it behind, as `.recsys-*.part`.
    """
    path = Path(path).absolute()
    made = path.with_name(f".recsys-{secrets.token_hex(8)}.part")
    made.open("xb").close()  # an error where that name is taken
    try:
        with named_if_full(path):
            yield made
            with made.open("r+b") as file:
                os.fsync(file.fileno())  # so that not even a power cut leaves half a file
            os.replace(made, path)
    except BaseException:
        with suppress(OSError):
            made.unlink()
        raise
