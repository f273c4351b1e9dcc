"""No network unless a data set is asked for by name, and no file outside of the given folders.

An audit hook hears of connections, look-ups, programs and files; what compiled code writes by
itself is found by looking at the folders afterwards.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

from tests.test_storage import ROOT, names_in

WATCHED = """
import json, os, sys
outside, written, writing = [], [], os.O_WRONLY | os.O_RDWR | os.O_CREAT

def hook(event, args):
    if event == "subprocess.Popen" and list(args[1]) == ["uname", "-p"]:
        return  # Python's own `platform` asks for the kind of processor when a library wants it
    if event == "socket.bind" and args[1] == ("::1", 0):
        return  # urllib3, where gensim finds it, tries whether this machine itself has IPv6
    if event.startswith(("socket.connect", "socket.getaddrinfo", "socket.gethostby", "socket.bind",
                         "socket.send", "http.client", "urllib", "ftplib", "smtplib", "webbrowser",
                         "subprocess", "os.system", "os.exec", "os.posix_spawn")):
        outside.append(f"{event} {args!r:.200}")
        raise OSError(f"no {event} in this test")
    if event == "open" and args[2] & writing and isinstance(args[0], (str, bytes, os.PathLike)):
        written.append(os.path.abspath(os.fsdecode(args[0])))
    if event in ("os.mkdir", "os.rename", "os.remove", "os.rmdir", "os.symlink", "os.link"):
        place, handle = os.fsdecode(args[0]), args[-1]
        if handle >= 0:  # relative to an open folder, as when a tree is removed
            place = os.path.join(os.readlink(f"/proc/self/fd/{handle}"), place)
        written.append(os.path.abspath(place))

sys.addaudithook(hook)
from recsys.__main__ import main
codes = [main(words) for words in json.loads(sys.argv[1])]
print(json.dumps([codes, outside, written]))
"""
pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")


def watch(tmp_path, *commands):
    """Run commands in a child whose home, working, temporary and data folders are empty."""
    places = {name: tmp_path / name for name in ("home", "work", "tmp", "data")}
    for place in places.values():
        place.mkdir()
    environment = {
        "PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), "PYTHONDONTWRITEBYTECODE": "1",
        "HOME": str(places["home"]), "TMPDIR": str(places["tmp"]),
        "RECSYS_DATA": str(places["data"]), "OPENBLAS_NUM_THREADS": "1",
    }  # fmt: skip
    done = subprocess.run(
        [sys.executable, "-c", WATCHED, json.dumps(commands)],
        cwd=places["work"], env=environment, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return *json.loads(done.stdout.splitlines()[-1]), places, done.stderr


def test_no_command_touches_the_network_or_writes_where_it_was_not_told_to(tmp_path, sample):
    some, given = sample[sample["user_id"].isin(sample["user_id"].unique()[:60])], tmp_path / "here"
    given.mkdir()
    times = some["timestamp"].astype("int64")
    some.assign(timestamp=times).to_csv(given / "shop.csv", index=False)
    quick, model = ["--epochs", "1", "--vector-size", "8"], ["--model", str(given / "model")]
    data, out = ["--data", str(given / "shop.csv")], str(given / "out")
    user, item = str(some["user_id"].iloc[0]), str(some["item_id"].iloc[0])
    codes, outside, written, places, said = watch(
        tmp_path,
        ["train", *data, *model, *quick],
        ["evaluate", *data, "--json", *quick],
        ["recommend", user, *model],
        ["similar", item, *model, "--json"],
        *(["export", f"{out}/v.{kind}", "--format", kind, *model] for kind in ("sqlite", "npz")),
        ["recommend", "nobody", *model],
        ["train", "--data", "no-such-file.csv"],
    )
    assert codes == [0] * 6 + [1, 1], said
    assert outside == []
    allowed = (str(given / "model"), out, f"{places['tmp']}/", "/dev/null")
    assert {path for path in written if not path.startswith(allowed)} == set()
    assert any("here/model" in path for path in written)
    for name, place in places.items():
        assert names_in(place) == set(), name
    assert names_in(given) == {"shop.csv", "model", "out"}
    assert names_in(given / "out") == {"v.sqlite", "v.npz"}


def test_a_data_set_by_name_is_what_the_network_is_for(tmp_path):
    """So that the test above would see a connection."""
    codes, outside, *_, said = watch(tmp_path, ["download", "ml-1m"])
    assert codes == [1]
    assert outside
    assert "ml-1m" in said.splitlines()[-1]
