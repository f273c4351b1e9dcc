"""Every download here goes through real sockets, to a server made in this file."""

from __future__ import annotations

import dataclasses
import hashlib
import io
import logging
import random
import shutil
import signal
import socket
import ssl
import stat
import subprocess
import sys
import threading
import time
import zipfile
from collections.abc import Callable, Iterator
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from recsys.data import datasets as download
from recsys.data.datasets import DATASETS, DataSet, data_folder, fetch
from recsys.errors import DataError, DownloadError

ROOT = Path(download.__file__).parents[2]


def make_zip(members: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return buffer.getvalue()


ZIP = make_zip({"ml-tiny/ratings.csv": random.Random(0).randbytes(400_000)})
HALF = len(ZIP) // 2


def describe(content: bytes = ZIP) -> DataSet:
    sha256 = hashlib.sha256(content).hexdigest()
    return DataSet("ml-tiny", len(content), sha256, "made for this test")


class Handler(BaseHTTPRequestHandler):
    site: Site

    def do_GET(self) -> None:
        self.close_connection = True
        self.site.requests.append((self.path, self.headers.get("Range")))
        with suppress(OSError):  # the client hung up, which some tests are about
            self.site.answer(self)

    def log_message(self, *args: object) -> None:
        pass

    def start(self, status: int, **headers: object) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), str(value))
        self.end_headers()

    def send(self, content: bytes = ZIP, *, until: int | None = None, ranges: bool = True) -> None:
        """Answer as a file server does; `until` is the byte before which it hangs up."""
        span = self.headers.get("Range")
        begin = int(span.removeprefix("bytes=").removesuffix("-")) if span and ranges else 0
        if begin >= len(content):
            self.start(416)
            return
        length = len(content) - begin
        if begin:
            span = f"bytes {begin}-{len(content) - 1}/{len(content)}"
            self.start(206, Content_Length=length, Content_Range=span)
        else:
            self.start(200, Content_Length=length)
        self.wfile.write(content[begin:until])


class Site:
    """A file server on this machine; `answer` decides what it does with a request."""

    def __init__(self, certificate: Path | None = None) -> None:
        self.requests: list[tuple[str, str | None]] = []
        self.answer: Callable[[Handler], None] = Handler.send
        self.closing = threading.Event()
        handler = type("HandlerOfThisSite", (Handler,), {"site": self})
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        if certificate:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(certificate)
            self.server.socket = context.wrap_socket(self.server.socket, server_side=True)
        self.server.daemon_threads = False  # so that closing waits for them
        self.url = f"{'https' if certificate else 'http'}://127.0.0.1:{self.server.server_port}"
        self.thread = threading.Thread(target=self.server.serve_forever, args=(0.02,))
        self.thread.start()

    @property
    def ranges(self) -> list[str | None]:
        return [span for _, span in self.requests]

    def hang(self, handler: Handler) -> None:
        """Say nothing until the test is over."""
        self.closing.wait()

    def close(self) -> None:
        self.closing.set()
        self.server.shutdown()
        self.thread.join()
        self.server.server_close()


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Keep every test to its own data folder, away from the user's mirror and proxies."""
    monkeypatch.setenv("RECSYS_DATA", str(tmp_path / "data"))
    monkeypatch.setenv("no_proxy", "*")
    monkeypatch.delenv("RECSYS_DATA_MIRROR", raising=False)
    return tmp_path / "data"


@pytest.fixture
def site(monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    """Serve the data set `ml-tiny` in place of GroupLens."""
    site = Site()
    monkeypatch.setattr(download, "GROUPLENS", site.url)
    monkeypatch.setitem(DATASETS, "ml-tiny", describe())
    yield site
    site.close()


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make a certificate for 127.0.0.1 that nobody has signed."""
    if shutil.which("openssl") is None:
        pytest.skip("no openssl on this machine to make a certificate with")
    path = tmp_path_factory.mktemp("tls") / "certificate.pem"
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=test"]
    command += ["-addext", "subjectAltName=IP:127.0.0.1", "-keyout", path, "-out", f"{path}.crt"]
    subprocess.run(command, check=True, capture_output=True)
    path.write_text(path.read_text() + Path(f"{path}.crt").read_text())
    return path


@pytest.fixture
def secure_site(site: Site, certificate: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    """Serve the same over https, in place of GroupLens."""
    secure_site = Site(certificate)
    monkeypatch.setattr(download, "GROUPLENS", secure_site.url)
    yield secure_site
    secure_site.close()


def unreachable() -> str:
    """Return an address on which nobody listens."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{taken.getsockname()[1]}"


def names(folder: Path) -> set[str]:
    """Return what is in a folder, without the lock file, which stays."""
    return {path.name for path in folder.glob("*")} - {".ml-tiny.lock", ".ml-100k.lock"}


def refusal(name: str = "ml-tiny", **options: Path) -> str:
    """Fetch in vain and return the one line that says why."""
    with pytest.raises(DownloadError) as caught:
        fetch(name, **options)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def child(site: Site, before: str = "") -> subprocess.Popen[str]:
    """Fetch `ml-tiny` in another process."""
    code = (
        "import logging, recsys.data.datasets as download\n"
        "logging.basicConfig(level=logging.INFO)\n"
        f"download.GROUPLENS = {site.url!r}\n"
        f"download.DATASETS['ml-tiny'] = download.{describe()!r}\n"
        f"{before}\n"
        "print(download.fetch('ml-tiny'))\n"
    )
    return subprocess.Popen(
        [sys.executable, "-c", code],
        cwd=ROOT,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )


# One source, and what can go wrong on the way.


def test_a_data_set_is_downloaded_and_nothing_else_is_left(site: Site, folder: Path) -> None:
    assert fetch("ml-tiny") == folder / "ml-tiny.zip"
    assert (folder / "ml-tiny.zip").read_bytes() == ZIP
    assert names(folder) == {"ml-tiny.zip"}
    assert site.requests == [("/ml-tiny.zip", None)]


def test_a_copy_that_is_there_is_not_fetched_again(site: Site, folder: Path) -> None:
    assert fetch("ml-tiny") == fetch("ml-tiny")
    assert len(site.requests) == 1


def test_a_copy_of_another_size_is_fetched_again(site: Site, folder: Path) -> None:
    folder.mkdir()
    (folder / "ml-tiny.zip").write_bytes(ZIP[:HALF])
    assert fetch("ml-tiny").read_bytes() == ZIP


def test_a_cut_download_goes_on_where_it_was_cut(site: Site, folder: Path) -> None:
    site.answer = lambda handler: handler.send(until=HALF if len(site.requests) == 1 else None)
    assert fetch("ml-tiny").read_bytes() == ZIP
    assert site.ranges == [None, f"bytes={HALF}-"]


def test_a_cut_download_starts_again_where_the_server_knows_no_ranges(
    site: Site, folder: Path
) -> None:
    site.answer = lambda handler: handler.send(
        until=HALF if len(site.requests) == 1 else None, ranges=False
    )
    assert fetch("ml-tiny").read_bytes() == ZIP
    assert len(site.requests) == 2


@pytest.mark.parametrize("ranges", [True, False])
def test_a_connection_cut_at_the_same_byte_every_time_is_given_up(
    site: Site, folder: Path, ranges: bool
) -> None:
    site.answer = lambda handler: handler.send(until=HALF, ranges=ranges)
    assert "cut after" in refusal()
    assert len(site.requests) == 2
    assert names(folder) == {"ml-tiny.zip.part"}


def test_a_connection_cut_again_and_again_is_given_up_and_gone_on_with_by_the_next_call(
    site: Site, folder: Path
) -> None:
    site.answer = lambda handler: handler.send(until=1000 * len(site.requests))
    assert f"cut after {1000 * download.ATTEMPTS} of {len(ZIP)} bytes" in refusal()
    assert len(site.requests) == download.ATTEMPTS
    site.answer = Handler.send
    assert fetch("ml-tiny").read_bytes() == ZIP
    assert site.ranges[-1] == f"bytes={1000 * download.ATTEMPTS}-"
    assert names(folder) == {"ml-tiny.zip"}


def test_a_part_that_lacks_nothing_is_placed_without_a_request(site: Site, folder: Path) -> None:
    folder.mkdir()
    (folder / "ml-tiny.zip.part").write_bytes(ZIP)
    assert fetch("ml-tiny").read_bytes() == ZIP
    assert site.requests == []


@pytest.mark.parametrize("part", [b"x" * HALF, b"x" * len(ZIP), b"x" * (len(ZIP) + 1)])
def test_a_part_of_something_else_is_thrown_away_and_the_set_is_fetched_from_zero(
    site: Site, folder: Path, part: bytes
) -> None:
    folder.mkdir()
    (folder / "ml-tiny.zip.part").write_bytes(part)
    assert fetch("ml-tiny").read_bytes() == ZIP
    assert site.ranges[-1] is None


def test_a_server_that_sends_another_range_than_asked_for_is_not_believed(
    site: Site, folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    folder.mkdir()
    (folder / "ml-tiny.zip.part").write_bytes(ZIP[:HALF])

    def wrong(handler: Handler) -> None:
        if handler.headers.get("Range"):
            handler.start(206, Content_Range=f"bytes 7-{len(ZIP) - 1}/{len(ZIP)}")
        else:
            handler.send()

    site.answer = wrong
    assert fetch("ml-tiny").read_bytes() == ZIP
    assert f"asked for bytes from {HALF} on, it sent 'bytes 7-" in caplog.text


def test_an_answer_that_breaks_before_the_first_byte_leaves_no_empty_part(
    site: Site, folder: Path
) -> None:
    site.answer = lambda handler: handler.send(until=0)
    assert f"cut after 0 of {len(ZIP)} bytes" in refusal()
    assert names(folder) == set()


def test_an_altered_file_is_refused_by_its_checksum(site: Site, folder: Path) -> None:
    site.answer = lambda handler: handler.send(ZIP[:HALF] + b"?" + ZIP[HALF + 1 :])
    assert "altered or damaged: its sha256 is" in refusal()
    assert names(folder) == set()


@pytest.mark.parametrize("content", [ZIP[:-1], ZIP + b"?"])
def test_a_file_announced_with_another_size_is_refused_before_it_is_read(
    site: Site, folder: Path, content: bytes
) -> None:
    site.answer = lambda handler: handler.start(200, Content_Length=len(content))
    assert f"{len(content)} bytes long, not {len(ZIP)}" in refusal()
    assert names(folder) == set()


def test_a_file_that_does_not_end_is_cut_off_at_its_size(
    site: Site, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def endless(handler: Handler) -> None:
        handler.start(200)
        while True:
            handler.wfile.write(ZIP)

    site.answer = endless
    assert f"longer than {len(ZIP)} bytes" in refusal()
    monkeypatch.setitem(DATASETS, "ml-tiny", DataSet("ml-tiny", None, "0" * 64, ""))
    monkeypatch.setattr(download, "MAX_BYTES", 2 * len(ZIP))
    assert f"longer than {2 * len(ZIP)} bytes" in refusal()
    assert names(folder) == set()


def test_a_server_that_stalls_is_asked_again_and_given_up_when_nothing_more_comes(
    site: Site, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stall(handler: Handler) -> None:
        handler.send(until=HALF)
        site.hang(handler)

    monkeypatch.setattr(download, "STALL_TIMEOUT", 0.2)
    site.answer = stall
    started = time.monotonic()
    assert "timed out" in refusal()
    assert time.monotonic() - started < 3
    assert site.ranges == [None, f"bytes={HALF}-"]
    assert names(folder) == {"ml-tiny.zip.part"}


def test_a_server_that_never_answers_is_given_up(
    site: Site, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(download, "CONNECT_TIMEOUT", 0.2)
    site.answer = site.hang
    started = time.monotonic()
    assert "no answer within 0.2 seconds" in refusal()
    assert time.monotonic() - started < 2
    assert names(folder) == set()


def test_a_name_look_up_that_hangs_is_given_up_too(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    def hang(*args: object, **options: object) -> None:
        site.closing.wait()
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", hang)
    monkeypatch.setattr(download, "CONNECT_TIMEOUT", 0.2)
    assert "no answer within 0.2 seconds" in refusal()


def test_a_full_disk_is_one_line_and_leaves_nothing(site: Site, folder: Path) -> None:
    limit = "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))"
    process = child(site, limit)
    _, errors = process.communicate(timeout=20)
    last = errors.splitlines()[-1]
    assert last.startswith("recsys.errors.DownloadError: 'ml-tiny' could not be stored in ")
    assert "File too large" in last
    assert len(site.requests) == 1
    assert names(folder) == set()


def test_a_data_folder_that_cannot_be_made_is_one_line(site: Site, folder: Path) -> None:
    folder.write_text("a file")
    assert "could not be stored in" in refusal()


def test_a_file_without_a_checksum_is_read_through_with_a_warning(
    site: Site, folder: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setitem(DATASETS, "ml-tiny", DataSet("ml-tiny", None, None, ""))
    flipped = ZIP[:HALF] + bytes([ZIP[HALF] ^ 1]) + ZIP[HALF + 1 :]
    site.answer = lambda handler: handler.send(flipped)
    assert "ratings.csv" in refusal()
    assert names(folder) == set()
    site.answer = lambda handler: handler.send(until=HALF if len(site.requests) == 2 else None)
    assert fetch("ml-tiny").read_bytes() == ZIP
    assert site.ranges == [None, None, None]  # halves of two releases are never joined
    assert "ml-tiny changes over time" in caplog.text


# What is in the zip.


def link() -> zipfile.ZipInfo:
    member = zipfile.ZipInfo("ml-tiny/link")
    member.external_attr = (stat.S_IFLNK | 0o777) << 16
    return member


def one_member(member: str | zipfile.ZipInfo, content: bytes = b"/etc/passwd") -> bytes:
    return make_zip({member: content})  # type: ignore[dict-item]


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (one_member("../ratings.csv"), "'../ratings.csv' points out of it"),
        (one_member("ml-tiny/../../ratings.csv"), "points out of it"),
        (one_member("/etc/cron.d/ratings"), "points out of it"),
        (one_member("C:/ratings.csv"), "points out of it"),
        (one_member("ml-tiny\\..\\..\\ratings.csv"), "points out of it"),
        (one_member(link()), "'ml-tiny/link' points out of it"),
        (one_member("ml-tiny/ratings.csv", bytes(5_000_000)), "bytes would become 5000000"),
        (b"<html>Please log in</html>", "not an intact zip"),
        (ZIP[:HALF], "not an intact zip"),
        (b"", "not an intact zip"),
    ],
)
@pytest.mark.parametrize("checked", [True, False])
def test_a_zip_that_is_unsafe_or_none_is_refused_even_with_the_right_checksum(
    site: Site,
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    content: bytes,
    reason: str,
    checked: bool,
) -> None:
    dataset = describe(content) if checked else DataSet("ml-tiny", None, None, "")
    monkeypatch.setitem(DATASETS, "ml-tiny", dataclasses.replace(dataset, size=None))
    site.answer = lambda handler: handler.send(content) if content else handler.start(200)
    assert reason in refusal()
    assert names(folder) == set()


def test_members_that_unpack_to_more_than_they_say_are_not_unpacked_further(
    site: Site, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The directory of the zip lies: 10 bytes, where 5 million come out."""
    content = one_member("ml-tiny/ratings.csv", random.Random(1).randbytes(1000) * 5_000)
    end = content.rindex(b"PK\x01\x02")
    lying = bytearray(content)
    lying[end + 24 : end + 28] = (10).to_bytes(4, "little")
    monkeypatch.setitem(DATASETS, "ml-tiny", DataSet("ml-tiny", None, None, ""))
    site.answer = lambda handler: handler.send(bytes(lying))
    assert "does not fit its checksum" in refusal()
    assert names(folder) == set()


# Several sources.


def test_a_mirror_is_asked_first(site: Site, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RECSYS_DATA_MIRROR", f"{site.url}/mirror/")
    fetch("ml-tiny")
    assert site.requests == [("/mirror/ml-tiny.zip", None)]


def fail(handler: Handler) -> None:
    """Serve GroupLens' files but none of the mirror's."""
    handler.start(404) if handler.path.startswith("/mirror") else handler.send()


def alter(handler: Handler) -> None:
    handler.send(bytes(len(ZIP)) if handler.path.startswith("/mirror") else ZIP)


@pytest.mark.parametrize(("answer", "reason"), [(fail, "HTTP status 404"), (alter, "altered")])
def test_after_a_mirror_without_the_set_comes_grouplens(
    site: Site,
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    answer: Callable[[Handler], None],
    reason: str,
) -> None:
    caplog.set_level(logging.INFO)
    monkeypatch.setenv("RECSYS_DATA_MIRROR", f"{site.url}/mirror")
    site.answer = answer
    assert fetch("ml-tiny").read_bytes() == ZIP
    assert reason in caplog.text
    assert "ml-tiny: trying $RECSYS_DATA_MIRROR" in caplog.text
    assert f"ml-tiny: trying {site.url}/ml-tiny.zip" in caplog.text
    assert "Licence: made for this test" in caplog.text


def test_a_mirror_that_is_down_costs_neither_the_data_nor_an_earlier_part(
    site: Site, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder.mkdir()
    (folder / "ml-tiny.zip.part").write_bytes(ZIP[:HALF])
    monkeypatch.setenv("RECSYS_DATA_MIRROR", unreachable())
    assert fetch("ml-tiny").read_bytes() == ZIP
    assert site.ranges == [f"bytes={HALF}-"]


@pytest.mark.parametrize(
    "mirror",
    ["/srv/data", "file:///srv/data", "ftp://host/x", "https://me:secret@host/x", "https:"],
)
def test_a_mirror_that_is_no_web_address_is_passed_over_without_showing_a_password(
    site: Site, folder: Path, monkeypatch: pytest.MonkeyPatch, mirror: str
) -> None:
    monkeypatch.setenv("RECSYS_DATA_MIRROR", mirror)
    monkeypatch.setattr(download, "GROUPLENS", unreachable())
    message = refusal()
    assert "$RECSYS_DATA_MIRROR: not an address such as https://HOST/FOLDER" in message
    assert "secret" not in message


def test_a_set_without_a_checksum_is_not_taken_from_a_mirror_over_plain_http(
    site: Site, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(DATASETS, "ml-tiny", DataSet("ml-tiny", None, None, ""))
    monkeypatch.setenv("RECSYS_DATA_MIRROR", f"{site.url}/mirror")
    fetch("ml-tiny")
    assert site.requests == [("/ml-tiny.zip", None)]


def test_when_all_sources_fail_one_line_says_why_and_what_to_do(
    site: Site, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RECSYS_DATA_MIRROR", unreachable())
    site.answer = lambda handler: handler.start(503)
    assert refusal() == (
        "'ml-tiny' could not be had ($RECSYS_DATA_MIRROR: Connection refused; "
        f"{site.url}/ml-tiny.zip: HTTP status 503 Service Unavailable); "
        f"get {site.url}/ml-tiny.zip yourself and pass it with "
        "`recsys download ml-tiny --from-file PATH`"
    )
    assert names(folder) == set()


def test_a_host_without_an_address_is_named(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(download, "GROUPLENS", "https://grouplens.invalid")  # RFC 2606: never one
    assert "https://grouplens.invalid/ml-1m.zip: " in refusal("ml-1m")


def test_an_unknown_name_is_answered_with_the_known_ones(folder: Path) -> None:
    message = refusal("ml-2m")
    assert all(name in message for name in ["'ml-2m'", *DATASETS])
    assert not folder.exists()
    assert issubclass(DownloadError, DataError)


# Encryption.


def test_a_certificate_that_nobody_vouches_for_is_refused(secure_site: Site, folder: Path) -> None:
    assert "certificate verify failed" in refusal()
    assert secure_site.requests == []
    assert names(folder) == set()


def test_a_certificate_of_another_host_is_refused(
    secure_site: Site, folder: Path, certificate: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    elsewhere = secure_site.url.replace("127.0.0.1", "localhost")
    monkeypatch.setattr(download, "GROUPLENS", elsewhere)
    assert "certificate" in refusal()
    assert secure_site.requests == []
    assert names(folder) == set()


@pytest.mark.parametrize("to", ["file:///etc/passwd", "ftp://127.0.0.1/x.zip", "data:,x", "//"])
def test_a_redirect_to_anything_but_the_web_is_refused(site: Site, folder: Path, to: str) -> None:
    site.answer = lambda handler: handler.start(302, Location=to)
    assert f"{site.url}/ml-tiny.zip: " in refusal()
    assert names(folder) == set()


def test_redirects_in_a_circle_come_to_an_end(site: Site, folder: Path) -> None:
    site.answer = lambda handler: handler.start(302, Location="/ml-tiny.zip")
    assert "HTTP status 302" in refusal()
    assert len(site.requests) < 30
    assert names(folder) == set()


@pytest.mark.parametrize(
    "answer", [b"", b"\x00" * 1000, b"HTTP/1.1 200 OK\r\nContent-Length: -5\r\n\r\nx",
               b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 1000, b"HTTP/1.1 200 " + b"x" * 100_000]
)  # fmt: skip
def test_an_answer_that_is_no_http_is_one_line(site: Site, folder: Path, answer: bytes) -> None:
    site.answer = lambda handler: handler.wfile.write(answer)
    message = refusal()
    assert len(message) < 600
    assert message.isprintable()
    assert names(folder) <= {"ml-tiny.zip.part"}  # a byte is a beginning


def test_a_redirect_from_https_to_http_is_refused(
    secure_site: Site,
    site: Site,
    folder: Path,
    certificate: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    secure_site.answer = lambda handler: handler.start(302, Location=f"{site.url}/ml-tiny.zip")
    assert f"redirected to {site.url}/ml-tiny.zip, which is not https" in refusal()
    assert site.requests == []
    assert names(folder) == set()
    secure_site.answer = Handler.send
    assert fetch("ml-tiny").read_bytes() == ZIP  # the certificate was not what stopped it


def test_a_redirect_from_http_to_https_is_followed(
    secure_site: Site,
    site: Site,
    folder: Path,
    certificate: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    monkeypatch.setenv("RECSYS_DATA_MIRROR", site.url)
    site.answer = lambda handler: handler.start(301, Location=f"{secure_site.url}/x.zip")
    assert fetch("ml-tiny").read_bytes() == ZIP
    assert secure_site.requests == [("/x.zip", None)]


# Several processes.


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGKILL])
def test_an_interrupted_download_leaves_no_data_set_and_the_next_call_goes_on(
    site: Site, folder: Path, how: signal.Signals
) -> None:
    def stall(handler: Handler) -> None:
        handler.send(until=HALF)
        site.hang(handler)

    site.answer = stall
    part = folder / "ml-tiny.zip.part"
    process = child(site)
    waited = time.monotonic()
    while not (part.exists() and part.stat().st_size) and time.monotonic() - waited < 15:
        time.sleep(0.02)
    process.send_signal(how)
    process.communicate(timeout=15)
    assert process.returncode == -how
    assert names(folder) == {"ml-tiny.zip.part"}
    size = part.stat().st_size
    assert 0 < size <= HALF

    site.answer = Handler.send
    assert fetch("ml-tiny").read_bytes() == ZIP
    assert site.ranges == [None, f"bytes={size}-"]
    assert names(folder) == {"ml-tiny.zip"}


def test_two_processes_that_fetch_at_once_download_once(site: Site, folder: Path) -> None:
    def slow(handler: Handler) -> None:
        site.closing.wait(0.5)
        handler.send()

    site.answer = slow
    processes = [child(site), child(site)]
    outputs = [process.communicate(timeout=20)[0] for process in processes]
    assert outputs == [f"{folder / 'ml-tiny.zip'}\n"] * 2
    assert len(site.requests) == 1
    assert (folder / "ml-tiny.zip").read_bytes() == ZIP


# A file that the user has got himself.


def test_a_file_of_the_users_is_checked_and_copied(
    site: Site, folder: Path, tmp_path: Path
) -> None:
    source = tmp_path / "from a friend.zip"
    source.write_bytes(ZIP)
    folder.mkdir()
    (folder / "ml-tiny.zip.part").write_bytes(ZIP[:HALF])  # of a download that is no longer needed
    assert fetch("ml-tiny", from_file=source) == folder / "ml-tiny.zip"
    assert fetch("ml-tiny", from_file=folder / "ml-tiny.zip").read_bytes() == ZIP
    assert source.exists()
    assert names(folder) == {"ml-tiny.zip"}
    assert site.requests == []


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (ZIP[:-1], f"{len(ZIP) - 1} bytes long, not {len(ZIP)}"),
        (bytes(len(ZIP)), "altered or damaged"),
        (None, "no such file"),
    ],
)
def test_a_wrong_file_of_the_users_is_refused_and_the_good_copy_stays(
    site: Site, folder: Path, tmp_path: Path, content: bytes | None, reason: str
) -> None:
    fetch("ml-tiny")
    source = tmp_path / "wrong.zip"
    if content is not None:
        source.write_bytes(content)
    message = refusal(from_file=source)
    assert message.startswith(f"'{source}' is not ml-tiny: ")
    assert reason in message
    assert names(folder) == {"ml-tiny.zip"}
    assert fetch("ml-tiny").read_bytes() == ZIP


# The second source of ml-100k.

INTER = b"user_id:token\titem_id:token\trating:float\ttimestamp:float\n196\t242\t3\t881250949\n"
ITEM = b"item_id:token\tmovie_title:token_seq\n242\tKolya\n"


def make_wheel(inter: bytes = INTER) -> bytes:
    files = {"ml-100k.inter": inter, "ml-100k.item": ITEM, "ml-100k.user": b"not wanted"}
    return make_zip(
        {"recbole/__init__.py": b"raise SystemExit('no code of the wheel is ever run')"}
        | {f"{download.RECBOLE_FOLDER}/{name}": content for name, content in files.items()}
    )


@pytest.fixture
def wheel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Make a wheel with the layout of RecBole's, GroupLens being out of reach."""
    files = {
        name: (len(content), hashlib.sha256(content).hexdigest())
        for name, content in {"ml-100k.item": ITEM, "ml-100k.inter": INTER}.items()
    }
    monkeypatch.setattr(download, "RECBOLE_FILES", files)
    monkeypatch.setattr(download, "GROUPLENS", unreachable())
    path = tmp_path / "recbole-1.2.1-py3-none-any.whl"
    path.write_bytes(make_wheel())
    return path


def fake_pip(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, line: str) -> None:
    """Put a program that runs one line in the place of the Python that pip is run with."""
    program = tmp_path / "python"
    program.write_text(f"#!{sys.executable}\nimport shutil, sys, time\n{line}\n")
    program.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(program))


def test_ml_100k_comes_out_of_the_wheel_where_only_a_package_index_is_reached(
    wheel: Path, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    line = f"'--only-binary=:all:' in sys.argv and shutil.copy({str(wheel)!r}, sys.argv[-2])"
    fake_pip(monkeypatch, tmp_path, line)
    (folder / ".ml-100k.new" / "x").mkdir(parents=True)  # of a process that was killed
    assert fetch("ml-100k") == folder / "ml-100k"
    assert names(folder) == {"ml-100k"}
    assert names(folder / "ml-100k") == {"ml-100k.inter", "ml-100k.item"}
    assert (folder / "ml-100k" / "ml-100k.inter").read_bytes() == INTER
    wheel.unlink()
    assert fetch("ml-100k") == folder / "ml-100k"  # it is there, so pip is not asked again


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("sys.exit('WARNING: x\\nERROR: No matching distribution found')", ": No matching dist"),
        ("sys.exit('/usr/bin/python: No module named pip')", "No module named pip"),
        ("sys.exit(1)", "no wheel came"),
        ("", "no wheel came"),
        ("time.sleep(60)", "not done within 0.5 seconds"),
        ("open(sys.argv[-2] + '/x.whl', 'w').write('no zip')", "not an intact zip"),
    ],
)
def test_when_pip_fails_too_its_own_words_are_passed_on(
    wheel: Path,
    folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    line: str,
    reason: str,
) -> None:
    if "sleep" in line:
        monkeypatch.setattr(download, "PIP_TIMEOUT", 0.5)
    fake_pip(monkeypatch, tmp_path, line)
    started = time.monotonic()
    message = refusal("ml-100k")
    assert time.monotonic() - started < 10
    assert "Connection refused; pip download recbole==1.2.1: " in message
    assert reason in message
    assert names(folder) == set()


def test_a_wheel_of_the_users_is_taken_too_and_twice_is_no_error(wheel: Path, folder: Path) -> None:
    assert fetch("ml-100k", from_file=wheel) == folder / "ml-100k"
    (folder / "ml-100k" / "ml-100k.item").unlink()
    (folder / "ml-100k" / "notes.txt").write_text("the user's own")
    assert fetch("ml-100k", from_file=wheel) == folder / "ml-100k"
    expected = {"ml-100k.inter", "ml-100k.item", "notes.txt"}
    assert names(folder / "ml-100k") == expected
    assert names(folder) == {"ml-100k"}


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (make_wheel(INTER.replace(b"881250949", b"881250940")), "ml-100k.inter has another sha256"),
        (make_wheel(INTER + bytes(10**6)), "ml-100k.inter has another sha256"),
        (make_zip({"recbole/__init__.py": b""}), "no item named"),
        (make_wheel()[:300], "not an intact zip"),
    ],
)
def test_a_wheel_with_other_contents_is_refused(
    wheel: Path, folder: Path, content: bytes, reason: str
) -> None:
    wheel.write_bytes(content)
    assert reason in refusal("ml-100k", from_file=wheel)
    assert names(folder) == set()


def test_ml_100k_can_really_be_had_from_the_package_index(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(download, "GROUPLENS", unreachable())
    try:
        placed = fetch("ml-100k")
    except DownloadError:
        command = [sys.executable, "-m", "pip", "download", "--no-deps", "--dest", tmp_path]
        probe = subprocess.run(
            [*command, download.RECBOLE], capture_output=True, text=True, timeout=120
        )
        if probe.returncode:
            pytest.skip(f"pip itself cannot get {download.RECBOLE}: {probe.stderr.strip()[-300:]}")
        raise
    with (placed / "ml-100k.inter").open() as inter:
        assert sum(1 for _ in inter) == 100_001
    with (placed / "ml-100k.item").open() as item:
        assert sum(1 for _ in item) == 1683


# The folder, the list of sets, and what it costs to import them.


def test_the_data_folder_is_the_named_one_or_the_projects_or_the_current_ones(
    tmp_path: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert data_folder() == folder
    project, deep = tmp_path / "project", tmp_path / "project" / "other" / "deep"
    (project / "recsys").mkdir(parents=True)
    (project / "pyproject.toml").write_text('[project]\nname = "recsys"\n')
    deep.mkdir(parents=True)
    (deep.parent / "recsys").mkdir()
    (deep.parent / "pyproject.toml").write_text('[project]\nname = "another"\n')
    monkeypatch.setenv("RECSYS_DATA", "")
    monkeypatch.chdir(deep)
    assert data_folder() == project / "data"
    monkeypatch.chdir(tmp_path)
    assert data_folder() == tmp_path / "data"
    assert not folder.exists()
    assert not (project / "data").exists()


@pytest.mark.parametrize(
    "text", ["not toml [", "project = 'recsys'", "[tool.x]", "name = 1", "\xff"]
)
def test_a_project_file_of_another_kind_is_passed_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str
) -> None:
    (tmp_path / "recsys").mkdir()
    (tmp_path / "pyproject.toml").write_bytes(text.encode("latin-1"))
    monkeypatch.delenv("RECSYS_DATA")
    monkeypatch.chdir(tmp_path)
    assert data_folder() == tmp_path / "data"


def test_the_list_of_sets_is_complete() -> None:
    assert list(DATASETS) == [
        *("ml-100k", "ml-1m", "ml-10m", "ml-20m", "ml-25m", "ml-32m"),
        *("ml-latest-small", "ml-latest"),
    ]
    for name, dataset in DATASETS.items():
        assert dataset.url == f"https://files.grouplens.org/datasets/movielens/{name}.zip"
        assert dataset.sha256 is None or len(bytes.fromhex(dataset.sha256)) == 32
        assert dataset.licence.startswith("GroupLens")
        assert "\n" not in dataset.licence
    assert "no redistribution and no commercial use" in DATASETS["ml-100k"].licence


def test_importing_costs_no_network_module_and_prints_nothing() -> None:
    heavy = "urllib.request http ssl hashlib zipfile tqdm subprocess filelock tomllib shutil"
    code = (
        "import sys, recsys.data.datasets; "
        f"print(sorted(set({heavy.split()!r}) & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert (done.stdout, done.stderr) == ("[]\n", "")


def test_nothing_is_printed_where_stderr_is_no_terminal(
    site: Site, folder: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    fetch("ml-tiny")
    assert capfd.readouterr() == ("", "")
