"""Save a model to a folder in one atomic step; load it only if every file is intact.

MODEL/
  current           the name of the run in use; replaced atomically
  run-<hash>/       named by the hash of its manifest
    manifest.json   parameters, versions, data, and the size and sha256 of every other file
    *.npy           arrays, mapped read-only
    index.ann       the Annoy index: a cache, rebuilt from the arrays if it does not fit them
  .lock             held while saving
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import re
import stat
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from tokenize import TokenError
from typing import Any

import numpy as np

from recsys.data.columns import TextColumn
from recsys.errors import ModelError, ReplacedError

logger = logging.getLogger(__name__)

FORMAT = 4
CURRENT, LOCK, MANIFEST, INDEX = "current", ".lock", "manifest.json", "index.ann"
RUN = re.compile("run-[0-9a-f]{16}")
FILE = re.compile(r"\w+(\.\w+)*\.npy|index\.ann", re.ASCII)
NEW_RUN, REPLACED, POINTER = TEMPORARIES = (".recsys-run", ".recsys-replaced", ".recsys-current")
MANIFEST_LIMIT = 1 << 20  # bytes
AGAIN = "train again with `recsys train`"

Named = Mapping[str, Any]
WriteIndex = Callable[[Path], None] | None
Stamp = tuple[int, ...]


@dataclass(frozen=True)
class Stored:
    """A model folder's content: arrays by name, the manifest, and a usable Annoy file or None."""

    columns: dict[str, Any]
    manifest: dict[str, Any]
    index: Path | None


def save(
    folder: Path,
    columns: Named,
    manifest: Named,
    write_index: WriteIndex = None,
    *,
    check: Callable[[Stored], object] = lambda stored: None,
    replacing: Stamp | None = None,
) -> None:
    """Write a model beside the old one, which stays in use until one atomic step at the end.

    Parameters
    ----------
    folder : Path
        Created if needed.
    columns : mapping of name -> array or TextColumn
    manifest : mapping
        JSON-able; sizes and checksums of the files are added.
    write_index : function (path), optional
        Writes the Annoy file.
    check : function (Stored)
        Opens what was written as a reader would, before it is put in the place of the old model.
    replacing : tuple, optional
        The `stamp` of the only model that may be replaced.

    Raises
    ------
    ModelError
        The folder is not empty and holds no model.
    ReplacedError
        It holds another model than `replacing`.
    OSError
        A file cannot be written, for example because the disk is full.
    """
    from filelock import FileLock

    refuse_foreign(folder)
    from recsys.data.files import named_if_full

    with named_if_full(folder):
        folder.mkdir(parents=True, exist_ok=True)
        with FileLock(folder / LOCK, timeout=600):
            if replacing is not None and stamp(folder) != replacing:
                raise ReplacedError(f"the model in '{folder}' has been replaced meanwhile")
            _sweep(folder)
            new = folder / NEW_RUN
            new.mkdir()
            try:
                run = folder / _write_run(new, columns, manifest, write_index)
                check(_open_files(new, json.loads((new / MANIFEST).read_bytes()), verify=False))
                if not _is_intact(run):  # else readers may be using this very run: keep it
                    if run.exists():
                        run.rename(folder / REPLACED)
                    new.rename(run)
                pointer = folder / POINTER
                pointer.write_bytes(f"{run.name}\n".encode())
                _flush(pointer)
                os.replace(pointer, folder / CURRENT)
                _flush(folder)
            finally:
                _sweep(folder)


def load(folder: Path, *, verify: bool = True) -> Stored:
    """Open the model in use, its arrays mapped read-only from the files.

    Sizes are always compared with the manifest, the sha256 of every file if `verify`.

    Raises
    ------
    ModelError
        There is no model, or one of its files is missing, damaged, or of another format version.
    """
    while True:
        before = stamp(folder)
        try:
            return _load_run(folder / _read_pointer(folder), verify=verify)
        except ModelError:
            # If another process has replaced the model meanwhile, read the new one.
            if stamp(folder) == before:
                raise


def stamp(folder: Path) -> Stamp:
    """Identify the model in use, cheaply and anew after every save; ModelError if there is none."""
    try:
        status = os.stat(folder / CURRENT)
    except OSError as error:
        remedy = f"make one with `recsys train` ({error.strerror})"
        raise ModelError(f"no model in '{folder}': {remedy}") from None
    return status.st_mtime_ns, status.st_ino, status.st_size


def versions() -> dict[str, str | None]:
    """Return the versions of the packages that a model depends on; None if not installed."""
    from importlib.metadata import distributions

    from recsys import __version__

    names = ("gensim", "annoy", "numpy")
    others = {n: next((one.version for one in distributions(name=n)), None) for n in names}
    return {"recsys": __version__, **others}


def _write_run(new: Path, columns: Named, manifest: Named, write_index: WriteIndex) -> str:
    """Write every file, the manifest last, and flush all to disk; return the run's name."""
    for name, column in columns.items():
        is_text = isinstance(column, TextColumn)
        arrays = {".text": column.data, ".ends": column.ends} if is_text else {"": column}
        for part, array in arrays.items():
            np.save(new / f"{name}{part}.npy", array, allow_pickle=False)
    if write_index is not None:
        write_index(new / INDEX)
    files = {p.name: {"size": p.stat().st_size, "sha256": _sha256(p)} for p in new.iterdir()}
    text = json.dumps({"format": FORMAT, **manifest, "files": files}, indent=1, sort_keys=True)
    (new / MANIFEST).write_bytes(text.encode())
    for path in [*new.iterdir(), new]:
        _flush(path)
    return _run_name(text.encode())


def _flush(path: Path) -> None:
    """Flush a file or folder to disk, so that a power cut cannot undo it."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def refuse_foreign(folder: Path) -> None:
    """Raise ModelError unless a model can be saved here without touching what is not ours.

    A run is named by the hash of its manifest, which tells ours from a folder that looks like one.
    """
    there = next(path for path in (folder, *folder.absolute().parents) if path.exists())
    if not there.is_dir():
        raise ModelError(f"refusing to save a model in '{folder}': it is a file, or lies in one")
    if not os.access(there, os.W_OK | os.X_OK):
        raise ModelError(f"a model cannot be saved in '{folder}': no permission to write there")
    paths = {path.name: path for path in folder.iterdir()} if there == folder else {}
    for name in (LOCK, *TEMPORARIES):
        if name in paths and not _is_remains(paths.pop(name)):
            raise ModelError(f"refusing to save in '{folder}': '{name}' was not written by recsys")
    if paths and not (_points_at_a_run(folder) or any(map(_is_run, paths.values()))):
        raise ModelError(f"refusing to save in '{folder}': it is not empty and holds no model")


def _is_remains(path: Path) -> bool:
    """Tell whether something with one of our names may be what a killed save has left."""
    if path.is_symlink():
        return False
    if path.is_dir():
        names = [file.name for file in path.iterdir()]
        return path.name in (NEW_RUN, REPLACED) and all(map(_is_file_of_a_run, names))
    return path.name in (LOCK, POINTER) and path.stat().st_size <= len("run-0123456789abcdef\n")


def _is_file_of_a_run(name: str) -> bool:
    return name == MANIFEST or FILE.fullmatch(name) is not None


def _points_at_a_run(folder: Path) -> bool:
    try:
        return bool(_read_pointer(folder))
    except ModelError:
        return False


def _is_run(path: Path) -> bool:
    """Tell whether a folder is a run that `save` has written."""
    try:
        return not path.is_symlink() and path.name == _run_name(_read_small(path / MANIFEST))
    except ModelError:
        return False


def _sweep(folder: Path) -> None:
    """Remove unused runs and the remains of killed saves; only while holding the lock."""
    try:
        keep = _read_pointer(folder)
    except ModelError:
        keep = None  # any run may be the model: keep all until a new one is in use
    for path in folder.iterdir():
        unused = keep is not None and path.name != keep and RUN.fullmatch(path.name)
        if path.name in TEMPORARIES or (unused and _is_run(path)):
            _remove(path)


def _remove(path: Path) -> None:
    """Remove a file or a run, but nothing in the run that `save` does not write."""
    if path.is_symlink() or not path.is_dir():
        path.unlink()
        return
    files = [file for file in path.iterdir() if _is_file_of_a_run(file.name)]
    for file in sorted(files, key=lambda file: file.name == MANIFEST):  # by which a run is known
        file.unlink()
    with suppress(OSError):  # somebody has put something else there
        path.rmdir()


def _is_intact(run: Path) -> bool:
    try:
        files = _read_manifest(run)["files"]
    except ModelError:
        return False
    return not any(_damage(run / name, entry, verify=True) for name, entry in files.items())


def _read_pointer(folder: Path) -> str:
    """Return the name of the run in use."""
    name = _read_small(folder / CURRENT).decode("ascii", "replace").strip()
    if not RUN.fullmatch(name):
        raise ModelError(f"'{folder / CURRENT}' is damaged: {AGAIN}")
    return name


def _read_small(path: Path) -> bytes:
    try:
        _check_regular(path)
        with path.open("rb") as file:
            return file.read(MANIFEST_LIMIT)
    except OSError as error:
        raise ModelError(f"'{path}' cannot be read: {error.strerror}: {AGAIN}") from None


def _check_regular(path: Path) -> os.stat_result:
    """Return a file's status; OSError for a link, folder or device, which is never opened."""
    status = os.lstat(path)
    if not stat.S_ISREG(status.st_mode):
        raise OSError(0, "not a regular file")
    return status


def _load_run(run: Path, *, verify: bool) -> Stored:
    return _open_files(run, _read_manifest(run), verify=verify)


def _open_files(run: Path, manifest: dict[str, Any], *, verify: bool) -> Stored:
    columns: dict[str, Any] = {}
    index = None
    for name, entry in sorted(manifest["files"].items()):
        damage = _damage(run / name, entry, verify=verify)
        if damage and name != INDEX:
            raise ModelError(f"{damage}: {AGAIN}")
        if damage:
            logger.warning("%s; the index is rebuilt from the vectors", damage)
        elif name == INDEX:
            index = run / name
        else:
            columns[name.removesuffix(".npy")] = _open_array(run / name)
    for stem in [name.removesuffix(".text") for name in columns if name.endswith(".text")]:
        if f"{stem}.ends" not in columns:
            raise ModelError(f"'{run / stem}.text.npy' has no '{stem}.ends.npy': {AGAIN}")
        columns[stem] = TextColumn(columns.pop(f"{stem}.text"), columns.pop(f"{stem}.ends"))
    return Stored(columns, manifest, index)


def _read_manifest(run: Path) -> dict[str, Any]:
    path = run / MANIFEST
    damaged = ModelError(f"'{path}' is damaged: {AGAIN}")
    content = _read_small(path)
    try:
        manifest = json.loads(content)
        version = manifest["format"]
    except (ValueError, KeyError, TypeError, RecursionError):
        raise damaged from None
    if version != FORMAT:
        found = f"'{path}' has format version {version!r:.40} and this recsys reads {FORMAT}"
        raise ModelError(f"{found}: use the recsys that saved it, or {AGAIN}")
    files = manifest.get("files")
    well_formed = isinstance(files, dict) and all(  # a name may not lead to another folder
        FILE.fullmatch(name) and isinstance(entry, dict) and entry.keys() == {"size", "sha256"}
        for name, entry in files.items()
    )
    if run.name != _run_name(content) or not well_formed:
        raise damaged
    return dict(manifest)


def _damage(path: Path, entry: Named, *, verify: bool) -> str | None:
    """Say what is wrong with a file by its entry in the manifest; None if it is intact."""
    try:
        size = _check_regular(path).st_size
        if size == entry["size"] and not (verify and _sha256(path) != entry["sha256"]):
            return None
    except OSError as error:
        return f"'{path}' cannot be read: {error.strerror}"
    return f"'{path}' is damaged (its size or checksum differs from the manifest)"


def _open_array(path: Path) -> np.ndarray[Any, Any]:
    try:
        # As a plain array: slicing a memmap costs ten times as much.
        return np.asarray(np.lib.format.open_memmap(path, mode="r"))
    # numpy raises any of these for a damaged header (possible with verify=False).
    except (ValueError, OSError, TypeError, OverflowError, SyntaxError, TokenError):
        raise ModelError(f"'{path}' is not an array: {AGAIN}") from None


def _run_name(manifest: bytes) -> str:
    return f"run-{hashlib.sha256(manifest).hexdigest()[:16]}"


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
