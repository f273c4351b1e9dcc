"""A model folder under stress: damage by the thousand, and `recsys train` killed, starved and raced.

Each kind of damage, and a kill at every step of a save, are in test_storage.py.
"""

from __future__ import annotations

import json
from itertools import combinations

import numpy as np
import pytest

from recsys.model import storage
from tests.counts import count
from tests.test_storage import (
    DAMAGES, check, fitted, only_the_model_is_in, outcomes, posix, run, run_all, run_of, saved, tiny
)  # fmt: skip

__all__ = ["saved", "tiny"]  # fixtures
pytestmark = [pytest.mark.slow, posix]


def files_of(folder):
    """Every file of a model by its path in the folder, the pointer too."""
    return ["current", *sorted(str(path.relative_to(folder)) for path in run_of(folder).iterdir())]


def random_flip(rng, file, size):
    return {"file": file, "how": "flip", "place": int(rng.integers(size)), "bit": int(rng.integers(8))}


def test_random_damage_to_any_file_is_named_or_the_index_rebuilt(saved, tmp_path):
    fitted(1, 79).save(tmp_path / "other")  # the same files, of other sizes and content
    rng, cases = np.random.default_rng(0), []
    for file, other in zip(files_of(saved), files_of(tmp_path / "other"), strict=True):
        data = (saved / file).read_bytes()
        sizes = sorted({0, len(data) - 1, *rng.integers(0, len(data), 48).tolist()})
        cases += [{"file": file, "how": "cut", "size": size} for size in sizes]
        cases += [random_flip(rng, file, len(data)) for _ in range(200)]
        cases += [{"file": file, "how": how} for how in DAMAGES]
        if file != "current" and data != (tmp_path / "other" / other).read_bytes():
            cases += [{"file": file, "how": "copy", "from": str(tmp_path / "other" / other)}]
    check(outcomes(saved, cases, tmp_path))


@pytest.mark.parametrize("verify", [True, False])
def test_swapped_and_damaged_arrays_that_the_manifest_vouches_for_never_crash(
    verify, saved, tmp_path
):
    arrays, cases = [file for file in files_of(saved) if file.endswith(".npy")], []
    for one, other in combinations(arrays, 2):
        cases += [{"file": one, "how": "copy", "from": str(saved / other), "seal": True}]
        cases += [{"file": other, "how": "copy", "from": str(saved / one), "seal": True}]
    kinds = ("half", "empty", "pickle", "array of objects")
    cases += [{"file": file, "how": how, "seal": True} for file in arrays for how in kinds]
    for case, outcome, message in outcomes(saved, cases, tmp_path, verify=verify):
        assert case["how"] == "copy" or outcome == "ModelError", (case, message)


def test_bits_flipped_in_unverified_files_never_crash(saved, tmp_path):
    """Annoy alone would crash, or circle for ever, on some; a header is where numpy reads."""
    rng, cases = np.random.default_rng(0), []
    for file in files_of(saved)[1:]:
        size = (saved / file).stat().st_size
        cases += [random_flip(rng, file, min(size, 80) if n % 2 else size) for n in range(50)]
        if file.endswith("index.ann"):  # the numbers of children begin each of its nodes
            width = 4 * (storage.load(saved).columns["readout"].shape[1] + 4)
            for _ in range(1000):
                case = random_flip(rng, file, 12)
                cases += [case | {"place": case["place"] + width * int(rng.integers(size // width))}]
    found = outcomes(saved, cases, tmp_path, verify=False)
    rebuilt = [outcome for _, outcome, message in found if "the index is rebuilt" in message]
    assert len(rebuilt) > 100
    assert set(rebuilt) == {"right"}


def test_forged_indexes_that_the_manifest_vouches_for_are_rebuilt(saved, tmp_path):
    """What Annoy does with these: circles for ever, or reads far outside of the file."""
    pytest.importorskip("annoy")
    index = files_of(saved)[["index.ann" in file for file in files_of(saved)].index(True)]
    n_items, d = storage.load(saved).columns["readout"].shape
    nodes = np.fromfile(saved / index, dtype=np.int32).reshape(-1, d + 4)
    inner = np.flatnonzero(nodes[:, 0] > d + 3)
    (first, *_) = np.flatnonzero((nodes[:, 0] > 1) & (nodes[:, 0] <= d + 3))
    children = nodes[inner, 1:3].ravel()
    cases = []
    for row, column, value in [
        (inner[0], 1, inner[0]), (inner[0], 2, len(nodes) - 1), (inner[-1], 1, -5),
        (inner, [[1], [2]], len(nodes) + 10**6), (first, 1, n_items),
        (children[children < n_items][0], 0, 2**30), (-1, 0, 2**31 - 1),
        (slice(n_items, None), slice(None), None), (slice(None), slice(None), None),
    ]:  # fmt: skip
        forged = nodes.copy()
        if value is None:
            forged = np.delete(forged, row, axis=0)
        else:
            forged[(row if np.isscalar(column) else row[None, :]), column] = value
        path = tmp_path / f"forged {len(cases)}"
        forged.tofile(path)
        cases += [{"file": index, "how": "copy", "from": str(path), "seal": True}]
    for verify in (True, False):
        found = outcomes(saved, cases, tmp_path, verify=verify)
        check(found)
        assert all("is no index of these vectors" in message for *_, message in found)


# A driver has imported everything and forks a child for each training, so that hundreds fit in a
# minute. The same seed gives the same run, by whose name a model is known.
DRIVER = """
import contextlib, io, json, os, random, resource, signal, sys, time
from pathlib import Path
from recsys import Recommender
from recsys.__main__ import main
data, folder, n = sys.argv[1], Path(sys.argv[2]), int(sys.argv[3])

def train(seed, folder=folder):
    words = ["--epochs", "2", "--vector-size", "8", "--seed", str(seed), "--alpha", "0.2"]
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()) as e:
        status = main(["train", "--data", data, "--model", str(folder), *words])
    return status, e.getvalue()

def fork(work, *args):
    pid = os.fork()
    if pid == 0:
        status = 9
        try:
            work(*args)
            status = 0
        finally:
            os._exit(status)
    return pid

def wait(*pids):
    for pid in pids:
        assert os.waitpid(pid, 0)[1] == 0

def answers(model):
    return [[list(row) for row in model.recommend(user, k=5)] for user in model.users[:20]]

def whole():
    # Return the seed of the model in use; loading it has compared every checksum.
    model, run = Recommender.load(folder), (folder / "current").read_text()
    seed = model.params["seed"]
    assert (answers(model), run) == EXPECTED[seed]
    return seed

def only_the_model():
    names = {path.name for path in folder.iterdir()} - {".lock", "current"}
    assert names == {(folder / "current").read_text().strip()}, names

EXPECTED = {}
for seed in (1, 2, 3):
    train(seed)
    EXPECTED[seed] = answers(Recommender.load(folder)), (folder / "current").read_text()
train(1)
"""

KILLED = DRIVER + """
def train_and_tell(seed, tell):
    def hook(event, args):
        if event == "os.mkdir" and str(args[0]).endswith(".tmp-run"):
            os.write(tell, b"S")
    sys.addaudithook(hook)
    train(seed)
    os.write(tell, b"E")

def start(seed):
    hear, tell = os.pipe()
    pid = fork(train_and_tell, seed, tell)
    os.close(tell)
    return pid, hear

def seconds():
    started, (pid, hear) = time.perf_counter(), start(1)
    times = [os.read(hear, 1) and time.perf_counter() for _ in "SE"]
    wait(pid)
    return times[0] - started, times[1] - times[0]

def kill(seed, in_the_save):
    pid, hear = start(seed)
    seen = os.read(hear, 1) if in_the_save else b""
    time.sleep(longest[in_the_save] * random.random())
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    seen += os.read(hear, 9)
    os.close(hear)
    return "finished" if b"E" in seen else "save" if b"S" in seen else "training"

random.seed(7)
longest = [sorted(times)[1] for times in zip(*(seconds() for _ in range(3)))]
landed = {"training": 0, "save": 0, "finished": 0}
while landed["training"] < n or landed["save"] < n:
    old = whole()
    new = old % 3 + 1
    where = kill(new, landed["training"] >= n or random.random() < 0.5)
    landed[where] += 1
    assert whole() in {"training": [old], "save": [old, new], "finished": [new]}[where]
    if random.random() < 0.3:  # else the next child finds what this one has left
        wait(fork(train, old))
        assert whole() == old
        only_the_model()
wait(fork(train, 1))
print(json.dumps(landed))
"""  # fmt: skip

FULL_DISK = DRIVER + """
limits = sorted({0, 20, *(path.stat().st_size - 1 for path in folder.glob("run-*/*"))})
hard = resource.getrlimit(resource.RLIMIT_FSIZE)[1]

def starved(limit):
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, hard))
    status, said = train(2)
    assert status == 1 and said.splitlines()[-1].startswith("recsys: "), said
    assert "Traceback" not in said, said

for limit in limits:
    wait(fork(starved, limit))
    assert whole() == 1
    only_the_model()
wait(fork(train, 2))
assert whole() == 2
print(len(limits))
"""  # fmt: skip

RACE = DRIVER + """
told, stop = folder.with_name("told"), folder.with_name("stop")
told.with_name("new").write_text(json.dumps(EXPECTED))
told.with_name("new").rename(told)
try:
    for _ in range(n):
        wait(fork(train, 1), fork(train, 2))
        whole()
        only_the_model()
finally:
    stop.touch()
"""  # fmt: skip

READ = """
import json, os, sys, time
from pathlib import Path
from recsys import Recommender
folder, loads, seen, parent = Path(sys.argv[1]), 0, set(), os.getppid()
told, stop = folder.with_name("told"), folder.with_name("stop")
while not told.exists() and os.getppid() == parent:
    time.sleep(0.01)
expected = json.loads(told.read_text())
while not stop.exists() and os.getppid() == parent:
    model = Recommender.load(folder)
    seed = str(model.params["seed"])
    assert [[list(row) for row in model.recommend(user, k=5)] for user in model.users[:20]] == \\
        expected[seed][0], seed
    loads += 1
    seen.add(seed)
print(loads, len(seen))
"""


@pytest.fixture(scope="module")
def data(sample, tmp_path_factory):
    """A part of the sample, so that a training takes a tenth of a second."""
    path = tmp_path_factory.mktemp("stress") / "ratings.csv"
    some = sample[sample["user_id"].isin(sample["user_id"].unique()[:60])]
    some.assign(timestamp=some["timestamp"].astype("int64")).to_csv(path, index=False)
    return path


def test_killed_at_any_moment_of_train_the_model_is_the_old_or_the_new_one(data, tmp_path):
    landed = json.loads(run(KILLED, data, tmp_path / "model", 100))
    count("kills survived", landed["training"] + landed["save"])
    assert only_the_model_is_in(tmp_path / "model")


def test_on_a_full_disk_train_says_so_in_one_line_and_the_old_model_stays(data, tmp_path):
    assert int(run(FULL_DISK, data, tmp_path / "model", 0)) > 5


def test_readers_never_notice_that_the_model_is_replaced(data, tmp_path):
    """By several trainings at once, of which one is the last."""
    folder = tmp_path / "model"
    _, *read = run_all((RACE, data, folder, 25), *[(READ, folder)] * 3)
    loads, seen = zip(*(map(int, line.split()) for line in read), strict=True)
    count("loads while the model was replaced", sum(loads))
    assert min(loads) > 0
    assert max(seen) > 1
