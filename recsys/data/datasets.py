"""Fetch public data sets by name: from the user's mirror, GroupLens, or the package index.

A file is checked before it gets the name of a data set. A download that was cut starts again from
zero. Only ``.NAME.lock``, on which a second process waits, stays beside the data.
"""

from __future__ import annotations

import hashlib
import logging
import os
import re
import stat
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path, PureWindowsPath
from typing import TYPE_CHECKING, Any

from recsys.errors import DownloadError, escape

if TYPE_CHECKING:
    from zipfile import ZipFile

logger = logging.getLogger(__name__)

GROUPLENS = "https://files.grouplens.org/datasets/movielens"
RECBOLE = "recbole==1.2.1"
RECBOLE_FOLDER = "recbole/dataset_example/ml-100k"  # in the wheel
RECBOLE_FILES = {  # name: (bytes, sha256)
    "ml-100k.item": (66632, "51d7cdf777ce5c0f5b32c1d947a4a81fe07d75e78abbe761e0cd4d0756064532"),
    "ml-100k.inter": (1979230, "4edb74e2a81178c2ba9ff381495f754f996c4aea351b1272ca36b43da0935eff"),
}
TIMEOUT = 10.0  # seconds until a server is connected, and between two pieces of its answer
PIP_TIMEOUT = 120.0  # seconds for everything pip does
MAX_BYTES = 2 * 10**9  # of a zip whose size is not known
MAX_UNPACKED = 10 * 10**9  # bytes of all members of a zip
MAX_RATIO = 20  # of unpacked to packed bytes; MovieLens sets have about 5

_WHO = "GroupLens, University of Minnesota: for research, acknowledged in publications; "
_CLOSED = _WHO + "no redistribution and no commercial use without permission"
_OPEN = _WHO + "may be passed on under the same licence; no commercial use without permission"
_LATEST = "GroupLens, University of Minnesota: read the README.txt in the zip before passing it on"
_LICENCES = {"ml-32m": _OPEN, "ml-latest-small": _OPEN, "ml-latest": _LATEST}
_ZIPS: dict[str, tuple[int | None, str | None]] = {
    "ml-100k": (4924029, "50d2a982c66986937beb9ffb3aa76efe955bf3d5c6b761f4e3a7cd717c6a3229"),
    "ml-1m": (5917549, "a6898adb50b9ca05aa231689da44c217cb524e7ebd39d264c56e2832f2c54e20"),
    "ml-10m": (65566137, "813c411ccb6122564edfe752e7f80c4dcc5aa25fa94c93622f6877a7ba252862"),
    "ml-20m": (198702078, "96f243c338a8665f6bcc89c53edf6ee39162a846940de6b7c8c48aeada765ff3"),
    "ml-25m": (261978986, "8b21cfb7eb1706b4ec0aac894368d90acf26ebdfb6aced3ebd4ad5bd1eb9c6aa"),
    "ml-32m": (None, "e4a68655d7386b8f95f2f2424b2ff975dfdd15ffd59e0d864a14dca43e99d6ee"),
    "ml-latest-small": (None, "696d65a3dfceac7c45750ad32df2c259311949efec81f0f144fdfb91ebc9e436"),
    "ml-latest": (None, None),
}


@dataclass(frozen=True)
class DataSet:
    """A data set as GroupLens publishes it."""

    name: str
    size: int | None  # bytes of the zip; None: not known
    sha256: str | None  # of the zip; None: it changes over time
    licence: str  # in one line


DATASETS = {
    name: DataSet(name, *zip_, _LICENCES.get(name, _CLOSED)) for name, zip_ in _ZIPS.items()
}


def data_folder() -> Path:
    """Return the folder of data sets and models, which need not exist.

    ``$RECSYS_DATA``, else `data` in the nearest parent of the current directory that holds this
    project, else in the current directory.
    """
    if folder := os.environ.get("RECSYS_DATA"):
        return Path(folder).expanduser()
    return _project_data_folder(os.getcwd())


@cache
def _project_data_folder(current: str) -> Path:
    for folder in (Path(current), *Path(current).parents):
        # By its files alone: the pyproject.toml of somebody else is not for us to parse.
        if (folder / "recsys/data/datasets.py").is_file() and (folder / "data/sample").is_dir():
            return folder / "data"
    return Path(current) / "data"


def cache_folder() -> Path:
    """Return the folder of what can be made again: in `$RECSYS_DATA`, else the platform's own."""
    if folder := os.environ.get("RECSYS_DATA"):
        return Path(folder).expanduser() / ".cache"
    from platformdirs import user_cache_path

    return user_cache_path("recsys", appauthor=False)


def sample_folder() -> Path:
    """Return the folder of the synthetic sample, in the package or in the repository."""
    here = Path(__file__).resolve().parent
    return here / "sample" if (here / "sample").is_dir() else here.parents[1] / "data" / "sample"


def fetch(name: str, *, from_file: str | Path | None = None) -> Path:
    """Return a checked copy of a data set, downloading it only if it is not there yet.

    Parameters
    ----------
    name : str
        A key of `DATASETS`.
    from_file : path, optional
        A zip from elsewhere (for ml-100k also RecBole's wheel), to be checked and copied.

    Returns
    -------
    Path
        In `data_folder`: ``NAME.zip`` as GroupLens publishes it, or the folder ``ml-100k`` with
        RecBole's `ml-100k.inter` and `ml-100k.item`.

    Raises
    ------
    DownloadError
        The name is unknown, no source has the set, `from_file` is not it, or writing fails.
    """
    from shutil import rmtree

    from filelock import FileLock

    if name not in DATASETS:
        known = ", ".join(DATASETS)
        raise DownloadError(f"no data set is called '{escape(name)}'; known are {known}")
    dataset, folder = DATASETS[name], data_folder()
    scratch = folder / f".{name}.new"
    try:
        if from_file is None and (present := _present(dataset, folder)):
            return present
        folder.mkdir(parents=True, exist_ok=True)
        with FileLock(folder / f".{name}.lock"):
            rmtree(scratch, ignore_errors=True)  # of a process that was killed
            scratch.mkdir()
            try:
                if from_file is not None:
                    placed = _take(dataset, Path(from_file), scratch)
                else:  # another process may have brought it while this one waited
                    placed = _present(dataset, folder) or _try_all(dataset, scratch)
            finally:
                rmtree(scratch, ignore_errors=True)
    except OSError as error:
        text = f"'{name}' could not be stored in '{folder}': {error}"
        raise DownloadError(_one_line(text)) from error
    logger.info("%s: placed in %s. Licence: %s", name, placed, dataset.licence)
    if dataset.sha256 is None:
        logger.warning("%s changes over time: there is no checksum to hold it against", name)
    return placed


def _present(dataset: DataSet, folder: Path) -> Path | None:
    """Return the copy that is there, which was checked before it was placed."""
    archive, unpacked = folder / f"{dataset.name}.zip", folder / dataset.name
    if archive.is_file() and dataset.size in (None, archive.stat().st_size):
        return archive
    files = [(unpacked / name, size) for name, (size, _) in RECBOLE_FILES.items()]
    whole = all(path.is_file() and path.stat().st_size == size for path, size in files)
    return unpacked if dataset.name == "ml-100k" and whole else None


def _take(dataset: DataSet, source: Path, scratch: Path) -> Path:
    """Place a copy of the user's own file."""
    from shutil import copyfile

    try:
        if source.is_file():
            return _place(dataset, copyfile(source, scratch / f"copy{source.suffix}"))
        raise DownloadError("no such file")
    except DownloadError as error:
        raise DownloadError(f"'{_one_line(source)}' is not {dataset.name}: {error}") from error


def _try_all(dataset: DataSet, scratch: Path) -> Path:
    """Place what comes from the first source that has the data set."""
    sources: dict[str, Callable[[], Path]] = {}
    if mirror := os.environ.get("RECSYS_DATA_MIRROR"):
        sources["$RECSYS_DATA_MIRROR"] = partial(_from_mirror, dataset, mirror, scratch)
    url = f"{GROUPLENS}/{dataset.name}.zip"
    sources[url] = partial(_download, dataset, url, scratch)
    if dataset.name == "ml-100k":
        sources[f"pip download {RECBOLE}"] = partial(_from_pip, scratch)
    failures = []
    for source, get in sources.items():
        logger.info("%s: trying %s", dataset.name, source)
        try:
            return _place(dataset, get())
        except DownloadError as error:
            failures.append(f"{source}: {error}")
            logger.info("%s: failed: %s", dataset.name, failures[-1])
    raise DownloadError(
        f"'{dataset.name}' could not be fetched ({'; '.join(failures)}); get {url} yourself and "
        f"pass it with `recsys download {dataset.name} --from-file PATH`"
    )


def _from_mirror(dataset: DataSet, mirror: str, scratch: Path) -> Path:
    if not re.match(r"https?://[^/@]+(/|$)", mirror):  # a password in it would end up in the log
        raise DownloadError("not an address such as https://HOST/FOLDER")
    if mirror.startswith("http:") and dataset.sha256 is None:
        raise DownloadError("plain http is not safe for a set without a checksum")
    return _download(dataset, f"{mirror.rstrip('/')}/{dataset.name}.zip", scratch)


def _from_pip(scratch: Path) -> Path:
    """Get RecBole's wheel from the package index that the user's pip is set up for."""
    from subprocess import DEVNULL, TimeoutExpired, run

    # -I, or a pip.py in the current folder would be run; binary, or the set-up of a source archive.
    command = [sys.executable, "-I", "-m", "pip", "download", "--no-deps", "--only-binary=:all:"]
    command += ["--no-input", "--quiet", "--retries=1", "--dest", str(scratch), RECBOLE]
    try:
        done = run(command, stdin=DEVNULL, capture_output=True, timeout=PIP_TIMEOUT)
    except TimeoutExpired:
        raise DownloadError(f"not done within {PIP_TIMEOUT:g} seconds") from None
    except OSError as error:
        raise DownloadError(_one_line(error)) from error
    wheels = list(scratch.glob("*.whl"))
    if done.returncode or not wheels:
        said = done.stderr.decode(errors="replace").strip().splitlines() or ["no wheel came"]
        raise DownloadError(_one_line(said[-1].removeprefix("ERROR: ")))
    return wheels[0]


def _download(dataset: DataSet, url: str, scratch: Path) -> Path:
    """Save what a server sends, at most as many bytes as the data set has."""
    from http.client import HTTPException
    from ssl import create_default_context
    from urllib.error import HTTPError
    from urllib.request import HTTPRedirectHandler, HTTPSHandler, build_opener

    from tqdm import tqdm

    class Redirects(HTTPRedirectHandler):
        def redirect_request(self, req: Any, fp: Any, *answer: Any) -> Any:
            if not answer[-1].startswith(("https:", f"{req.type}:")):
                fp.close()
                raise DownloadError(f"redirected to {answer[-1]}, which is not https")
            return super().redirect_request(req, fp, *answer)

    opener = build_opener(HTTPSHandler(context=create_default_context()), Redirects)
    opener.addheaders = [("User-Agent", "recsys")]
    path, received, limit = scratch / "download.zip", 0, dataset.size or MAX_BYTES
    try:
        with opener.open(url, timeout=TIMEOUT) as response, path.open("wb") as file:
            total = dataset.size if response.length is None else response.length
            if total is not None and (total > limit or dataset.size not in (None, total)):
                raise DownloadError(f"{total} bytes long, not {limit}")
            options = {"unit": "B", "unit_scale": True, "disable": None}
            with tqdm(desc=dataset.name, total=total, **options) as bar:
                while chunk := response.read1(1 << 16):
                    bar.update(file.write(chunk))
                    received += len(chunk)
                    if received > limit:
                        raise DownloadError(f"longer than {limit} bytes")
    except HTTPError as error:
        error.close()
        raise DownloadError(_one_line(error)) from error
    except (OSError, HTTPException, ValueError) as error:
        cause = getattr(error, "reason", None) or error  # urllib wraps what happened
        text = getattr(cause, "strerror", None) or str(cause) or type(cause).__name__
        raise DownloadError(_one_line(text)) from error
    if total is not None and received < total:
        raise DownloadError(f"cut after {received} of {total} bytes")
    return path


def _one_line(text: object) -> str:
    """Put untrusted text on one line, escaped."""
    seen = escape(" ".join(str(text).split()))
    return seen if len(seen) <= 500 else f"{seen[:500]}..."


def _place(dataset: DataSet, path: Path) -> Path:
    """Check a file in the scratch folder and move it to its name in the folder above."""
    target = path.parents[1] / dataset.name
    if dataset.name != "ml-100k" or path.suffix != ".whl":
        _check_zip(dataset, path)
        return path.replace(f"{target}.zip")
    for name, (size, sha256) in RECBOLE_FILES.items():
        with _open_zip(path) as wheel, wheel.open(f"{RECBOLE_FOLDER}/{name}") as member:
            content = member.read(size + 1)
        if hashlib.sha256(content).hexdigest() != sha256:
            raise DownloadError(f"altered or damaged: {name} has another sha256")
        path.with_name(name).write_bytes(content)
    target.mkdir(exist_ok=True)
    for name in RECBOLE_FILES:
        path.with_name(name).replace(target / name)
    return target


def _check_zip(dataset: DataSet, path: Path) -> None:
    """Raise `DownloadError` unless a file is the data set, and a zip that is safe to read."""
    size = path.stat().st_size
    with path.open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if dataset.size not in (None, size):
        raise DownloadError(f"{size} bytes long, not {dataset.size}")
    if dataset.sha256 not in (None, found):
        raise DownloadError(f"altered or damaged: its sha256 is {found}, not {dataset.sha256}")
    with _open_zip(path) as archive:
        for member in archive.infolist():
            inside = PureWindowsPath(member.filename)  # knows both slashes, and drives
            if inside.anchor or ".." in inside.parts or stat.S_ISLNK(member.external_attr >> 16):
                raise DownloadError(f"unsafe zip: {member.filename!r:.200} points out of it")
        unpacked = sum(member.file_size for member in archive.infolist())
        if unpacked > min(MAX_UNPACKED, MAX_RATIO * size):
            raise DownloadError(f"unsafe zip: {size} bytes would become {unpacked}")
        if dataset.sha256 is None and (bad := archive.testzip()):
            raise DownloadError(f"damaged zip: {bad!r:.200} does not fit its checksum")


@contextmanager
def _open_zip(path: Path) -> Iterator[ZipFile]:
    import zipfile
    import zlib

    damages = (zipfile.BadZipFile, zlib.error, EOFError, LookupError, OSError, RuntimeError)
    try:
        with zipfile.ZipFile(path) as archive:
            if any(member.compress_type not in (0, 8) for member in archive.infolist()):
                raise zipfile.BadZipFile("neither stored nor deflated")
            yield archive
    except DownloadError:
        raise
    except (*damages, ValueError) as error:
        raise DownloadError(f"not an intact zip ({_one_line(error)})") from error
