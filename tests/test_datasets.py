"""Every download here goes through real sockets, to a server made in this file."""

from __future__ import annotations

import hashlib
import io
import re
import shutil
import signal
import ssl
import subprocess
import sys
import threading
import time
import zipfile
from contextlib import contextmanager, suppress
from itertools import chain, repeat
from pathlib import Path
from socketserver import StreamRequestHandler, ThreadingTCPServer

import pytest

from recsys.data import datasets
from recsys.data.datasets import DATASETS, DataSet, data_folder, fetch, sample_folder
from recsys.errors import DownloadError

ROOT = Path(datasets.__file__).parents[2]


def make_zip(members, method=zipfile.ZIP_DEFLATED):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", method) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return buffer.getvalue()


ZIP = make_zip({"ml-tiny/ratings.csv": hashlib.shake_128(b"0").digest(400_000)})
HALF = len(ZIP) // 2
CLOSED = "http://127.0.0.1:9"  # where nobody listens
TINY = DataSet("ml-tiny", len(ZIP), hashlib.sha256(ZIP).hexdigest(), "made for this test")
UNCHECKED = DataSet("ml-tiny", None, None, "made for this test")


def http(content=ZIP, status="200 OK", *, length=None):
    """Return the bytes of an answer that has, or says it has, `length` bytes of content."""
    length = len(content) if length is None else length
    return f"HTTP/1.1 {status}\r\nContent-Length: {length}\r\n\r\n".encode() + content


def redirect(url):
    return http(b"", f"302 Found\r\nLocation: {url}")


class Handler(StreamRequestHandler):
    """Answer with pieces of bytes; at None, wait for `go`."""

    def handle(self):
        with suppress(OSError, IndexError):  # the client hung up, which some tests are about
            path = self.rfile.readline().decode().split()[1]
            self.server.requests.append(path)
            while self.rfile.readline().strip():
                pass
            for piece in self.server.mirror if "/mirror/" in path else self.server.answer:
                self.server.go.wait() if piece is None else self.wfile.write(piece)


@contextmanager
def serving(context=None):
    """Run a server on this machine, with TLS if it is given a context."""
    with ThreadingTCPServer(("127.0.0.1", 0), Handler) as site:
        if context:
            site.socket = context.wrap_socket(site.socket, server_side=True)
        site.requests, site.answer, site.mirror, site.go = [], [http()], [http()], threading.Event()
        site.url = f"http{'s' if context else ''}://127.0.0.1:{site.server_address[1]}"
        thread = threading.Thread(target=site.serve_forever, args=(0.02,))
        thread.start()
        try:
            yield site
        finally:
            site.go.set()
            site.shutdown()
            thread.join()


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    """Keep every test to its own data folder, away from the network and the user's mirror."""
    monkeypatch.setenv("RECSYS_DATA", str(tmp_path / "data"))
    monkeypatch.setenv("no_proxy", "*")
    monkeypatch.delenv("RECSYS_DATA_MIRROR", raising=False)
    monkeypatch.setattr(datasets, "GROUPLENS", CLOSED)
    return tmp_path / "data"


@pytest.fixture
def site(monkeypatch):
    """Serve the data set `ml-tiny` in place of GroupLens."""
    with serving() as site:
        monkeypatch.setattr(datasets, "GROUPLENS", site.url)
        monkeypatch.setitem(DATASETS, "ml-tiny", TINY)
        yield site


def names(folder):
    """Return what is in a folder, but for the lock file."""
    return {path.name for path in folder.glob("*") if path.suffix != ".lock"}


def refusal(name="ml-tiny", **options):
    """Fetch in vain, leaving nothing behind, and return the one line that says why."""
    before = names(data_folder())
    with pytest.raises(DownloadError) as caught:
        fetch(name, **options)
    assert str(caught.value).isprintable()
    assert names(data_folder()) == before
    return str(caught.value)


@contextmanager
def child(site, before=""):
    """Fetch `ml-tiny` in another process."""
    code = f"""
import signal, recsys.data.datasets as datasets
signal.signal(signal.SIGINT, signal.default_int_handler)  # it is ignored in background jobs
datasets.GROUPLENS = {site.url!r}
datasets.DATASETS["ml-tiny"] = datasets.{TINY!r}
{before}
print(datasets.fetch("ml-tiny"))"""
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    with subprocess.Popen([sys.executable, "-c", code], cwd=ROOT, **pipes) as process:
        try:
            yield process
        finally:
            process.kill()


def test_a_data_set_is_downloaded_once_and_nothing_else_is_left_or_printed(site, folder, capfd):
    folder.mkdir()
    (folder / "ml-tiny.zip").write_bytes(ZIP[:HALF])  # not of the right size
    assert fetch("ml-tiny") == fetch("ml-tiny") == folder / "ml-tiny.zip"
    assert (folder / "ml-tiny.zip").read_bytes() == ZIP
    assert names(folder) == {"ml-tiny.zip"}
    assert site.requests == ["/ml-tiny.zip"]
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        ([http(ZIP[:HALF], length=len(ZIP))], f"cut after {HALF} of {len(ZIP)} bytes"),
        ([http(ZIP[:-1] + b"?")], "altered or damaged: its sha256 is"),
        ([http(b"", length=10**12)], f"1000000000000 bytes long, not {len(ZIP)}"),
        (chain([http(b"", length="")], repeat(ZIP)), f"longer than {len(ZIP)} bytes"),
        ([http(ZIP[:HALF], length=len(ZIP)), None], "timed out"),
        ([None], "timed out"),
        ([redirect("/ml-tiny.zip")], "infinite loop"),
        ([redirect("ftp://127.0.0.1/x")], "which is not https"),
        ([], "/ml-tiny.zip: "),
        ([http(b"", "404 \x1b[2J\x07")], r"\x1b[2J\x07"),
        ([http(b"", "200 " + "x" * 100_000)], "status line"),
    ],
)
def test_what_is_not_the_data_set_is_refused_with_the_reason(site, monkeypatch, answer, reason):
    monkeypatch.setattr(datasets, "TIMEOUT", 0.5)
    site.answer = answer
    assert reason in refusal()


def test_a_set_without_size_and_checksum_has_a_limit_and_is_read(site, monkeypatch, caplog):
    monkeypatch.setitem(DATASETS, "ml-tiny", UNCHECKED)
    monkeypatch.setattr(datasets, "MAX_BYTES", 2 * len(ZIP))
    site.answer = chain([http(b"", length="")], repeat(ZIP))
    assert f"longer than {2 * len(ZIP)} bytes" in refusal()
    site.answer = [http(ZIP[:HALF] + bytes([ZIP[HALF] ^ 1]) + ZIP[HALF + 1 :])]
    assert "ratings.csv" in refusal()
    site.answer = [http()]
    assert fetch("ml-tiny").read_bytes() == ZIP
    assert "ml-tiny changes over time" in caplog.text


def test_a_full_disk_and_a_file_in_the_way_are_one_line_and_leave_nothing(site, folder):
    limit = "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))"
    with child(site, limit) as process:
        last = process.communicate(timeout=60)[1].splitlines()[-1]
    assert re.match("recsys.errors.DownloadError: 'ml-tiny' could not be .*File too large", last)
    assert names(folder) == set()
    shutil.rmtree(folder)
    folder.write_text("a file")
    assert "'ml-tiny' could not be stored in" in refusal()


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGKILL])
def test_an_interrupted_download_leaves_no_data_set_and_does_not_stop_the_next(site, folder, how):
    site.answer = [http(ZIP[:HALF], length=len(ZIP)), None]
    with child(site) as process:
        until = time.monotonic() + 60
        while not any(folder.glob(".ml-tiny.new/*")) and time.monotonic() < until:
            time.sleep(0.02)
        process.send_signal(how)
        process.communicate(timeout=60)
    assert process.returncode == -how
    assert names(folder) == (set() if how == signal.SIGINT else {".ml-tiny.new"})
    site.answer = [http()]
    assert fetch("ml-tiny").read_bytes() == ZIP
    assert names(folder) == {"ml-tiny.zip"}


def test_two_processes_that_fetch_at_once_download_once(site, folder):
    site.answer = [None, http()]
    ready = "print('ready', flush=True)"
    with child(site, ready) as one, child(site, ready) as other:
        assert [one.stdout.readline(), other.stdout.readline()] == ["ready\n"] * 2
        time.sleep(0.5)  # in which the second would ask, were it not for the lock
        site.go.set()
        for process in (one, other):
            assert process.communicate(timeout=60)[0] == f"{folder / 'ml-tiny.zip'}\n"
    assert site.requests == ["/ml-tiny.zip"]


LINK = zipfile.ZipInfo("ml-tiny/link")
LINK.external_attr = 0o120777 << 16
OUTSIDE = ("../x", "/etc/cron.d/x", "C:/x", "ml\\..\\..\\x", LINK)
LYING = bytearray(make_zip({"ml-tiny/ratings.csv": hashlib.shake_128(b"1").digest(1000) * 5_000}))
LYING[(at := LYING.rindex(b"PK\x01\x02") + 24) : at + 4] = (10).to_bytes(4, "little")


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        *((make_zip({name: b"x"}), "points out of it") for name in OUTSIDE),
        (make_zip({"ml-tiny/ratings.csv": bytes(5_000_000)}), "bytes would become 5000000"),
        *((text, "not an intact zip") for text in (b"<html>Log in</html>", ZIP[:HALF], b"")),
        (make_zip({"x": b"x"}, zipfile.ZIP_LZMA), "neither stored nor deflated"),
        (bytes(LYING), "does not fit its checksum"),  # it says 10 bytes where 5 million come out
    ],
)
def test_a_zip_that_is_unsafe_or_none_is_refused(site, monkeypatch, content, reason):
    site.answer = [http(content)]
    for sha256 in [None] + [hashlib.sha256(content).hexdigest()] * (content != LYING):
        monkeypatch.setitem(DATASETS, "ml-tiny", DataSet("ml-tiny", None, sha256, ""))
        assert reason in refusal()


@pytest.mark.parametrize("content", [ZIP, bytes(len(ZIP))])
def test_a_mirror_is_asked_first_and_grouplens_if_it_fails(site, monkeypatch, caplog, content):
    site.mirror = [http(content)]
    caplog.set_level("INFO")
    monkeypatch.setenv("RECSYS_DATA_MIRROR", f"{site.url}/mirror/")
    assert fetch("ml-tiny").read_bytes() == ZIP
    assert site.requests == ["/mirror/ml-tiny.zip", "/ml-tiny.zip"][: 1 if content == ZIP else 2]
    assert "Licence: made for this test" in caplog.text


def test_when_all_sources_fail_one_line_says_why_and_what_to_do(monkeypatch):
    for mirror, name, reason in (
        ("file:///srv", "ml-1m", "not an address such as https://HOST/FOLDER"),
        ("https://me:secret@host/x", "ml-1m", "not an address such as https://HOST/FOLDER"),
        (CLOSED, "ml-latest", "plain http is not safe for a set without a checksum"),
        (CLOSED, "ml-1m", "Connection refused"),
    ):
        monkeypatch.setenv("RECSYS_DATA_MIRROR", mirror)
        assert refusal(name) == (
            f"'{name}' could not be fetched ($RECSYS_DATA_MIRROR: {reason}; "
            f"{CLOSED}/{name}.zip: Connection refused); get {CLOSED}/{name}.zip yourself and pass "
            f"it with `recsys download {name} --from-file PATH`"
        )
    known = "ml-100k, ml-1m, ml-10m, ml-20m, ml-25m, ml-32m, ml-latest-small, ml-latest"
    assert refusal("x\x1b[2J") == rf"no data set is called 'x\x1b[2J'; known are {known}"


def test_certificates_are_verified_and_no_redirect_leaves_https(site, tmp_path, monkeypatch):
    if shutil.which("openssl") is None:
        pytest.skip("no openssl on this machine to make a certificate with")
    key, certificate = tmp_path / "key.pem", tmp_path / "certificate.pem"  # signed by nobody
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=test"]
    command += ["-addext", "subjectAltName=IP:127.0.0.1", "-keyout", key, "-out", certificate]
    subprocess.run(command, check=True, capture_output=True)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    with serving(context) as secure:
        url = secure.url
        monkeypatch.setattr(datasets, "GROUPLENS", url)
        assert "certificate verify failed" in refusal()
        monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
        monkeypatch.setattr(datasets, "GROUPLENS", url.replace("127.0.0.1", "localhost"))
        assert "certificate" in refusal()
        assert secure.requests == []
        monkeypatch.setattr(datasets, "GROUPLENS", url)
        secure.answer = [redirect(f"{site.url}/ml-tiny.zip")]
        assert f"redirected to {site.url}/ml-tiny.zip, which is not https" in refusal()
        assert site.requests == []
        monkeypatch.setattr(datasets, "GROUPLENS", site.url)
        site.answer, secure.answer = [redirect(f"{url}/x.zip")], [http()]
        assert fetch("ml-tiny").read_bytes() == ZIP


def test_a_file_of_the_users_is_checked_and_copied(site, folder, tmp_path):
    source = tmp_path / "from a friend.zip"
    source.write_bytes(ZIP)
    assert fetch("ml-tiny", from_file=source) == folder / "ml-tiny.zip"
    assert fetch("ml-tiny", from_file=folder / "ml-tiny.zip").read_bytes() == ZIP
    for content in (ZIP[:-1], bytes(len(ZIP))):
        source.write_bytes(content)
        assert refusal(from_file=source).startswith(f"'{source}' is not ml-tiny: ")
    assert r"no\x07.zip' is not ml-tiny: no such file" in refusal(from_file=tmp_path / "no\x07.zip")
    assert fetch("ml-tiny").read_bytes() == ZIP  # the good copy has stayed
    assert site.requests == []


FILES = {"ml-100k.item": b"item_id:token\tmovie_title:token_seq\n", "ml-100k.inter": b"user_id\n"}


@pytest.fixture
def fake_pip(tmp_path, monkeypatch):
    """Run one line of Python instead of pip."""
    known = {name: (len(text), hashlib.sha256(text).hexdigest()) for name, text in FILES.items()}
    monkeypatch.setattr(datasets, "RECBOLE_FILES", known)
    program, first = tmp_path / "python", f"#!{sys.executable}\nimport shutil, sys, time\n"
    program.touch(0o755)
    monkeypatch.setattr(sys, "executable", str(program))
    return lambda line: program.write_text(first + line)


def test_ml_100k_also_comes_out_of_a_wheel(folder, fake_pip, tmp_path):
    def write_wheel(files):
        members = {f"{datasets.RECBOLE_FOLDER}/{name}": text for name, text in files.items()}
        wheel.write_bytes(make_zip(members))

    wheel = tmp_path / "recbole-1.2.1-py3-none-any.whl"
    write_wheel({"ml-100k.user": b"not wanted"} | FILES)
    fake_pip(f"'--only-binary=:all:' in sys.argv and shutil.copy({str(wheel)!r}, sys.argv[-2])")
    assert fetch("ml-100k") == folder / "ml-100k"
    assert names(folder) == {"ml-100k"}
    assert {path.name: path.read_bytes() for path in (folder / "ml-100k").iterdir()} == FILES
    fake_pip("sys.exit('asked again')")
    assert fetch("ml-100k") == folder / "ml-100k"
    (folder / "ml-100k" / "ml-100k.item").unlink()
    assert "asked again" in refusal("ml-100k")
    assert fetch("ml-100k", from_file=wheel) == folder / "ml-100k"
    assert names(folder / "ml-100k") == set(FILES)
    write_wheel(FILES | {"ml-100k.inter": bytes(10**6)})
    assert "ml-100k.inter has another sha256" in refusal("ml-100k", from_file=wheel)
    write_wheel({})
    assert "no item named" in refusal("ml-100k", from_file=wheel)


def test_when_pip_fails_too_its_own_words_are_shown(fake_pip, monkeypatch):
    lines = {
        "sys.exit('x\\nERROR: No \\x1b[2J distribution')": r"No \x1b[2J distribution",
        "sys.exit(1)": "no wheel came",
        "open(sys.argv[-2] + '/x.whl', 'w').write('no zip')": "not an intact zip",
        "time.sleep(60)": "not done within 0.5 seconds",
    }
    for line, reason in lines.items():
        monkeypatch.setattr(datasets, "PIP_TIMEOUT", 0.5 if "sleep" in line else 60)
        fake_pip(line)
        assert f"refused; pip download recbole==1.2.1: {reason}" in refusal("ml-100k")


def test_pip_gets_ml_100k_and_no_pip_in_the_current_folder_is_run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "pip.py").write_text("open('was_run', 'w')")
    try:
        assert fetch("ml-100k").joinpath("ml-100k.inter").read_bytes().count(b"\n") == 100_001
    except DownloadError as error:
        pytest.skip(str(error))
    finally:
        assert not Path("was_run").exists()


def test_the_data_folder_and_the_sample_are_found(tmp_path, folder, monkeypatch):
    assert data_folder() == folder
    project = tmp_path / "project"
    (project / "data" / "sample").mkdir(parents=True)
    (project / "recsys" / "data").mkdir(parents=True)
    (project / "recsys" / "data" / "datasets.py").touch()
    monkeypatch.delenv("RECSYS_DATA")
    for place in (project, project / "a", project / "b" / "c"):
        (place / "recsys").mkdir(parents=True, exist_ok=True)
        (place / "pyproject.toml").write_text("[" * 100_000)  # of somebody else: it is not parsed
        monkeypatch.chdir(place)
        assert data_folder() == project / "data"
    monkeypatch.chdir(tmp_path)
    assert data_folder() == tmp_path / "data"
    assert sample_folder() == ROOT / "data" / "sample"
    packaged = tmp_path / "recsys" / "data" / "sample"
    packaged.mkdir(parents=True)
    monkeypatch.setattr(datasets, "__file__", str(packaged.with_name("datasets.py")))
    assert sample_folder() == packaged
