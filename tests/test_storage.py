"""The model folder under every kind of trouble.

What could crash the interpreter, or is about several processes, runs in child processes.
"""

from __future__ import annotations

import hashlib
import json
import os
import pickle
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from recsys import ModelError, Recommender
from recsys.data.columns import TextColumn
from recsys.model import storage
from recsys.search.approximate import AnnoyIndex

ROOT = Path(__file__).parents[1]
posix = pytest.mark.skipif(os.name != "posix", reason="needs fork, signals or limits of POSIX")

# A model's content whose every part tells which generation it is of.
CONTENT = """
import numpy as np
from recsys.model import storage
from recsys.data.columns import TextColumn

def columns(generation):
    return {
        "numbers": np.full(50_000, generation),
        "matrix": np.full((1_000, 8), generation, np.float32),
        "names": TextColumn.of([str(generation)] * 100),
    }

def save(folder, generation):
    storage.save(
        folder,
        columns(generation),
        {"generation": generation},
        lambda path: path.write_bytes(bytes([generation]) * 5_000),
    )

def generation_of(stored):
    seen = {stored.manifest["generation"], *map(int, stored.columns["names"])}
    seen |= set(stored.columns["numbers"].tolist()) | set(stored.columns["matrix"].ravel().tolist())
    assert len(seen) == 1, seen
    return seen.pop()
"""
content: dict[str, Any] = {}
exec(CONTENT, content)
save, generation_of = content["save"], content["generation_of"]


def start(code: str, *args: Any, **env: str) -> subprocess.Popen[str]:
    """Start Python code of several lines in a child process, with `CONTENT` before it."""
    return subprocess.Popen(
        [sys.executable, "-c", CONTENT + code, *map(str, args)],
        env={**os.environ, "PYTHONPATH": str(ROOT), "OPENBLAS_NUM_THREADS": "1", **env},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def finish(child: subprocess.Popen[str]) -> str:
    """Return what it printed; a child that failed or crashed fails the test."""
    out, err = child.communicate(timeout=300)
    assert child.returncode == 0, f"exit {child.returncode}\n{out[-2000:]}\n{err[-4000:]}"
    return out


def run(code: str, *args: Any, **env: str) -> str:
    return finish(start(code, *args, **env))


def snapshot(folder: Path) -> dict[str, bytes | None]:
    """Every name under a folder, with the content of the files."""
    return {
        str(path.relative_to(folder)): path.read_bytes() if path.is_file() else None
        for path in sorted(folder.rglob("*"))
    }


def run_of(folder: Path) -> Path:
    return folder / (folder / "current").read_text().strip()


def names_in(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def only_the_model_is_in(folder: Path) -> bool:
    return names_in(folder) - {".lock"} == {"current", run_of(folder).name}


def seal(folder: Path) -> None:
    """Make manifest and pointer agree with whatever is in the files now, as a forger would."""
    old = run_of(folder)
    manifest = json.loads((old / "manifest.json").read_text())
    for name in manifest["files"]:
        content = (old / name).read_bytes()
        sha256 = hashlib.sha256(content).hexdigest()
        manifest["files"][name] = {"size": len(content), "sha256": sha256}
    text = json.dumps(manifest)
    (old / "manifest.json").write_text(text)
    new = "run-" + hashlib.sha256(text.encode()).hexdigest()[:16]
    old.rename(folder / new)
    (folder / "current").write_text(new)


@pytest.fixture(scope="module")
def tiny() -> Recommender:
    """A fitted model with every kind of file: texts, titles, watched apart from histories."""
    rng = np.random.default_rng(0)
    views = pd.DataFrame(
        {
            "user_id": [f"user {n}" for n in rng.integers(0, 30, 600)],
            "item_id": rng.integers(1, 101, 600),
            "rating": rng.integers(1, 6, 600),
        }
    )
    items = pd.DataFrame({"item_id": range(1, 101), "title": [f"Film {n}" for n in range(1, 101)]})
    return Recommender(epochs=1, vector_size=4, min_rating=2).fit(views, items)


@pytest.fixture(scope="module")
def saved(tiny: Recommender, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of `tiny`; tests change copies of it only."""
    folder = tmp_path_factory.mktemp("saved") / "model"
    tiny.save(folder)
    return folder


@pytest.fixture
def folder(saved: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(saved, tmp_path / "model"))


# ---- the round trip


def test_columns_manifest_and_index_come_back(tmp_path: Path) -> None:
    columns = {
        "ids": np.array([1, 2**63 + 1], dtype=np.uint64),
        "vectors": np.array([[0.5, -1.5]], np.float32),
        "nothing": np.empty((0, 3), np.int32),
        "texts": TextColumn.of(["", "é", "\ud800"]),
        "no_texts": TextColumn.of([]),
    }
    storage.save(tmp_path / "a" / "b", columns, {"params": {"x": None}}, lambda p: p.touch())
    stored = storage.load(tmp_path / "a" / "b")
    assert stored.columns.keys() == columns.keys()
    for name, column in columns.items():
        if isinstance(column, TextColumn):
            assert list(stored.columns[name]) == list(column)
        else:
            assert np.array_equal(stored.columns[name], column)
            assert stored.columns[name].dtype == column.dtype
    assert stored.manifest["params"] == {"x": None}
    assert stored.index == run_of(tmp_path / "a" / "b") / "index.ann"


def test_stored_arrays_are_read_only(folder: Path) -> None:
    stored = storage.load(folder)
    with pytest.raises(ValueError, match="read-only"):
        stored.columns["vectors"][0] = 0


def test_arrays_that_would_need_a_pickle_are_not_saved(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="pickle"):
        storage.save(tmp_path, {"objects": np.array([object()])}, {})


def test_a_loaded_model_recommends_what_the_fitted_one_does(
    tiny: Recommender, folder: Path
) -> None:
    loaded = Recommender.load(folder)
    assert loaded.params == tiny.params
    assert loaded.recommend_many().equals(tiny.recommend_many())
    for user in tiny.users:
        assert list(loaded.recommend(user)) == list(tiny.recommend(user))


def test_a_copied_and_a_moved_folder_still_load(
    tiny: Recommender, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    moved = tmp_path / "elsewhere" / "renamed"
    moved.parent.mkdir()
    folder.rename(moved)
    monkeypatch.chdir(moved.parent)
    for path in (moved, "renamed", "renamed/../renamed/"):
        assert list(Recommender.load(path).recommend("user 0")) == list(tiny.recommend("user 0"))


READ = """
import os, sys
from recsys import Recommender
Recommender.load(sys.argv[1]).recommend("user 0")  # imports what it needs
if os.getuid() == 0:
    os.setuid(65534)  # to root, nothing is read-only
try:
    open(sys.argv[1] + "/x", "w")
except PermissionError:
    print(len(Recommender.load(sys.argv[1]).recommend("user 0")))
"""


@posix
def test_a_read_only_folder_loads(saved: Path) -> None:
    pytest.importorskip("annoy")
    with tempfile.TemporaryDirectory() as parent:  # tmp_path is closed to other users
        os.chmod(parent, 0o755)
        folder = Path(shutil.copytree(saved, Path(parent) / "model"))
        for path in [folder, *folder.rglob("*")]:
            path.chmod(0o555 if path.is_dir() else 0o444)
        try:
            assert run(READ, folder).strip() == "10"
        finally:
            for path in [folder, *folder.glob("run-*")]:
                path.chmod(0o755)


def test_loading_leaves_the_folder_as_it_is(folder: Path) -> None:
    before = snapshot(folder)
    Recommender.load(folder)
    assert snapshot(folder) == before


# ---- the same content, the same bytes


def test_two_processes_save_the_same_bytes(tmp_path: Path) -> None:
    code = "import sys; from pathlib import Path; save(Path(sys.argv[1]), 3)"
    for seed in ("1", "2"):
        run(code, tmp_path / seed, PYTHONHASHSEED=seed)
    assert snapshot(tmp_path / "1") == snapshot(tmp_path / "2")
    assert snapshot(tmp_path / "1").keys() > {"current"}


def test_the_order_in_which_content_is_given_does_not_matter(tmp_path: Path) -> None:
    columns, manifest = content["columns"](1), {"a": 1, "params": {"x": 1, "y": 2}}
    storage.save(tmp_path / "one", columns, manifest)
    backwards = {name: columns[name] for name in reversed(columns)}
    storage.save(tmp_path / "other", backwards, {"params": {"y": 2, "x": 1}, "a": 1})
    assert snapshot(tmp_path / "one") == snapshot(tmp_path / "other")


def test_a_loaded_model_saves_the_bytes_it_was_loaded_from(folder: Path, tmp_path: Path) -> None:
    loaded = Recommender.load(folder)
    loaded.save(tmp_path / "again")
    assert snapshot(tmp_path / "again") == snapshot(folder)


def test_saving_the_same_again_keeps_the_run_and_renews_the_stamp(tmp_path: Path) -> None:
    save(tmp_path, 1)
    run, stamp = run_of(tmp_path), storage.stamp(tmp_path)
    inode = run.stat().st_ino
    save(tmp_path, 1)
    assert (run_of(tmp_path), run.stat().st_ino) == (run, inode)
    assert storage.stamp(tmp_path) != stamp


# ---- a save that fails


def fail(path: Path) -> None:
    path.write_bytes(b"half of it")
    raise OSError("the disk is full")


def test_a_save_that_fails_in_the_middle_leaves_the_old_model(tmp_path: Path) -> None:
    save(tmp_path, 1)
    before = snapshot(tmp_path)
    with pytest.raises(OSError, match="the disk is full"):
        storage.save(tmp_path, content["columns"](2), {"generation": 2}, fail)
    assert snapshot(tmp_path) == before
    assert generation_of(storage.load(tmp_path)) == 1


def test_a_first_save_that_fails_can_be_repeated(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="the disk is full"):
        storage.save(tmp_path / "model", {}, {}, fail)
    with pytest.raises(ModelError, match="recsys train"):
        storage.load(tmp_path / "model")
    save(tmp_path / "model", 1)
    assert generation_of(storage.load(tmp_path / "model")) == 1


FULL_DISK = """
import resource, sys
from pathlib import Path
from recsys import Recommender
folder = Path(sys.argv[1])
model = Recommender.load(sys.argv[2])  # another model than the folder's
before, user = list(model.recommend("user 0")), "user 0"
sizes = {path.stat().st_size for path in Path(sys.argv[2]).glob("run-*/*")}
hard = resource.getrlimit(resource.RLIMIT_FSIZE)[1]
for limit in sorted({0, 50, *(size - 1 for size in sizes)}):
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, hard))
    try:
        model.save(folder)
        raise SystemExit(f"a limit of {limit} bytes was not noticed")
    except OSError:
        pass
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
    assert generation_of(__import__("recsys").storage.load(folder)) == 1
    assert list(model.recommend(user)) == before
model.save(folder)
assert list(Recommender.load(folder).recommend(user)) == before
"""


@posix
def test_whatever_file_the_disk_is_full_at_the_old_model_stays(saved: Path, tmp_path: Path) -> None:
    save(tmp_path / "model", 1)
    run(FULL_DISK, tmp_path / "model", saved)
    assert only_the_model_is_in(tmp_path / "model")


@posix
def test_everything_is_on_the_disk_before_the_pointer_names_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A power cut cannot be had in a test; that fsync was called can be seen."""
    synced, real = [], os.replace

    def replace_pointer(new: Path, old: Path) -> None:
        (run,) = tmp_path.glob("run-*")
        assert {path.stat().st_ino for path in (new, run, *run.iterdir())} <= set(synced)
        real(new, old)
        synced.clear()

    monkeypatch.setattr(os, "fsync", lambda handle: synced.append(os.fstat(handle).st_ino))
    monkeypatch.setattr(os, "replace", replace_pointer)
    save(tmp_path, 1)
    assert synced == [tmp_path.stat().st_ino]


# ---- kill -9

# A forked child saves; killed at its n-th file operation, then at the next, until it gets through.
KILLED_AT_EVERY_STEP = """
import os, signal, sys
from pathlib import Path
folder = Path(sys.argv[1])
WATCHED = {"open", "os.mkdir", "os.rename", "os.remove", "os.rmdir", "shutil.rmtree"}

def saves_until_step(last):
    step = 0
    def hook(event, args):
        nonlocal step
        if event in WATCHED:  # os.kill is an event too
            step += 1
            if step == last:
                os.kill(os.getpid(), signal.SIGKILL)
    sys.addaudithook(hook)
    save(folder, 2)
    os._exit(0)

save(folder, 1)
step, seen = 0, []
while not seen or seen[-1] is not None:
    step += 1
    pid = os.fork()
    if pid == 0:
        saves_until_step(step)
    killed = os.WIFSIGNALED(os.waitpid(pid, 0)[1])
    seen.append(generation_of(storage.load(folder)) if killed else None)
    save(folder, 1)
    names = {path.name for path in folder.iterdir()} - {".lock", "current"}
    assert len(names) == 1, names
    assert generation_of(storage.load(folder)) == 1
print(seen.index(2), len(seen))
assert seen[:-1] == sorted(seen[:-1]), seen
"""

# A forked child saves one generation after the other until it is killed at a random moment.
KILLED_AT_RANDOM = """
import os, random, signal, sys, time
from pathlib import Path
folder, random = Path(sys.argv[1]), random.Random(0)
save(folder, 1)
started = time.perf_counter()
save(folder, 2)
seconds = time.perf_counter() - started
for _ in range(int(sys.argv[2])):
    pid = os.fork()
    if pid == 0:
        for generation in range(100):
            save(folder, generation)
        os._exit(0)
    time.sleep(4 * seconds * random.random())
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    generation_of(storage.load(folder))
    if random.random() < 0.5:  # else the next child finds what this one has left
        save(folder, 101)
        assert generation_of(storage.load(folder)) == 101
        names = {path.name for path in folder.iterdir()} - {".lock", "current"}
        assert len(names) == 1, names
"""


@posix
def test_killed_at_any_step_of_a_save_the_model_is_the_old_or_the_new_one(tmp_path: Path) -> None:
    first_new, steps = map(int, run(KILLED_AT_EVERY_STEP, tmp_path / "model").split())
    assert 10 < first_new < steps - 1


@posix
@pytest.mark.parametrize("kills", [20, pytest.param(200, marks=pytest.mark.slow)])
def test_killed_at_random_the_model_is_whole_and_the_next_save_sweeps(
    kills: int, tmp_path: Path
) -> None:
    run(KILLED_AT_RANDOM, tmp_path / "model", kills)


# ---- several processes at once

READER = """
import sys
from pathlib import Path
folder, stop, loads = Path(sys.argv[1]), Path(sys.argv[2]), 0
seen = set()
while not stop.exists() or loads == 0:
    seen.add(generation_of(storage.load(folder)))
    loads += 1
print(loads, len(seen))
"""
WRITER = """
import sys
from pathlib import Path
for i in range(int(sys.argv[2])):
    save(Path(sys.argv[1]), 1 + i % int(sys.argv[3]))
"""


def read_while(folder: Path, writers: list[tuple[int, int]], n_readers: int = 2) -> list[int]:
    """Let each writer save n times, turning between some models; return what readers saw."""
    stop = folder.with_name("stop")
    save(folder, 1)
    readers = [start(READER, folder, stop) for _ in range(n_readers)]
    try:
        for writer in [start(WRITER, folder, *writer) for writer in writers]:
            finish(writer)
    finally:
        stop.touch()
    counts = [list(map(int, finish(reader).split())) for reader in readers]
    assert all(loads > 0 for loads, _ in counts)
    return [models for _, models in counts]


@posix
@pytest.mark.parametrize("n_saves", [50, pytest.param(1000, marks=pytest.mark.slow)])
@pytest.mark.parametrize("n_models", [2, 50])
def test_readers_see_one_whole_model_while_it_is_replaced(
    n_saves: int, n_models: int, tmp_path: Path
) -> None:
    """With two models by turns, the one that a reader has opened is gone and there again."""
    seen = read_while(tmp_path / "model", [(n_saves, n_models)])
    assert max(seen) > 1
    assert only_the_model_is_in(tmp_path / "model")


@posix
@pytest.mark.parametrize("n_saves", [15, pytest.param(300, marks=pytest.mark.slow)])
def test_two_writers_at_once_leave_one_whole_model(n_saves: int, tmp_path: Path) -> None:
    read_while(tmp_path / "model", [(n_saves, 2), (n_saves, 3)], n_readers=1)
    assert generation_of(storage.load(tmp_path / "model")) in (1, 2, 3)
    assert only_the_model_is_in(tmp_path / "model")


@posix
@pytest.mark.parametrize("n_saves", [30, pytest.param(300, marks=pytest.mark.slow)])
def test_saving_the_same_again_does_not_disturb_readers(n_saves: int, tmp_path: Path) -> None:
    assert read_while(tmp_path / "model", [(n_saves, 1)]) == [1, 1]


def test_a_reader_starts_over_where_the_model_was_replaced_and_put_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save(tmp_path, 1)
    load_run, calls = storage._load_run, []

    def replaced_meanwhile(run: Path, *, verify: bool) -> storage.Stored:
        calls.append(run)
        if len(calls) == 1:
            save(tmp_path, 2)
            with pytest.raises(ModelError) as caught:
                load_run(run, verify=verify)
            save(tmp_path, 1)
            raise caught.value
        return load_run(run, verify=verify)

    monkeypatch.setattr(storage, "_load_run", replaced_meanwhile)
    assert generation_of(storage.load(tmp_path)) == 1
    assert calls[0] == calls[1]


# ---- folders that are not, or not only, ours


@pytest.mark.parametrize(
    "names",
    [
        ["notes.txt"],
        [".lock", "notes.txt"],
        ["run-1/weights.bin", "run-2/weights.bin"],
        ["run-final/weights.bin", "current"],
        ["current/app.py", "releases/1/app.py"],
        [".tmp-mine/draft.txt"],
    ],
)
def test_a_foreign_folder_is_refused_and_left_as_it_is(names: list[str], tmp_path: Path) -> None:
    for name in names:
        (tmp_path / name).parent.mkdir(exist_ok=True, parents=True)
        (tmp_path / name).write_text("precious")
    before = snapshot(tmp_path)
    with pytest.raises(ModelError, match="is not empty and holds no model"):
        save(tmp_path, 1)
    assert snapshot(tmp_path) == before


def test_a_file_in_the_place_of_the_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "model").write_text("precious")
    with pytest.raises(ModelError, match="is a file"):
        save(tmp_path / "model", 1)
    with pytest.raises(ModelError, match="recsys train"):
        storage.load(tmp_path / "model")
    assert (tmp_path / "model").read_text() == "precious"


def test_what_a_user_has_put_beside_the_model_stays(tmp_path: Path) -> None:
    save(tmp_path, 1)
    for name in ("README.txt", "run-notes.txt", ".tmp-mine"):
        (tmp_path / name).write_text("precious")
    save(tmp_path, 2)
    assert generation_of(storage.load(tmp_path)) == 2
    assert names_in(tmp_path) >= {"README.txt", "run-notes.txt", ".tmp-mine"}


LEFTOVERS = ["run-0123456789abcdef", ".tmp-run", ".tmp-replaced"]


@pytest.mark.parametrize("leftover", LEFTOVERS)
def test_what_a_killed_save_has_left_is_swept_and_links_are_not_followed(
    leftover: str, tmp_path: Path
) -> None:
    outside, folder = tmp_path / "outside", tmp_path / "model"
    outside.mkdir()
    (outside / "file").write_text("precious")
    save(folder, 1)
    (folder / leftover).mkdir()
    (folder / leftover / "link").symlink_to(outside)
    (folder / ".tmp-current").symlink_to(outside / "file")
    for other in set(LEFTOVERS) - {leftover}:
        (folder / other).symlink_to(outside)
    save(folder, 2)
    assert only_the_model_is_in(folder)
    assert (outside / "file").read_text() == "precious"


# ---- damage: the pointer


@pytest.mark.parametrize(
    "text", [b"", b"\xff\x00", b"run-", b"../../etc", b"run-0123456789ABCDEF", b"run-1\nrun-2"]
)
def test_a_damaged_pointer_is_named_and_healed_by_the_next_save(
    text: bytes, tmp_path: Path
) -> None:
    save(tmp_path, 1)
    (tmp_path / "current").write_bytes(text)
    with pytest.raises(ModelError, match=r"current' is damaged.*recsys train"):
        storage.load(tmp_path)
    save(tmp_path, 2)
    assert generation_of(storage.load(tmp_path)) == 2
    assert only_the_model_is_in(tmp_path)


def test_a_failing_save_keeps_the_run_that_a_damaged_pointer_has_lost(tmp_path: Path) -> None:
    save(tmp_path, 1)
    run, pointer = run_of(tmp_path), (tmp_path / "current").read_bytes()
    (tmp_path / "current").write_bytes(b"?")
    with pytest.raises(OSError, match="the disk is full"):
        storage.save(tmp_path, {}, {}, fail)
    (tmp_path / "current").write_bytes(pointer)
    assert generation_of(storage.load(tmp_path)) == 1
    assert run.exists()


def test_a_missing_model_names_the_command_that_makes_one(tmp_path: Path) -> None:
    save(tmp_path / "unpointed", 1)
    (tmp_path / "unpointed" / "current").unlink()
    for folder in (tmp_path / "nothing", tmp_path, tmp_path / "unpointed"):
        for ask in (storage.load, storage.stamp, Recommender.load):
            with pytest.raises(ModelError, match=r"no model in '.*recsys train"):
                ask(folder)


def test_a_run_that_is_gone_is_named(folder: Path) -> None:
    shutil.rmtree(run_of(folder))
    with pytest.raises(ModelError, match=r"run-\w+/manifest.json' cannot be read: No such file"):
        storage.load(folder)


def test_a_newer_format_is_an_error_that_names_both_versions(tmp_path: Path) -> None:
    storage.save(tmp_path, {}, {"format": 7})
    with pytest.raises(ModelError, match="format version 7 and this recsys reads 3"):
        storage.load(tmp_path)


@pytest.mark.parametrize("name", ["numbers.npy", "names.text.npy", "index.ann", "manifest.json"])
def test_saving_the_same_again_heals_a_damaged_run(name: str, tmp_path: Path) -> None:
    save(tmp_path, 1)
    before = snapshot(tmp_path)
    for damage in (lambda path: path.write_bytes(b"?"), lambda path: path.unlink()):
        damage(run_of(tmp_path) / name)
        save(tmp_path, 1)
        assert snapshot(tmp_path) == before


# ---- damage: any file, any kind


class Touch:
    """Unpickled, it makes a file: the harmless form of an attack."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return Path.touch, (self.path,)


def truncate(path: Path, size: Callable[[int], int]) -> None:
    os.truncate(path, size(path.stat().st_size))


def flip(path: Path, place: float) -> None:
    data = bytearray(path.read_bytes())
    data[int(place * (len(data) - 1))] ^= 0x10
    path.write_bytes(data)


def replace(path: Path, make: Callable[[Path], Any]) -> None:
    path.unlink()
    make(path)


def pickled(path: Path) -> bytes:
    return pickle.dumps(Touch(path.parents[2] / "executed"))


def object_array(path: Path) -> None:
    array = np.array([Touch(path.parents[2] / "executed")], dtype=object)
    with path.open("wb") as file:
        np.save(file, array, allow_pickle=True)


DAMAGES: dict[str, Callable[[Path], Any]] = {
    "half": lambda path: truncate(path, lambda size: size // 2),
    "all but one byte": lambda path: truncate(path, lambda size: size - 1),
    "one byte more": lambda path: truncate(path, lambda size: size + 1),
    "empty": lambda path: truncate(path, lambda size: 0),
    "first byte": lambda path: flip(path, 0),
    "middle byte": lambda path: flip(path, 0.5),
    "last byte": lambda path: flip(path, 1),
    "zeros": lambda path: path.write_bytes(bytes(path.stat().st_size)),
    "pickle": lambda path: path.write_bytes(pickled(path)),
    "object array": object_array,
    "link": lambda path: path.symlink_to(path.rename(path.parents[1] / f"moved {path.name}")),
    "link to itself": lambda path: replace(path, lambda path: path.symlink_to(path)),
    "folder": lambda path: replace(path, Path.mkdir),
    "fifo": lambda path: replace(path, os.mkfifo),
    "10 GB": lambda path: truncate(path, lambda size: 10 << 30),
    "missing": lambda path: path.unlink(),
}

# Loads each folder and asks everything a model can answer; one line for each: how that went.
USE = """
import logging, resource, sys
from pathlib import Path
import pandas, scipy.sparse
from recsys import ModelError, Recommender
if sys.platform == "linux":  # nobody may try to read 10 GB
    resource.setrlimit(resource.RLIMIT_AS, (8 << 30, 8 << 30))
notices = []
logging.getLogger("recsys").addHandler(type("H", (logging.Handler,), {
    "emit": lambda self, record: notices.append(record.getMessage())})())

def use(model):
    for ask in (
        lambda: model.recommend("user 0"),
        lambda: model.recommend_many(),
        lambda: model.recommend_for(model.items[:3].tolist()),
        lambda: model.similar_items(model.items[0]),
        lambda: model.similar_items("Film 3"),
        lambda: model.explain("user 0", model.items[0]),
        lambda: repr(model.popular()),
        lambda: (model.users, model.items),
    ):
        try:
            ask()
        except Exception as error:
            print("   ", type(error).__name__, error)

for folder in map(Path, sys.stdin.read().splitlines()):
    print("NEXT", folder.name, flush=True)
    notices.clear()
    try:
        model = Recommender.load(folder, verify=sys.argv[1] == "verify")
    except ModelError as error:
        print("ModelError", error)
        continue
    print("loaded", *notices)
    use(model)
"""


def outcomes(folders: list[Path], *, verify: bool) -> dict[str, str]:
    """How loading went, by folder name."""
    child = subprocess.run(
        [sys.executable, "-X", "faulthandler", "-c", USE, "verify" if verify else "trust"],
        input="\n".join(map(str, folders)),
        env={**os.environ, "PYTHONPATH": str(ROOT), "OPENBLAS_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert child.returncode == 0, child.stdout[-1000:] + child.stderr[-3000:]
    parts = child.stdout.split("NEXT ")[1:]
    return {part.split("\n")[0]: part.split("\n")[1] for part in parts}


@posix
def test_any_damage_to_any_file_is_named_or_the_index_rebuilt(saved: Path, tmp_path: Path) -> None:
    """Never a crash, never a pickle executed."""
    names = ["current", *(f"{run_of(saved).name}/{n}" for n in names_in(run_of(saved)))]
    folders = []
    for name in names:
        for kind, damage in DAMAGES.items():
            folder = Path(shutil.copytree(saved, tmp_path / f"{Path(name).name}, {kind}"))
            damage(folder / name)
            folders.append(folder)
    went = outcomes(folders, verify=True)
    assert len(went) == len(folders) == len(names) * len(DAMAGES)
    for case, outcome in went.items():
        name, kind = case.split(", ")
        if name == "index.ann":
            assert outcome.startswith("loaded '"), (case, outcome)
            assert "index.ann'" in outcome, (case, outcome)
            assert outcome.endswith("; the index is rebuilt from the vectors"), (case, outcome)
        elif case == "current, all but one byte":  # it was the line's end
            assert outcome == "loaded"
        elif case in ("current, missing", "current, link to itself"):
            assert "no model in" in outcome, (case, outcome)
        else:
            assert outcome.startswith("ModelError"), (case, outcome)
            assert f"{name}'" in outcome, (case, outcome)
    assert not (tmp_path / "executed").exists()
    assert not list(tmp_path.glob("*/executed"))


@posix
def test_sizes_are_compared_even_where_checksums_are_not(saved: Path, tmp_path: Path) -> None:
    folders = []
    for name in names_in(run_of(saved)) - {"manifest.json"}:
        for kind in ("half", "all but one byte", "one byte more", "empty", "10 GB"):
            folder = Path(shutil.copytree(saved, tmp_path / f"{name}, {kind}"))
            DAMAGES[kind](run_of(folder) / name)
            folders.append(folder)
    for case, outcome in outcomes(folders, verify=False).items():
        name, _ = case.split(", ")
        assert f"{name}' is damaged (its size or checksum" in outcome, (case, outcome)
        assert outcome.startswith("loaded" if name == "index.ann" else "ModelError")


def test_a_manifest_that_was_edited_is_damaged(folder: Path) -> None:
    path = run_of(folder) / "manifest.json"
    path.write_text(path.read_text().replace('"ridge": 0.5', '"ridge": 0.6'))
    for verify in (True, False):
        with pytest.raises(ModelError, match=r"manifest.json' is damaged"):
            Recommender.load(folder, verify=verify)


@pytest.mark.parametrize(
    "text", [b"", b"{}", b"[]", b"null", b"\xff", b'{"format": 3}', b"[" * 100_000]
)
def test_a_manifest_that_is_none_is_damaged(text: bytes, folder: Path) -> None:
    (run_of(folder) / "manifest.json").write_bytes(text)
    with pytest.raises(ModelError, match=r"manifest.json' is damaged"):
        Recommender.load(folder)


def arrays_of(folder: Path) -> list[str]:
    return sorted(path.name for path in run_of(folder).glob("*.npy"))


@posix
def test_swapped_and_cut_arrays_never_crash_even_with_a_matching_manifest(
    saved: Path, tmp_path: Path
) -> None:
    names, folders = arrays_of(saved), []
    for i, one in enumerate(names):
        for other in names[:i]:
            folder = Path(shutil.copytree(saved, tmp_path / f"{one} for {other}"))
            run = run_of(folder)
            (run / one).rename(run / "swap")
            (run / other).rename(run / one)
            (run / "swap").rename(run / other)
            folders.append(folder)
        for kind in ("half", "all but one byte", "empty", "zeros", "pickle", "object array"):
            folder = Path(shutil.copytree(saved, tmp_path / f"{one}, {kind}"))
            DAMAGES[kind](run_of(folder) / one)
            folders.append(folder)
    for folder in folders:
        seal(folder)
    for verify in (True, False):
        went = outcomes(folders, verify=verify)
        assert len(went) == len(folders)
        for case, outcome in went.items():
            if ", " in case and "zeros" not in case:
                assert outcome.startswith("ModelError"), (case, outcome)
    assert not list(tmp_path.rglob("executed"))


@posix
def test_unverified_arrays_with_random_bytes_never_crash(saved: Path, tmp_path: Path) -> None:
    """Half of the time in the header, where numpy reads; else among the numbers."""
    rng, folders = np.random.default_rng(0), []
    for name in arrays_of(saved):
        for case in range(8):
            folder = Path(shutil.copytree(saved, tmp_path / f"{name}, {case}"))
            path = run_of(folder) / name
            data = np.frombuffer(path.read_bytes(), np.uint8).copy()
            part = data[:80] if case % 2 else data[128:]
            places = rng.integers(0, len(part), [1, 3, 1000][case % 3]) if len(part) else []
            part[places] = rng.integers(0, 256, len(places))
            path.write_bytes(data.tobytes())
            folders.append(folder)
    assert len(outcomes(folders, verify=False)) == len(folders)


# ---- content that the checksums vouch for, and that is wrong all the same


def with_column(folder: Path, name: str, column: Any) -> Path:
    """The same model saved anew with one column changed."""
    stored = storage.load(folder)
    storage.save(folder, {**stored.columns, name: column}, stored.manifest)
    return folder


@pytest.mark.parametrize("value", [np.nan, np.inf])
@pytest.mark.parametrize("name", ["vectors", "contexts"])
def test_numbers_that_are_none_are_refused(name: str, value: float, folder: Path) -> None:
    matrix = storage.load(folder).columns[name].copy()
    matrix[3, 1] = value
    with pytest.raises(ModelError, match=f"does not fit together: {name} holds NaN or infinity"):
        Recommender.load(with_column(folder, name, matrix))


@pytest.mark.parametrize("longest", [[3, 100], [-1, 3], [0.5]])
def test_longest_vectors_that_are_not_there_are_refused(longest: Any, folder: Path) -> None:
    pytest.importorskip("annoy")
    with pytest.raises(ModelError, match="does not fit together: longest does not point at items"):
        Recommender.load(with_column(folder, "longest", np.array(longest)))


def test_what_was_chosen_for_the_index_is_stored_and_used(tiny: Recommender, folder: Path) -> None:
    pytest.importorskip("annoy")
    assert tiny.ann["overlap"] >= 0.98
    for index in (None, "index.ann"):
        if index is not None:
            (run_of(folder) / index).write_bytes(b"")
        loaded = Recommender.load(folder)
        assert loaded.ann == tiny.ann
        assert loaded.index.search_k == tiny.ann["search_k"]
        assert np.array_equal(loaded.index.longest, tiny.index.longest)


def test_a_model_saved_before_the_index_was_chosen_answers_and_is_saved_again(
    tiny: Recommender, folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    stored = storage.load(folder)
    columns = {name: column for name, column in stored.columns.items() if name != "longest"}
    manifest = {name: value for name, value in stored.manifest.items() if name != "ann"}
    write = tiny.index.save if isinstance(tiny.index, AnnoyIndex) else None
    storage.save(folder, columns, manifest, write)
    old = Recommender.load(folder)
    old.save(folder)
    for model in (old, Recommender.load(folder)):
        assert model.ann == {}
        assert list(model.recommend("user 0")) == list(tiny.recommend("user 0"))
    assert caplog.text == ""


def test_another_dimension_is_refused(folder: Path) -> None:
    with pytest.raises(ModelError, match="does not fit together: contexts has shape"):
        Recommender.load(with_column(folder, "contexts", np.ones((100, 5), np.float32)))


def test_parameters_that_are_none_are_refused(folder: Path) -> None:
    stored = storage.load(folder)
    storage.save(folder, stored.columns, {**stored.manifest, "params": {"windoww": 3}})
    with pytest.raises(ModelError, match="windoww"):
        Recommender.load(folder)


def test_the_index_of_another_model_is_rebuilt(
    tiny: Recommender, folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    pytest.importorskip("annoy")
    AnnoyIndex(tiny.index.vectors * 2, seed=7).save(run_of(folder) / "index.ann")
    loaded = Recommender.load(folder)
    assert "the index is rebuilt from the vectors" in caplog.text
    assert list(loaded.recommend("user 0")) == list(tiny.recommend("user 0"))
