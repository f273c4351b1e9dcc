"""Keep ratings that were read from text as columns of numbers, to be read again in little time.

One file for each source and way of reading it, in `.cache` in the data folder: a line of JSON, the
bytes of the columns, and a checksum of all that. It is data and no more; whatever is wrong with it,
from a full disk to a forged length, means that the source is read again.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import os
import tempfile
import time
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pa_compute

from recsys.data.datasets import data_folder
from recsys.data.frames import ITEM, RATING, TIMESTAMP, USER

logger = logging.getLogger(__name__)

_FORMAT = 1  # to be raised with every change of what is stored, or of how sources are read
_MIN_BYTES = 10**6  # of a source: what is smaller is read in no time
_MAX_HEADER = 2**20
_SETTLED = 10**8  # ns since the last change: two changes may get the same time on a coarse clock
_STALE = 24 * 3600  # seconds after which nobody still writes a file
_PLAIN = ("int64", "uint64", "float32")
_IDS = ("int64", "uint64", "str")
_KINDS = {USER: _IDS, ITEM: _IDS, RATING: ("float32",), TIMESTAMP: ("datetime64[s, UTC]",)}


def fingerprint(path: Path) -> list[int] | None:
    """Tell a source from every other state of it.

    Parameters
    ----------
    path : Path
        A file.

    Returns
    -------
    list of int or None
        Its size, times of change and inode: also of a file that was changed in place and given back
        its time. None where nothing is to be kept: the file is small, or changed just now, or there
        is no folder for it, which is `$RECSYS_DATA` or the project's own data folder.
    """
    state = path.stat()
    age = time.time_ns() - max(state.st_ctime_ns, state.st_mtime_ns)
    if state.st_size < _MIN_BYTES or age < _SETTLED or not _ours():
        return None
    return [state.st_size, state.st_mtime_ns, state.st_ctime_ns, state.st_ino]


def _ours() -> bool:
    """Tell whether the data folder is there, and is not just anybody's `data`."""
    folder = data_folder()
    return folder.is_dir() and ("RECSYS_DATA" in os.environ or (folder / "sample").is_dir())


def recall(
    key: Mapping[str, Any], source: list[int], *, with_notices: bool
) -> tuple[pd.DataFrame, list[str]] | None:
    """Read what was kept.

    Parameters
    ----------
    key : dict
        The file, and all that changes what is read from it.
    source : list of int
        Its `fingerprint`.
    with_notices : bool
        Only if the notices of the first reading were kept too.

    Returns
    -------
    (pandas.DataFrame, list of str) or None
        The ratings, equal to those kept, and the notices; None where the source is to be read.
    """
    try:
        with _entry(key).open("rb") as file:
            return _read(file, [_FORMAT, dict(key), source], with_notices)
    except (OSError, ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
        logger.debug("nothing in the cache: %s", error)
        return None


def keep(
    key: Mapping[str, Any], source: list[int], ratings: pd.DataFrame, notices: list[str] | None
) -> None:
    """Keep ratings in place of what was kept by that key; where that cannot be, do nothing.

    Parameters
    ----------
    key, source
        As in `recall`, the fingerprint from before the source was read.
    ratings : pandas.DataFrame
        A frame as `check_ratings` returns it.
    notices : list of str or None
        What was said in reading it; None if nobody listened.
    """
    try:
        path = _entry(key)
        path.parent.mkdir(exist_ok=True)
        for old in path.parent.glob("*.part"):  # of a process that was killed
            if time.time() - old.stat().st_mtime > _STALE:
                old.unlink()
        handle, part = tempfile.mkstemp(prefix=path.name, suffix=".part", dir=path.parent)
        try:
            with os.fdopen(handle, "wb") as file:
                _write(file, [_FORMAT, dict(key), source], ratings, notices)
            os.replace(part, path)
        except BaseException:
            with contextlib.suppress(OSError):
                os.unlink(part)
            raise
    except OSError as error:
        logger.debug("not kept: %s", error)


def _entry(key: Mapping[str, Any]) -> Path:
    name = hashlib.sha256(json.dumps(key, sort_keys=True).encode()).hexdigest()[:32]
    return data_folder() / ".cache" / f"{name}.ratings"


def _write(
    file: IO[bytes], identity: list[Any], ratings: pd.DataFrame, notices: list[str] | None
) -> None:
    columns: list[Any] = []
    arrays: list[npt.NDArray[Any]] = []
    for name in ratings:
        parts = _to_arrays(ratings[name])
        columns.append([name, str(ratings[name].dtype), [part.nbytes for part in parts]])
        arrays += parts
    header = {"identity": identity, "columns": columns, "n_rows": len(ratings), "notices": notices}
    checksum = 0
    blocks: list[bytes | memoryview] = [json.dumps(header).encode() + b"\n"]
    for block in blocks + [array.data for array in arrays]:
        checksum = zlib.crc32(block, checksum)
        file.write(block)
    file.write(checksum.to_bytes(4, "little"))


def _read(
    file: IO[bytes], identity: list[Any], with_notices: bool
) -> tuple[pd.DataFrame, list[str]] | None:
    line = file.readline(_MAX_HEADER)
    header = json.loads(line)
    notices, n_rows = header["notices"], header["n_rows"]
    if header["identity"] != identity or (with_notices and notices is None):
        return None
    names = [name for name, _, _ in header["columns"]]
    if names != [name for name in _KINDS if name in (USER, ITEM, *names)]:
        raise ValueError("columns that no ratings have")
    sizes = [size for _, _, parts in header["columns"] for size in parts]
    if min(sizes) < 0 or len(line) + sum(sizes) + 4 != os.fstat(file.fileno()).st_size:
        raise ValueError("cut short")
    checksum = zlib.crc32(line)
    arrays = []
    for size in sizes:
        array = np.fromfile(file, dtype=np.uint8, count=size)
        checksum = zlib.crc32(array.data, checksum)
        arrays.append(array)
    if file.read() != checksum.to_bytes(4, "little"):
        raise ValueError("changed since")
    ratings = {}
    for name, kind, parts in header["columns"]:
        if kind not in _KINDS[name] or len(parts) != 1 + (kind == "str"):
            raise ValueError(f"no {name} is {kind}")
        ratings[name] = _to_series(kind, [arrays.pop(0) for _ in parts], n_rows)
    return pd.DataFrame(ratings, copy=False), [str(notice) for notice in notices or []]


def _to_arrays(column: pd.Series) -> list[npt.NDArray[Any]]:
    """Turn a column into arrays: its numbers (n_rows,), or ends of its texts, and the texts."""
    if column.name == TIMESTAMP:
        return [column.astype("int64").to_numpy()]
    if column.dtype != "str":
        return [column.to_numpy()]
    texts = pa.array(column, type=pa.large_string())
    if isinstance(texts, pa.ChunkedArray):
        texts = texts.combine_chunks()
    lengths = pa_compute.binary_length(texts).to_numpy()
    return [lengths, np.frombuffer("".join(column).encode(), dtype=np.uint8)]


def _to_series(kind: str, arrays: list[npt.NDArray[Any]], n_rows: int) -> pd.Series:
    numbers: npt.NDArray[Any] = arrays[0].view(np.dtype(kind if kind in _PLAIN else "int64"))
    if len(numbers) != n_rows:
        raise ValueError("columns of different lengths")
    if kind != "str":
        series = pd.Series(numbers, copy=False)
        return series.astype(pd.DatetimeTZDtype("s", "UTC")) if kind not in _PLAIN else series
    n_bytes = len(arrays[1])
    if ((numbers < 0) | (numbers > n_bytes)).any() or numbers.sum() != n_bytes:
        raise ValueError("texts of other lengths")
    ends = np.concatenate([[0], np.cumsum(numbers)])
    texts = pa.LargeStringArray.from_buffers(n_rows, pa.py_buffer(ends), pa.py_buffer(arrays[1]))
    texts.validate(full=True)  # ArrowInvalid, a ValueError, where that is no UTF-8
    return pd.Series(texts.to_pandas(), dtype="str")
