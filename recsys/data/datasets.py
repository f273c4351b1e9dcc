"""Fetch a public data set by name: several sources, one checked copy in the data folder.

The user's own mirror is asked first, then the GroupLens site; ml-100k is also in the wheel of
RecBole, for machines that reach nothing but a package index. No file gets the name of a data set
before its size, sha256 and contents were checked. Two other files may stay beside it: the empty
``.NAME.lock``, for which a second process waits, and ``NAME.zip.part``, all that came before Ctrl-C
or a cut network, from where the next `fetch` goes on. What proves wrong is deleted at once.
"""

from __future__ import annotations

import logging
import os
import re
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path, PureWindowsPath
from typing import TYPE_CHECKING

from recsys.errors import DownloadError

if TYPE_CHECKING:
    from http.client import HTTPMessage, HTTPResponse
    from typing import IO
    from urllib.request import OpenerDirector
    from zipfile import ZipFile

logger = logging.getLogger(__name__)

GROUPLENS = "https://files.grouplens.org/datasets/movielens"
RECBOLE = "recbole==1.2.1"
RECBOLE_FOLDER = "recbole/dataset_example/ml-100k"  # in the wheel
RECBOLE_FILES = {  # name: (bytes, sha256)
    "ml-100k.item": (66632, "51d7cdf777ce5c0f5b32c1d947a4a81fe07d75e78abbe761e0cd4d0756064532"),
    "ml-100k.inter": (1979230, "4edb74e2a81178c2ba9ff381495f754f996c4aea351b1272ca36b43da0935eff"),
}
CONNECT_TIMEOUT = 5.0  # seconds until a source has answered
STALL_TIMEOUT = 30.0  # seconds without a byte
PIP_TIMEOUT = 120.0  # seconds for all that pip does
ATTEMPTS = 5  # at one source, as long as each brings something new
MAX_BYTES = 2 * 10**9  # of a zip whose size is not known
MAX_UNPACKED = 10 * 10**9  # bytes of all members of a zip
MAX_RATIO = 20  # of unpacked to packed bytes; MovieLens sets have about 5

_WHO = "GroupLens, University of Minnesota: for research, acknowledged in publications; "
_CLOSED = _WHO + "no redistribution and no commercial use without permission"
_OPEN = _WHO + "may be passed on under the same licence; no commercial use without permission"
_LATEST = "GroupLens, University of Minnesota: read the README.txt in the zip before passing it on"


@dataclass(frozen=True)
class DataSet:
    """A data set as GroupLens publishes it; the licence is one line from its own README."""

    name: str
    size: int | None  # bytes of the zip; None: not known
    sha256: str | None  # of the zip; None: it changes over time
    licence: str

    @property
    def url(self) -> str:
        """Where GroupLens offers the zip."""
        return f"{GROUPLENS}/{self.name}.zip"


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
_LICENCES = {"ml-32m": _OPEN, "ml-latest-small": _OPEN, "ml-latest": _LATEST}
DATASETS: dict[str, DataSet] = {
    name: DataSet(name, size, sha256, _LICENCES.get(name, _CLOSED))
    for name, (size, sha256) in _ZIPS.items()
}


class _SourceError(Exception):
    """A source does not give the set, or not all of it; the next one may."""


class _RefusedError(_SourceError):
    """What a source gives is not the set, and none of it may stay."""


def data_folder() -> Path:
    """Return the folder of data sets and models, which need not exist.

    Returns
    -------
    Path
        ``$RECSYS_DATA``, else `data` in the nearest parent of the current directory that holds this
        project, else `data` in the current directory.
    """
    if folder := os.environ.get("RECSYS_DATA"):
        return Path(folder).expanduser()
    return _project_data_folder(os.getcwd())


@cache
def _project_data_folder(current: str) -> Path:
    import tomllib

    for folder in (Path(current), *Path(current).parents):
        try:
            project = tomllib.loads((folder / "pyproject.toml").read_text("utf-8"))["project"]
            if project["name"] == "recsys" and (folder / "recsys").is_dir():
                return folder / "data"
        except (OSError, ValueError, LookupError, TypeError):
            continue  # none there, or one of another kind
    return Path(current) / "data"


def fetch(name: str, *, from_file: str | Path | None = None) -> Path:
    """Return a checked copy of a data set, downloading it only where it is not there yet.

    Parameters
    ----------
    name
        A key of `DATASETS`.
    from_file
        A zip got by other means (for ml-100k also RecBole's wheel), to be checked and copied.

    Returns
    -------
    Path
        In `data_folder`: ``NAME.zip`` as GroupLens publishes it, or for ml-100k from the second
        source the folder ``ml-100k`` that holds `ml-100k.inter` and `ml-100k.item`.

    Raises
    ------
    DownloadError
        If the name is not known, no source gives the set, or `from_file` is not it.
    """
    from filelock import FileLock

    if name not in DATASETS:
        raise DownloadError(f"no data set is called '{name}'; known are {', '.join(DATASETS)}")
    dataset, folder = DATASETS[name], data_folder()
    try:
        if from_file is None and (present := _present(dataset, folder)):
            return present
        folder.mkdir(parents=True, exist_ok=True)
        with FileLock(folder / f".{name}.lock"):
            if from_file is None:
                placed = _try_all(dataset, folder)
            else:
                placed = _take(dataset, folder, Path(from_file))
            (folder / f"{name}.zip.part").unlink(missing_ok=True)
    except OSError as error:
        raise DownloadError(f"'{name}' could not be stored in '{folder}': {error}") from error
    logger.info("%s: placed in %s. Licence: %s", name, placed, dataset.licence)
    if dataset.sha256 is None:
        logger.warning("%s changes over time: there is no checksum to hold it against", name)
    return placed


def _present(dataset: DataSet, folder: Path) -> Path | None:
    """Return the copy that is there; its checksum was compared before it was placed."""
    archive, unpacked = folder / f"{dataset.name}.zip", folder / dataset.name
    if archive.is_file() and dataset.size in (None, _size(archive)):
        return archive
    sizes = [(_size(unpacked / name), size) for name, (size, _) in RECBOLE_FILES.items()]
    if dataset.name == "ml-100k" and all(found == size for found, size in sizes):
        return unpacked
    return None


def _size(path: Path) -> int:
    return path.stat().st_size if path.is_file() else 0


def _try_all(dataset: DataSet, folder: Path) -> Path:
    # Another process may have brought it while this one waited for the lock.
    if present := _present(dataset, folder):
        return present
    failures = []
    for source, get in _sources(dataset, folder):
        logger.info("%s: trying %s", dataset.name, source)
        try:
            return get()
        except _SourceError as error:
            failures.append(f"{source}: {error}")
            logger.info("%s: no luck with %s", dataset.name, failures[-1])
    raise DownloadError(
        f"'{dataset.name}' could not be had ({'; '.join(failures)}); get {dataset.url} yourself "
        f"and pass it with `recsys download {dataset.name} --from-file PATH`"
    )


def _sources(dataset: DataSet, folder: Path) -> Iterator[tuple[str, Callable[[], Path]]]:
    if mirror := os.environ.get("RECSYS_DATA_MIRROR"):
        yield "$RECSYS_DATA_MIRROR", partial(_from_mirror, dataset, folder, mirror)
    yield dataset.url, partial(_download, dataset, folder, dataset.url)
    if dataset.name == "ml-100k":
        yield f"pip download {RECBOLE}", partial(_from_pip, folder)


def _from_mirror(dataset: DataSet, folder: Path, mirror: str) -> Path:
    if not re.match(r"https?://[^/@]+(/|$)", mirror):  # a password in it would end up in the log
        raise _SourceError("not an address such as https://HOST/FOLDER")
    if mirror.startswith("http:") and dataset.sha256 is None:
        raise _SourceError("plain http is no safe way to a set without a checksum")
    return _download(dataset, folder, f"{mirror.rstrip('/')}/{dataset.name}.zip")


def _download(dataset: DataSet, folder: Path, url: str) -> Path:
    """Bring the zip to its place, going on after a cut and from what an earlier call left."""
    part = folder / f"{dataset.name}.zip.part"
    left = ATTEMPTS
    while True:
        left -= 1
        if dataset.sha256 is None:
            part.unlink(missing_ok=True)  # halves of two releases could not be told from one
        before = _size(part)
        try:
            if before != dataset.size:
                _receive(dataset, url, part)
            return _place(dataset, part, folder)
        except OSError:
            part.unlink(missing_ok=True)
            raise
        except _RefusedError as error:
            part.unlink(missing_ok=True)
            if not before or not left:
                raise
            logger.info("%s: %s; starting again from zero", dataset.name, error)
        except _SourceError as error:
            came = _size(part)
            if not came:
                part.unlink(missing_ok=True)
            if came <= before or not left:
                raise
            logger.info("%s: %s; going on from there", dataset.name, error)


def _receive(dataset: DataSet, url: str, part: Path) -> None:
    """Append to `part` what is missing, or write it anew where the server knows no ranges."""
    from tqdm import tqdm

    with _open(url, _size(part)) as response:
        here = _first_byte(response, _size(part))
        total = dataset.size if response.length is None else here + response.length
        limit = dataset.size or MAX_BYTES
        if total is not None and (total > limit or total != (dataset.size or total)):
            raise _RefusedError(f"{total} bytes long, not {limit}")
        bar = tqdm(
            desc=dataset.name, total=total, initial=here, unit="B", unit_scale=True, disable=None
        )
        with bar, part.open("ab" if here else "wb") as file:
            while chunk := _read(response):
                here += len(chunk)
                if here > limit:
                    raise _RefusedError(f"longer than {limit} bytes")
                file.write(chunk)
                bar.update(len(chunk))
    if total is not None and here < total:
        raise _SourceError(f"cut after {here} of {total} bytes")


def _first_byte(response: HTTPResponse, asked: int) -> int:
    if response.status != 206:
        return 0
    span = response.headers.get("Content-Range") or ""
    if not span.startswith(f"bytes {asked}-"):
        raise _RefusedError(f"asked for bytes from {asked} on, it sent '{span}'")
    return asked


def _read(response: HTTPResponse) -> bytes:
    with _network():
        return response.read1(1 << 16)


def _open(url: str, start: int) -> HTTPResponse:
    """Ask for a file from byte `start` on; in a thread, as no time-out covers a name look-up."""
    from queue import Empty, SimpleQueue
    from threading import Thread
    from urllib.request import Request

    headers = {"User-Agent": "recsys"} | ({"Range": f"bytes={start}-"} if start else {})
    answers: SimpleQueue[HTTPResponse | _SourceError] = SimpleQueue()

    def ask() -> None:
        try:
            with _network():
                answers.put(_opener().open(Request(url, headers=headers), timeout=STALL_TIMEOUT))
        except _SourceError as error:
            answers.put(error)

    Thread(target=ask, daemon=True).start()
    try:
        answer = answers.get(timeout=CONNECT_TIMEOUT)
    except Empty:
        raise _SourceError(f"no answer within {CONNECT_TIMEOUT:g} seconds") from None
    if isinstance(answer, _SourceError):
        raise answer
    return answer


def _opener() -> OpenerDirector:
    """Return an opener that verifies certificates and never leaves https for http."""
    import ssl
    from urllib.parse import urlsplit
    from urllib.request import HTTPRedirectHandler, HTTPSHandler, Request, build_opener

    class Redirects(HTTPRedirectHandler):
        def redirect_request(
            self,
            req: Request,
            fp: IO[bytes],
            code: int,
            msg: str,
            headers: HTTPMessage,
            newurl: str,
        ) -> Request | None:
            if urlsplit(newurl).scheme not in ("https", req.type):
                fp.close()
                raise _RefusedError(f"redirected to {newurl}, which is not https")
            return super().redirect_request(req, fp, code, msg, headers, newurl)

    return build_opener(HTTPSHandler(context=ssl.create_default_context()), Redirects)


@contextmanager
def _network() -> Iterator[None]:
    """Turn what goes wrong between here and a server into `_SourceError`, in few words."""
    from http.client import HTTPException
    from urllib.error import HTTPError

    try:
        yield
    except HTTPError as error:
        error.close()
        # 416: the part on the disk is as long as the file, or longer.
        kind = _RefusedError if error.code == 416 else _SourceError
        raise kind(f"HTTP status {error.code} {_one_line(error.reason)}") from error
    except (OSError, HTTPException, ValueError) as error:
        cause = getattr(error, "reason", error)  # urllib wraps what happened
        text = getattr(cause, "strerror", None) or str(cause) or type(cause).__name__
        raise _SourceError(_one_line(text)) from error


def _one_line(text: object) -> str:
    """Show what a server may have made up: on one line, without what a terminal would obey."""
    seen = "".join(c if c.isprintable() else repr(c)[1:-1] for c in " ".join(str(text).split()))
    return seen if len(seen) <= 200 else f"{seen[:200]}..."


def _place(dataset: DataSet, path: Path, folder: Path) -> Path:
    """Check a file and move it to its final name in one step, its bytes on the disk first."""
    _check(dataset, path)
    with path.open("rb+") as file:
        os.fsync(file.fileno())
    return path.replace(folder / f"{dataset.name}.zip")


def _check(dataset: DataSet, path: Path) -> None:
    """Raise `_RefusedError` unless a file is the data set, and a zip that is safe to read."""
    import hashlib
    import stat

    if dataset.size not in (None, _size(path)):
        raise _RefusedError(f"{_size(path)} bytes long, not {dataset.size}")
    with path.open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if dataset.sha256 not in (None, found):
        raise _RefusedError(f"altered or damaged: its sha256 is {found}, not {dataset.sha256}")
    with _open_zip(path) as archive:
        for member in archive.infolist():
            inside = PureWindowsPath(member.filename)  # knows both slashes, and drives
            if inside.anchor or ".." in inside.parts or stat.S_ISLNK(member.external_attr >> 16):
                raise _RefusedError(f"unsafe zip: {member.filename!r} points out of it")
        unpacked = sum(member.file_size for member in archive.infolist())
        if unpacked > min(MAX_UNPACKED, MAX_RATIO * _size(path)):
            raise _RefusedError(f"unsafe zip: {_size(path)} bytes would become {unpacked}")
        if dataset.sha256 is None and (bad := archive.testzip()):
            raise _RefusedError(f"damaged zip: {bad!r} does not fit its checksum")


@contextmanager
def _open_zip(path: Path) -> Iterator[ZipFile]:
    import zipfile
    import zlib

    try:
        with zipfile.ZipFile(path) as archive:
            yield archive
    # What zipfile raises on a damaged file, one that is no zip, and one without the member.
    except (
        zipfile.BadZipFile,
        zlib.error,
        EOFError,
        LookupError,
        OSError,  # of a place before the file's beginning
        RuntimeError,
        ValueError,
    ) as error:
        raise _RefusedError(f"not an intact zip ({error})") from error


def _take(dataset: DataSet, folder: Path, source: Path) -> Path:
    """Place a copy of a file that the user got himself."""
    from shutil import copyfile

    copy = folder / f".{dataset.name}.copy"
    try:
        if not source.is_file():
            raise _RefusedError("no such file")
        if dataset.name == "ml-100k" and source.suffix == ".whl":
            return _unpack_wheel(folder, source)
        copyfile(source, copy)
        return _place(dataset, copy, folder)
    except _SourceError as error:
        raise DownloadError(f"'{source}' is not {dataset.name}: {error}") from error
    finally:
        copy.unlink(missing_ok=True)


def _from_pip(folder: Path) -> Path:
    """Get RecBole's wheel from the package index that the user's pip is set up for."""
    import subprocess
    from tempfile import TemporaryDirectory

    # A wheel is only a zip; of a source archive, pip would run the set-up script.
    options = ["--no-deps", "--only-binary=:all:", "--no-input", "--quiet", "--retries=1"]
    with TemporaryDirectory() as scratch:
        command = [sys.executable, "-m", "pip", "download", *options, "--dest", scratch, RECBOLE]
        try:
            run = subprocess.run(
                command, stdin=subprocess.DEVNULL, capture_output=True, timeout=PIP_TIMEOUT
            )
        except subprocess.TimeoutExpired:
            raise _SourceError(f"not done within {PIP_TIMEOUT:g} seconds") from None
        wheels = list(Path(scratch).glob("*.whl"))
        if run.returncode or not wheels:
            said = run.stderr.decode(errors="replace").strip().splitlines() or ["no wheel came"]
            raise _SourceError(said[-1].removeprefix("ERROR: "))
        return _unpack_wheel(folder, wheels[0])


def _unpack_wheel(folder: Path, wheel: Path) -> Path:
    """Place the two files in RecBole's wheel, checked, as a folder."""
    import hashlib
    from shutil import rmtree

    new, target = folder / ".ml-100k.new", folder / "ml-100k"
    rmtree(new, ignore_errors=True)
    try:
        new.mkdir()
        for name, (size, sha256) in RECBOLE_FILES.items():
            with _open_zip(wheel) as archive, archive.open(f"{RECBOLE_FOLDER}/{name}") as member:
                content = member.read(size + 1)
            if hashlib.sha256(content).hexdigest() != sha256:
                raise _RefusedError(f"altered or damaged: {name} has another sha256")
            (new / name).write_bytes(content)
        if not target.exists():
            return new.replace(target)
        for name in RECBOLE_FILES:  # one of them is missing there, or the folder is the user's own
            (new / name).replace(target / name)
        return target
    finally:
        rmtree(new, ignore_errors=True)
