"""The model folder: what is saved comes back whole, and every kind of damage is noticed.

Each kind of damage is tried once here; test_stress.py tries them in every file and by the thousand.
"""

from __future__ import annotations

import hashlib
import json
import os
import pickle
import re
import shutil
import signal
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from recsys import ModelError, Recommender
from recsys.data.columns import TextColumn, take
from recsys.errors import ReplacedError
from recsys.model import storage
from tests.counts import count

ROOT = Path(__file__).parents[1]
NAMES = "from tests.test_storage import *\n"
posix = pytest.mark.skipif(os.name != "posix", reason="needs fork, signals or limits of POSIX")


def save(folder: Path, generation: int, write_index: Any = None) -> None:
    """Save a model in which every part tells its generation."""
    names = TextColumn.of([str(generation)] * 100)
    columns = {"numbers": np.full(50_000, generation), "names": names}
    write_index = write_index or (lambda path: path.write_bytes(bytes([generation]) * 5_000))
    storage.save(folder, columns, {"generation": generation}, write_index)


def generation_of(stored: storage.Stored) -> int:
    numbers, names = stored.columns["numbers"].tolist(), stored.columns["names"]
    (seen,) = {stored.manifest["generation"], *numbers, *map(int, names)}
    return seen


def run(code: str, *args: Any) -> str:
    return run_all((code, *args))[0]


def run_all(*programs: tuple[Any, ...]) -> list[str]:
    """Run Python code, with all names of this file and arguments, in child processes at once.

    Return what each prints; if one fails, kill the rest and fail.
    """
    outputs, children = [], []
    with ExitStack() as stack:
        for code, *args in programs:
            child = stack.enter_context(subprocess.Popen(
                [sys.executable, "-X", "faulthandler", "-c", NAMES + code, *map(str, args)],
                env={**os.environ, "PYTHONPATH": str(ROOT), "OPENBLAS_NUM_THREADS": "1"},
                stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True,
            ))  # fmt: skip
            stack.callback(kill_with_its_children, child)
            children.append(child)
        for child in children:
            out, err = child.communicate(timeout=900)
            assert child.returncode == 0, f"{child.returncode}\n{out[-2000:]}\n{err[-4000:]}"
            outputs.append(out)
    return outputs


def kill_with_its_children(child: subprocess.Popen[str]) -> None:
    if child.poll() is None:
        os.killpg(child.pid, signal.SIGKILL)


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


def seal(folder: Path, manifest: dict | bytes | None = None) -> None:
    """Make manifest and pointer agree with whatever is in the files now, as a forger would."""
    old = run_of(folder)
    if manifest is None:
        manifest = manifest_of(folder)
        for name in manifest["files"]:
            data = (old / name).read_bytes()
            sha256 = hashlib.sha256(data).hexdigest()
            manifest["files"][name] = {"size": len(data), "sha256": sha256}
    data = manifest if isinstance(manifest, bytes) else json.dumps(manifest).encode()
    (old / "manifest.json").write_bytes(data)
    new = "run-" + hashlib.sha256(data).hexdigest()[:16]
    old.rename(folder / new)
    (folder / "current").write_text(new)


def manifest_of(folder: Path) -> dict[str, Any]:
    return json.loads((run_of(folder) / "manifest.json").read_text())


@pytest.fixture(scope="module")
def tiny():
    """A model with every kind of file: texts, titles, watched apart from histories."""
    rng = np.random.default_rng(0)
    users, rows = [f"user {n}" for n in rng.integers(0, 30, 600)], rng.integers(1, 101, 600)
    views = pd.DataFrame({"user_id": users, "item_id": rows, "rating": rng.integers(1, 6, 600)})
    items = pd.DataFrame({"item_id": range(1, 101), "title": [f"Film {n}" for n in range(1, 101)]})
    return Recommender(epochs=1, vector_size=4, min_rating=2).fit(views, items)


@pytest.fixture(scope="module")
def saved(tiny, tmp_path_factory):
    """The folder of `tiny`; tests change copies of it only."""
    folder = tmp_path_factory.mktemp("saved") / "model"
    tiny.save(folder)
    return folder


@pytest.fixture
def folder(saved, tmp_path):
    return Path(shutil.copytree(saved, tmp_path / "model"))


# ---- the round trip


def test_columns_manifest_and_index_come_back_read_only_but_no_objects_are_saved(tmp_path):
    columns = {
        "ids": np.array([1, 2**63 + 1], dtype=np.uint64),
        "vectors": np.array([[0.5, -1.5]], np.float32),
        "nothing": np.empty((0, 3), np.int32),
        "texts": TextColumn.of(["", "é", "\ud800"]),
        "no_texts": TextColumn.of([]),
    }
    folder = tmp_path / "a" / "b"
    storage.save(folder, columns, {"params": {"x": None}}, lambda path: path.touch())
    stored = storage.load(folder)
    assert stored.columns.keys() == columns.keys()
    for name, column in columns.items():
        np.testing.assert_array_equal(take(stored.columns[name]), take(column), strict=True)
    assert (stored.manifest["params"], stored.index) == ({"x": None}, run_of(folder) / "index.ann")
    with pytest.raises(ValueError, match="read-only"):
        stored.columns["vectors"][0] = 0
    with pytest.raises(ValueError, match="pickle"):
        storage.save(tmp_path / "other", {"objects": np.array([object()])}, {})


def test_a_folder_written_by_the_rules_of_format_4_loads(tmp_path):
    """So that today's models can be read as long as the format is 4."""
    (tmp_path / "run-x").mkdir()
    arrays = {"ids": [7, 8], "names.text": np.frombuffer(b"onetwo", np.uint8), "names.ends": [3, 6]}
    for name, array in arrays.items():
        np.save(tmp_path / "run-x" / f"{name}.npy", np.asarray(array))
    manifest = {"format": 4, "params": {}, "files": {f"{name}.npy": None for name in arrays}}
    (tmp_path / "run-x" / "manifest.json").write_text(json.dumps(manifest))
    (tmp_path / "current").write_text("run-x")
    seal(tmp_path)
    stored = storage.load(tmp_path)
    assert (stored.columns["ids"].tolist(), stored.columns["names"][:]) == ([7, 8], ["one", "two"])
    assert (stored.manifest["params"], stored.index) == ({}, None)
    del stored.manifest["files"]["names.ends.npy"]
    seal(tmp_path, stored.manifest)
    with pytest.raises(ModelError, match=r"names\.text\.npy' has no 'names\.ends\.npy'"):
        storage.load(tmp_path)


def test_a_moved_folder_answers_as_before_and_is_left_as_it_is(tiny, folder, monkeypatch):
    moved = folder.rename(folder.with_name("renamed"))
    monkeypatch.chdir(moved.parent)
    before = snapshot(moved)
    for path in (moved, "renamed", "renamed/../renamed/"):
        loaded = Recommender.load(path)
        for user in tiny.users:
            assert list(loaded.recommend(user)) == list(tiny.recommend(user))
    assert snapshot(moved) == before


def test_saving_the_same_again_keeps_the_run_renews_the_stamp_and_repairs_damage(tmp_path):
    save(tmp_path, 1)
    stamp, inode = storage.stamp(tmp_path), run_of(tmp_path).stat().st_ino
    save(tmp_path, 1)
    assert (storage.stamp(tmp_path) != stamp, run_of(tmp_path).stat().st_ino) == (True, inode)
    before = snapshot(tmp_path)
    for name in ("numbers.npy", "names.text.npy", "index.ann", "manifest.json"):
        for kind in ("flipped bit", "missing"):
            DAMAGES[kind](run_of(tmp_path) / name)
            save(tmp_path, 1)
            assert snapshot(tmp_path) == before


# ---- saves that fail or are killed, and other processes


def fail(path):
    path.write_bytes(b"half of it")
    raise OSError("the disk is full")


def test_a_save_that_fails_leaves_the_old_model_or_none(tmp_path):
    for _ in range(2):
        before = snapshot(tmp_path)
        with pytest.raises(OSError, match="the disk is full"):
            save(tmp_path, 2, fail)
        assert snapshot(tmp_path) == {".lock": b"", **before}
        save(tmp_path, 1)
    assert generation_of(storage.load(tmp_path)) == 1


@posix
def test_everything_is_on_the_disk_before_the_pointer_names_it(tmp_path, monkeypatch):
    """A test cannot cut the power; it can see that fsync was called."""
    synced, real = [], os.replace

    def replace_pointer(new, old):
        (run,) = tmp_path.glob("run-*")
        assert {path.stat().st_ino for path in (new, run, *run.iterdir())} <= set(synced)
        real(new, old)
        synced.clear()

    monkeypatch.setattr(os, "fsync", lambda handle: synced.append(os.fstat(handle).st_ino))
    monkeypatch.setattr(os, "replace", replace_pointer)
    save(tmp_path, 1)
    assert synced == [tmp_path.stat().st_ino]


# A forked child saves; killed at its n-th file operation, then at the next, until it gets through.
KILLED_AT_EVERY_STEP = """
folder = Path(sys.argv[1])
WATCHED = {"open", "os.mkdir", "os.rename", "os.remove", "os.rmdir", "shutil.rmtree"}

def saves_until_step(left):
    def hook(event, args):
        nonlocal left
        left -= event in WATCHED
        if left == 0 and event in WATCHED:  # os.kill is an event too
            os.kill(os.getpid(), signal.SIGKILL)
    sys.addaudithook(hook)
    save(folder, 2)
    os._exit(0)

save(folder, 1)
seen = []
while not seen or seen[-1] is not None:
    pid = os.fork()
    if pid == 0:
        saves_until_step(len(seen) + 1)
    killed = os.WIFSIGNALED(os.waitpid(pid, 0)[1])
    seen.append(generation_of(storage.load(folder)) if killed else None)
    save(folder, 1)
    assert only_the_model_is_in(folder)
    assert generation_of(storage.load(folder)) == 1
print(seen.index(2), len(seen))
assert seen[:-1] == sorted(seen[:-1]), seen
"""


@posix
def test_killed_at_any_step_of_a_save_the_model_is_the_old_or_the_new_one(tmp_path):
    first_new, steps = map(int, run(KILLED_AT_EVERY_STEP, tmp_path / "model").split())
    count("kills survived", steps - 1)
    assert 10 < first_new < steps - 1


def test_a_reader_starts_over_if_the_model_was_replaced_and_put_back(tmp_path, monkeypatch):
    save(tmp_path, 1)
    open_array, calls = np.lib.format.open_memmap, []

    def replaced_meanwhile(path, mode):
        calls.append(path)
        if len(calls) == 1:
            save(tmp_path, 2)
            assert not path.exists()
            save(tmp_path, 1)
            raise FileNotFoundError
        return open_array(path, mode=mode)

    monkeypatch.setattr(np.lib.format, "open_memmap", replaced_meanwhile)
    assert generation_of(storage.load(tmp_path)) == 1
    read = [
        path for path in calls if path.parent.name != storage.NEW_RUN
    ]  # those that save looks at
    assert read[0] == read[1]


@pytest.mark.parametrize(
    "names",
    [
        ["notes.txt", ".lock"], ["run-1/weights.bin", "run-final/weights.bin", "current"],
        ["current/app.py", "releases/1/app.py"], [".tmp-mine/draft.txt"], ["current"],
        ["run-0123456789abcdef/manifest.json", "run-0123456789abcdef/notes.npy"],
        ["run-0123456789abcdef"], [".tmp-run/manifest.json"],
    ],
)  # fmt: skip
def test_a_foreign_folder_or_file_is_refused_and_left_as_it_is(names, tmp_path):
    for name in names:
        (tmp_path / name).parent.mkdir(exist_ok=True, parents=True)
        (tmp_path / name).write_text("precious")
    before = snapshot(tmp_path)
    with pytest.raises(ModelError, match="is not empty and holds no model"):
        save(tmp_path, 1)
    for inside in (tmp_path / names[0], tmp_path / names[0] / "deep" / "model"):
        with pytest.raises(ModelError, match="it is a file, or lies in one"):
            save(inside, 1)
    assert snapshot(tmp_path) == before


@pytest.mark.parametrize(
    "name",
    [".recsys-run/diary.txt", ".recsys-run", ".recsys-current/x", ".recsys-current", ".lock"],
)
def test_what_is_not_ours_but_has_one_of_our_names_is_refused(name, tmp_path):
    save(tmp_path, 1)
    (tmp_path / ".lock").unlink()
    (tmp_path / name).parent.mkdir(exist_ok=True)
    (tmp_path / name).write_text("precious, and longer than a pointer")
    before = snapshot(tmp_path)
    with pytest.raises(ModelError, match="was not written by recsys"):
        save(tmp_path, 2)
    assert snapshot(tmp_path) == before


def test_a_model_that_cannot_be_opened_does_not_take_the_place_of_one_that_can(tmp_path):
    def check(stored):
        raise ModelError("it cannot be opened")

    save(tmp_path, 1)
    before = snapshot(tmp_path)
    with pytest.raises(ModelError, match="it cannot be opened"):
        storage.save(tmp_path, {"numbers": np.arange(3)}, {}, check=check)
    assert snapshot(tmp_path) == before


def test_a_model_is_only_put_in_the_place_of_the_one_that_was_meant(tmp_path):
    save(tmp_path, 1)
    before = storage.stamp(tmp_path)
    storage.save(tmp_path, {"numbers": np.arange(3)}, {}, replacing=before)
    with pytest.raises(ReplacedError, match="has been replaced meanwhile"):
        storage.save(tmp_path, {"numbers": np.arange(4)}, {}, replacing=before)
    assert len(storage.load(tmp_path).columns["numbers"]) == 3


def test_remains_of_a_killed_save_are_swept_and_other_files_stay(tmp_path):
    outside, folder = tmp_path / "outside", tmp_path / "model"
    outside.mkdir()
    (outside / "file").write_text("precious")
    save(folder, 1)
    shutil.copytree(run_of(folder), tmp_path / "old")
    save(folder, 2)
    (tmp_path / "old").rename(
        folder / storage._run_name((tmp_path / "old/manifest.json").read_bytes())
    )
    (folder / ".recsys-current").write_text("run-01")
    for name in (".recsys-run", ".recsys-replaced"):
        (folder / name).mkdir()
        (folder / name / "numbers.npy").write_text("half of it")
    others = {
        "README.txt",
        "run-notes.txt",
        ".tmp-mine",
        "run-0123456789abcdef",
        "run-fedcba9876543210",
    }
    for name in {*others} - {"run-0123456789abcdef", "run-fedcba9876543210"}:
        (folder / name).write_text("precious")
    (folder / "run-0123456789abcdef").symlink_to(outside)
    (folder / "run-fedcba9876543210").mkdir()
    for name in ("manifest.json", "mine.npy"):
        (folder / "run-fedcba9876543210" / name).write_text("{}")
    save(folder, 3)
    assert generation_of(storage.load(folder)) == 3
    assert names_in(folder) == {".lock", "current", run_of(folder).name, *others}
    assert names_in(folder / "run-fedcba9876543210") == {"manifest.json", "mine.npy"}
    assert (outside / "file").read_text() == "precious"


# ---- damage


class Touch:
    """Unpickled, it makes a file: the harmless form of an attack."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return Path.touch, (self.path,)


def flip(path, place, bit=4):
    data = bytearray(path.read_bytes())
    data[place] ^= 1 << bit
    path.write_bytes(data)


def write_objects(path):
    with path.open("wb") as file:
        np.save(file, np.array([Touch(path.parents[2] / "executed")], dtype=object))


SIZES = {
    "empty": lambda path: os.truncate(path, 0),
    "half": lambda path: os.truncate(path, path.stat().st_size // 2),
    "one byte more": lambda path: os.truncate(path, path.stat().st_size + 1),
    "10 GB": lambda path: os.truncate(path, 10 << 30),
}
DAMAGES = SIZES | {
    "flipped bit": lambda path: flip(path, path.stat().st_size // 2),
    "pickle": lambda path: path.write_bytes(pickle.dumps(Touch(path.parents[2] / "executed"))),
    "array of objects": write_objects,
    "link": lambda path: path.symlink_to(path.rename(path.parents[1] / f"moved {path.name}")),
    "link to itself": lambda path: (path.unlink(), path.symlink_to(path)),
    "folder": lambda path: (path.unlink(), path.mkdir()),
    "fifo": lambda path: (path.unlink(), os.mkfifo(path)),
    "missing": lambda path: path.unlink(),
}


def damage(folder: Path, case: dict[str, Any]) -> None:
    """Damage `case["file"]` as `case["how"]` says; with "seal", let the manifest vouch for it."""
    path = folder / case["file"]
    if case["how"] == "cut":
        os.truncate(path, case["size"])
    elif case["how"] == "flip":
        flip(path, case["place"], case["bit"])
    elif case["how"] == "copy":
        shutil.copyfile(case["from"], path)
    else:
        DAMAGES[case["how"]](path)
    if case.get("seal"):
        seal(folder)


# Loads the folder under each damage and asks everything that a model can answer. It writes down a
# case before it tries it, so that a crash is known by its case, and gets 4 GB of addresses.
ASK = """
import logging, resource
whole, folder, cases, found = map(Path, sys.argv[1:5])
verify, notices = sys.argv[5] == "True", []
logging.getLogger("recsys").addHandler(type("H", (logging.Handler,), {
    "emit": lambda self, record: notices.append(record.getMessage())})())

def answers(model):
    given = []
    for ask in (
        lambda: list(model.recommend("user 0")),
        lambda: model.recommend_many(k=3).to_csv(),
        lambda: list(model.recommend("user 7", watched=True)),
        lambda: list(model.similar_items("Film 3")),
        lambda: model.explain("user 0", model.items[0]).to_csv(),
        lambda: list(model.popular()),
    ):
        try:
            given.append(repr(ask()))
        except Exception as error:
            given.append(type(error).__name__)
    return given

right = answers(Recommender.load(whole))
resource.setrlimit(resource.RLIMIT_AS, (4 << 30, 4 << 30))
with found.open("w") as file:
    for case in json.loads(cases.read_text()):
        print(json.dumps(case), file=file, flush=True)
        shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(whole, folder)
        damage(folder, case)
        notices.clear()
        try:
            same = answers(Recommender.load(folder, verify=verify)) == right
            outcome = ["right" if same else "wrong", "; ".join(notices)]
        except ModelError as error:
            outcome = ["ModelError", str(error)]
        print(json.dumps(outcome), file=file)
# Not of getrusage, which knows the peak of the process that started this one too.
status = Path("/proc/self/status")
print(re.search(r"VmHWM:\\s+(\\d+) kB", status.read_text())[1] if status.exists() else 0)
"""


def outcomes(whole: Path, cases: list[dict], tmp_path: Path, *, verify: bool = True) -> list[tuple]:
    """Load under each damage; return (case, "ModelError", "right" or "wrong", message)."""
    folder, told, found = (tmp_path / name for name in ("damaged", "cases", "found"))
    told.write_text(json.dumps(cases))
    try:
        peak = int(run(ASK, whole, folder, told, found, verify))
    except AssertionError:
        count("crashes")
        raise
    finally:
        lines = list(map(json.loads, found.read_text().splitlines())) if found.exists() else []
        count("corruptions tried", sum(isinstance(line, dict) for line in lines))
    assert lines[::2] == cases
    assert not list(tmp_path.rglob("executed"))
    assert peak < 1 << 20  # kB: nobody read the 10 GB
    return [(case, *outcome) for case, outcome in zip(cases, lines[1::2], strict=True)]


def check(found: list[tuple]) -> None:
    """Everything is refused by the file's name, or else answered rightly after a notice."""
    wrong = [(case, message) for case, outcome, message in found if outcome == "wrong"]
    count("silent wrong answers", len(wrong))
    assert wrong == []
    for case, outcome, message in found:
        name = Path(case["file"]).name
        if name == "current":  # it may name a run that does not exist, or lack its line's end
            place = case.get("size", case.get("place"))
            named = "current' is|current' cannot|no model in|manifest.json' cannot"
            assert re.search(named, message) or (outcome, place) == ("right", 20), (case, message)
        elif name == "index.ann":
            assert outcome == "right", (case, message)
            assert re.search("index.ann' .*; the index is rebuilt from the vectors$", message), case
        else:
            assert outcome == "ModelError", (case, message)
            assert f"{name}' " in message, (case, message)
            assert message.endswith("train again with `recsys train`"), (case, message)


@posix
@pytest.mark.parametrize("verify", [True, False])
def test_every_kind_of_damage_is_named_or_the_index_rebuilt(verify, saved, tmp_path):
    """Never a crash, a pickle executed, a wrong answer, or memory by the size of a file."""
    run, arrays = run_of(saved), ("vectors.npy", "user_ids.text.npy")
    names = [name for name in ("manifest.json", "index.ann", *arrays) if (run / name).exists()]
    files = ["current", *(f"{run.name}/{name}" for name in names)]
    kinds = DAMAGES if verify else SIZES
    cases = [{"file": file, "how": how} for file in files for how in kinds]
    for how in ("half", "empty", "pickle", "array of objects"):
        cases += [{"file": f"{run.name}/{name}", "how": how, "seal": True} for name in arrays]
    check(outcomes(saved, cases, tmp_path, verify=verify))


@pytest.mark.parametrize("version", [3, 5])
def test_38_a_model_of_another_format_is_refused_naming_both_versions(version, folder):
    """Of an older or a newer format, whole and sealed: what is in it may mean something else."""
    seal(folder, {**manifest_of(folder), "format": version})
    count("corruptions tried")
    message = (
        rf"manifest\.json' has format version {version} and this recsys reads 4: use the recsys"
    )
    for verify in (True, False):
        with pytest.raises(ModelError, match=f"{message} that saved it, or train again with"):
            Recommender.load(folder, verify=verify)


ENTRY = {"size": 1, "sha256": ""}


@pytest.mark.parametrize(
    "manifest",
    [
        b"", b"{}", b"null", b"\xff", b'{"format": 4}', b"[" * 100_000, None, "vectors.npy",
        {"vectors.npy": None}, {"../secret.npy": ENTRY}, {"/x.npy": ENTRY}, {"": ENTRY},
        {"manifest.json": ENTRY}, {"a\n.npy": ENTRY}, {"vectors.npy": {**ENTRY, "mode": 7}},
    ],
)  # fmt: skip
def test_a_malformed_manifest_or_list_of_files_is_refused(manifest, folder):
    is_file = isinstance(manifest, bytes)
    seal(folder, manifest if is_file else {**manifest_of(folder), "files": manifest})
    count("corruptions tried")
    for verify in (True, False):
        with pytest.raises(ModelError, match=r"manifest\.json' is damaged: train again"):
            storage.load(folder, verify=verify)


@pytest.mark.parametrize(
    "text", [b"", b"\xff\x00", b"../../etc", b"run-0123456789ABCDEF", b"run-1\nrun-2"]
)
def test_a_damaged_pointer_loses_no_run_and_the_next_save_repairs_it(text, tmp_path):
    save(tmp_path, 1)
    run = run_of(tmp_path)
    (tmp_path / "current").write_bytes(text)
    with pytest.raises(ModelError, match=r"current' is damaged.*recsys train"):
        storage.load(tmp_path)
    with pytest.raises(OSError, match="the disk is full"):
        save(tmp_path, 2, fail)
    assert run.exists()
    save(tmp_path, 2)
    assert generation_of(storage.load(tmp_path)) == 2
    assert only_the_model_is_in(tmp_path)


def test_a_missing_model_names_the_command_that_makes_one(tmp_path):
    (tmp_path / "file").touch()
    for folder in map(tmp_path.joinpath, ("nothing", ".", "file")):
        for ask in (storage.load, storage.stamp, Recommender.load):
            with pytest.raises(ModelError, match=r"no model in '.*recsys train"):
                ask(folder)


def test_columns_and_parameters_that_do_not_fit_or_were_edited_are_refused(folder):
    pytest.importorskip("annoy")
    stored = storage.load(folder)
    storage.save(folder, {**stored.columns, "longest": np.array([-1, 3])}, stored.manifest)
    with pytest.raises(ModelError, match="does not fit together: longest does not point at items"):
        Recommender.load(folder)
    seal(folder, {**manifest_of(folder), "params": {"windoww": 3}})
    with pytest.raises(ModelError, match="windoww"):
        Recommender.load(folder)
    edited = run_of(folder) / "manifest.json"
    edited.write_text(edited.read_text().replace("windoww", "window"))
    with pytest.raises(ModelError, match=r"manifest\.json' is damaged"):
        Recommender.load(folder, verify=False)
