"""Keep a model in a folder: saved whole or not at all, checked before it is used.

MODEL/
  current           the name of the run in use; replaced in one atomic step
  run-<hash>/       named by its content
    manifest.json   parameters, versions, data, and size and sha256 of every other file
    *.npy           arrays, mapped read-only
    index.ann       the Annoy index: a cache, rebuilt from the arrays where it does not fit
  .lock             held while saving
"""

from __future__ import annotations

import json
import logging
import os
import re
import stat
from dataclasses import dataclass
from pathlib import Path
from tokenize import TokenError
from typing import TYPE_CHECKING, Any

import numpy as np

from recsys.data.columns import TextColumn
from recsys.errors import ModelError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    import numpy.typing as npt

logger = logging.getLogger(__name__)

FORMAT = 3
CURRENT, LOCK, MANIFEST, INDEX = "current", ".lock", "manifest.json", "index.ann"
RUN = re.compile("run-[0-9a-f]{16}")
FILE = re.compile(r"\w+(\.\w+)*\.npy|index\.ann", re.ASCII)
MADE, REPLACED, POINTER = TEMPORARIES = (".tmp-run", ".tmp-replaced", ".tmp-current")
MANIFEST_LIMIT = 1 << 20
AGAIN = "train again with `recsys train`"


@dataclass(frozen=True)
class Stored:
    """A model folder's content: arrays by name, the manifest, and a usable Annoy file or None."""

    columns: dict[str, Any]
    manifest: dict[str, Any]
    index: Path | None


def save(
    folder: Path,
    columns: Mapping[str, Any],
    manifest: Mapping[str, Any],
    write_index: Callable[[Path], None] | None = None,
) -> None:
    """Write a model beside the old one, then switch to it in one atomic step.

    Whatever fails on the way, the old model stays the one in use.

    Parameters
    ----------
    folder : Path
        Made if needed. A folder that holds anything but a model is refused.
    columns : mapping of name -> array or TextColumn
    manifest : mapping
        JSON-able; the files' sizes and checksums are added.
    write_index : callable, optional
        Writes the Annoy file to the path it is given.

    Raises
    ------
    ModelError
        The folder is not empty and no model.
    OSError
        The disk is full, or the like.
    """
    from filelock import FileLock

    _refuse_foreign(folder)
    folder.mkdir(parents=True, exist_ok=True)
    with FileLock(folder / LOCK, timeout=600):
        _sweep(folder)
        made = folder / MADE
        made.mkdir()
        try:
            name = _write_run(made, columns, manifest, write_index)
            if not _intact(folder / name):
                if (folder / name).exists():
                    (folder / name).rename(folder / REPLACED)
                made.rename(folder / name)
            _switch(folder, name)
        finally:
            _sweep(folder)


def versions() -> dict[str, str | None]:
    """Return the versions of the packages that a model depends on; None if not installed."""
    from importlib import metadata

    from recsys import __version__

    found: dict[str, str | None] = {"recsys": __version__}
    for name in ("gensim", "annoy", "numpy"):
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            found[name] = None
    return found


def _write_run(
    made: Path,
    columns: Mapping[str, Any],
    manifest: Mapping[str, Any],
    write_index: Callable[[Path], None] | None,
) -> str:
    """Write every file, the manifest last, all of it to the disk; return the run's name."""
    for name, column in columns.items():
        if isinstance(column, TextColumn):
            np.save(made / f"{name}.text.npy", column.data, allow_pickle=False)
            np.save(made / f"{name}.ends.npy", column.ends, allow_pickle=False)
        else:
            np.save(made / f"{name}.npy", column, allow_pickle=False)
    if write_index is not None:
        write_index(made / INDEX)
    files = {p.name: {"size": p.stat().st_size, "sha256": _sha256(p)} for p in made.iterdir()}
    text = json.dumps({"format": FORMAT, **manifest, "files": files}, indent=1, sort_keys=True)
    (made / MANIFEST).write_text(text, encoding="utf-8", newline="\n")
    for path in [*made.iterdir(), made]:
        _sync(path)
    return f"run-{_sha256(made / MANIFEST)[:16]}"


def _switch(folder: Path, name: str) -> None:
    pointer = folder / POINTER
    pointer.write_text(name + "\n", encoding="utf-8", newline="\n")
    _sync(pointer)
    os.replace(pointer, folder / CURRENT)
    _sync(folder)


def _sync(path: Path) -> None:
    """Have the disk hold what was written, so that a power cut cannot undo it."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _refuse_foreign(folder: Path) -> None:
    if folder.exists() and not folder.is_dir():
        raise ModelError(f"'{folder}' is a file, not a folder to save a model in")
    names = {path.name for path in folder.iterdir()} if folder.exists() else set()
    if names - {CURRENT, LOCK, *TEMPORARIES} and not any(map(RUN.fullmatch, names)):
        raise ModelError(f"'{folder}' is not empty and holds no model: it is left as it is")


def _sweep(folder: Path) -> None:
    """Remove runs that are not in use and what killed saves have left; under the lock."""
    import shutil

    try:
        keep = _read_pointer(folder)
    except ModelError:
        keep = None  # then any run may be the model: a new one has to be in use first
    for path in folder.iterdir():
        old = keep is not None and RUN.fullmatch(path.name) and path.name != keep
        if old or path.name in TEMPORARIES:
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            else:
                path.unlink()


def _intact(run: Path) -> bool:
    """Say whether this very run is there already, whole: then readers may be using it."""
    try:
        files = _load_manifest(run)["files"]
        for name, entry in files.items():
            _check_file(run / name, entry, verify=True)
    except ModelError:
        return False
    return True


def stamp(folder: Path) -> tuple[int, ...]:
    """Identify the model in use cheaply: it differs after every save.

    Raises
    ------
    ModelError
        There is no model.
    """
    try:
        status = os.stat(folder / CURRENT)
    except OSError as error:
        raise ModelError(
            f"no model in '{folder}': make one with `recsys train` ({error.strerror})"
        ) from None
    return status.st_mtime_ns, status.st_ino, status.st_size


def load(folder: Path, *, verify: bool = True) -> Stored:
    """Open the model in use, its arrays mapped read-only from the files.

    Parameters
    ----------
    folder : Path
    verify : bool
        Compare every file's sha256 with the manifest. Sizes are always compared.

    Raises
    ------
    ModelError
        There is no model, or a file of it is missing, damaged, or of a newer format.
    """
    while True:
        before = stamp(folder)
        try:
            return _load_run(folder / _read_pointer(folder), verify=verify)
        except ModelError:
            # Another process may have replaced the model meanwhile: then read the new one.
            if stamp(folder) == before:
                raise


def _read_pointer(folder: Path) -> str:
    """Return the name of the run in use."""
    path = folder / CURRENT
    try:
        name = _read_small(path).decode("ascii", "replace").strip()
    except OSError as error:
        raise ModelError(f"'{path}' cannot be read: {error.strerror}") from None
    if not RUN.fullmatch(name):
        raise ModelError(f"'{path}' is damaged: {AGAIN}")
    return name


def _read_small(path: Path) -> bytes:
    _regular_size(path)
    with path.open("rb") as file:
        return file.read(MANIFEST_LIMIT)


def _regular_size(path: Path) -> int:
    """Return the size of a plain file; a link, a folder or a device is none."""
    status = os.lstat(path)
    if not stat.S_ISREG(status.st_mode):
        raise ModelError(f"'{path}' is not a plain file: the model is damaged")
    return status.st_size


def _load_run(run: Path, *, verify: bool) -> Stored:
    manifest = _load_manifest(run)
    columns: dict[str, Any] = {}
    index = None
    for name, entry in sorted(manifest["files"].items()):
        try:
            _check_file(run / name, entry, verify=verify)
        except ModelError as error:
            if name != INDEX:
                raise ModelError(f"{error}: {AGAIN}") from None
            logger.warning("%s; the index is rebuilt from the vectors", error)
            continue
        if name == INDEX:
            index = run / name
        else:
            columns[name.removesuffix(".npy")] = _open_array(run / name)
    for name in [name for name in columns if name.endswith(".text")]:
        stem = name.removesuffix(".text")
        if f"{stem}.ends" not in columns:
            raise ModelError(f"'{run / name}.npy' is of no use without '{stem}.ends.npy'")
        columns[stem] = TextColumn(columns.pop(name), columns.pop(f"{stem}.ends"))
    return Stored(columns, manifest, index)


def _load_manifest(run: Path) -> dict[str, Any]:
    path = run / MANIFEST
    damaged = ModelError(f"'{path}' is damaged: {AGAIN}")
    try:
        content = _read_small(path)
    except OSError as error:
        raise ModelError(f"'{path}' cannot be read: {error.strerror}: {AGAIN}") from None
    try:
        manifest = json.loads(content)
        version = manifest["format"]
    except (ValueError, KeyError, TypeError, RecursionError):
        raise damaged from None
    if version != FORMAT:
        raise ModelError(
            f"'{run.parent}' has format version {version!r} and this recsys reads {FORMAT}: "
            "use the version of recsys that saved it, or train again with `recsys train`"
        )
    import hashlib

    vouched_for = run.name == "run-" + hashlib.sha256(content).hexdigest()[:16]
    if not vouched_for or not _lists_files(manifest.get("files")):
        raise damaged
    return dict(manifest)


def _lists_files(files: Any) -> bool:
    """Say whether a manifest's list of files is one, of plain names that lead nowhere else."""
    return isinstance(files, dict) and all(
        FILE.fullmatch(name)
        and isinstance(entry, dict)
        and {name: type(value) for name, value in entry.items()} == {"size": int, "sha256": str}
        for name, entry in files.items()
    )


def _check_file(path: Path, entry: Mapping[str, Any], *, verify: bool) -> None:
    try:
        size = _regular_size(path)
        damaged = size != entry["size"] or (verify and _sha256(path) != entry["sha256"])
    except OSError as error:
        raise ModelError(f"'{path}' cannot be read: {error.strerror}") from None
    if damaged:
        raise ModelError(f"'{path}' is damaged (its size or checksum is not the manifest's)")


def _open_array(path: Path) -> npt.NDArray[Any]:
    try:
        # As a plain array: slicing a memmap costs ten times as much.
        return np.asarray(np.lib.format.open_memmap(path, mode="r"))
    # All of these come from numpy where the header is damaged (and not verified).
    except (ValueError, OSError, TypeError, OverflowError, SyntaxError, TokenError):
        raise ModelError(f"'{path}' is not an array: {AGAIN}") from None


def _sha256(path: Path) -> str:
    import hashlib

    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
