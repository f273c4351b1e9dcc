"""A model folder under stress: thousands of damages, and `recsys train` killed, starved, raced.

Each kind of damage, and a kill at every step of a save, are in test_storage.py.
"""

from __future__ import annotations

import numpy as np
import pytest

from recsys.model import storage
from tests.counts import count
from tests.test_storage import DAMAGES, check, outcomes, posix, run, run_all, run_of, saved, tiny

__all__ = ["saved", "tiny"]  # fixtures
pytestmark = [pytest.mark.slow, posix]


def flips(rng, file, size, n, first=0):
    return [{"file": file, "how": "flip", "place": first + int(place), "bit": n % 8}
            for n, place in enumerate(rng.integers(0, size, n))]  # fmt: skip


@pytest.mark.parametrize("verify", [True, False])
def test_no_damage_to_any_file_crashes_and_none_goes_unnoticed(verify, saved, tmp_path):
    """Unverified, numbers may be wrong; yet numpy opens headers, and Annoy alone would crash."""
    rng, cases = np.random.default_rng(0), []
    files = {str(path.relative_to(saved)): path for path in sorted(run_of(saved).iterdir())}
    for file, path in {"current": saved / "current", **files}.items():
        data = path.read_bytes()
        cases += flips(rng, file, len(data), 60) + flips(rng, file, min(len(data), 80), 30)
        cuts = {0, len(data) - 1, *rng.integers(0, len(data), 24).tolist()}
        cases += [{"file": file, "how": "cut", "size": size} for size in sorted(cuts)]
        cases += [{"file": file, "how": how} for how in DAMAGES]
        if file.endswith("index.ann"):  # where each of its nodes says which are its children
            width = 4 * (storage.load(saved).columns["readout"].shape[1] + 4)
            for node in rng.integers(0, len(data) // width, 300).tolist():
                cases += flips(rng, file, 12, 3, first=node * width)
        for other in rng.choice(list(files.values()), 4) if file != "current" else ():
            if data != other.read_bytes():
                cases += [{"file": file, "how": "copy", "from": str(other)}]
    sealed = ("half", "empty", "pickle", "array of objects", "copy")
    cases += [case | {"seal": True} for case in cases
              if case["how"] in sealed and case["file"].endswith(".npy")]  # fmt: skip
    found = outcomes(saved, cases, tmp_path, verify=verify)
    unsealed = [one for one in found if "seal" not in one[0]]
    check(unsealed if verify else [one for one in unsealed if "the index is rebuilt" in one[2]])
    for case, outcome, message in found:
        assert outcome == "ModelError" or "seal" not in case or case["how"] == "copy", message


def test_forged_indexes_that_the_manifest_vouches_for_are_rebuilt(saved, tmp_path):
    """What Annoy does with these: circles for ever, or reads far outside of the file."""
    pytest.importorskip("annoy")
    path, cases = run_of(saved) / "index.ann", []
    n_items, d = storage.load(saved).columns["readout"].shape
    nodes = np.fromfile(path, dtype=np.int32).reshape(-1, d + 4)
    (inner,) = np.nonzero(nodes[:, 0] > d + 3)
    (lists,) = np.nonzero((nodes[:, 0] > 1) & (nodes[:, 0] <= d + 3))
    children = nodes[inner, 1:3].ravel()
    forgeries = [nodes[:n_items], nodes[:0]]
    for row, column, value in [
        (inner[0], 1, inner[0]), (inner[0], 2, len(nodes) - 1), (inner[-1], 1, -5),
        (inner, 1, len(nodes) + 10**6), (lists[0], 1, n_items),
        (children[children < n_items][0], 0, 2**30), (-1, 0, 2**31 - 1),
    ]:  # fmt: skip
        forgeries.append(nodes.copy())
        forgeries[-1][row, column] = value
    for n, forged in enumerate(forgeries):
        forged.tofile(tmp_path / f"forged {n}")
        file, source = str(path.relative_to(saved)), str(tmp_path / f"forged {n}")
        cases += [{"file": file, "how": "copy", "from": source, "seal": True}]
    for verify in (True, False):
        found = outcomes(saved, cases, tmp_path, verify=verify)
        check(found)
        assert all("is no index of these vectors" in message for *_, message in found)


# A driver has imported everything and forks a child for each training, so that hundreds fit in a
# minute. The same seed gives the same run, by whose name a model is known.
DRIVER = """
import contextlib, io, random, resource, time
from tqdm import tqdm
from recsys.__main__ import main
tqdm.monitor_interval = 0  # a thread that may hold tqdm's lock when this process forks
data, folder, n = sys.argv[1], Path(sys.argv[2]), int(sys.argv[3])
told, stop = folder.with_name("told"), folder.with_name("stop")

def train(seed):
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

def loaded(expected):
    # Return the seed of the model in use; loading it has compared every checksum.
    model = Recommender.load(folder)
    seed = str(model.params["seed"])
    answers = [[list(row) for row in model.recommend(user, k=5)] for user in model.users[:20]]
    assert answers == expected.setdefault(seed, answers), seed
    return int(seed)

def whole():
    # The same, and whether the run is the one that this seed makes.
    seed = loaded(EXPECTED)
    run = (folder / "current").read_text()
    assert run == RUNS.setdefault(seed, run)
    return seed
"""
LEARN = """
EXPECTED, RUNS = {}, {}
for seed in (1, 2, 3, 1):
    train(seed)
    assert whole() == seed
"""

KILLED = DRIVER + LEARN + """
def train_and_tell(seed, tell):
    def hook(event, args):
        if event == "os.mkdir" and str(args[0]).endswith(".recsys-run"):  # the save begins
            os.write(tell, b"S")
    sys.addaudithook(hook)
    train(seed)

def start(seed):
    hear, tell = os.pipe()
    pid = fork(train_and_tell, seed, tell)
    os.close(tell)
    return pid, hear

started, (pid, hear) = time.perf_counter(), start(1)
training = os.read(hear, 1) and time.perf_counter() - started
wait(pid)
save = time.perf_counter() - started - training
random.seed(7)
killed = 0
while killed < n:
    old = whole()
    new, in_the_save = old % 3 + 1, killed % 2
    pid, hear = start(new)
    if in_the_save:
        os.read(hear, 1)
    time.sleep((save if in_the_save else training) * random.random())
    os.kill(pid, signal.SIGKILL)
    killed += os.WIFSIGNALED(os.waitpid(pid, 0)[1])
    os.close(hear)
    assert whole() in (old, new)
    if random.random() < 0.3:  # else the next child finds what this one has left
        wait(fork(train, old))
        assert whole() == old
        assert only_the_model_is_in(folder)
print(killed)
"""  # fmt: skip

FULL_DISK = DRIVER + LEARN + """
def starved(limit):
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, hard))
    status, said = train(2)
    assert status == 1 and said.splitlines()[-1].startswith("recsys: "), said
    assert "Traceback" not in said, said

hard = resource.getrlimit(resource.RLIMIT_FSIZE)[1]
# The index of another seed may be smaller; the arrays have one size.
limits = {0, 20, *(path.stat().st_size - 1 for path in folder.glob("run-*/*.npy"))}
for limit in limits:
    wait(fork(starved, limit))
    assert whole() == 1
    assert only_the_model_is_in(folder)
wait(fork(train, 2))
assert whole() == 2
print(len(limits))
"""  # fmt: skip

RACE = DRIVER + LEARN + """
told.with_name("new").write_text(json.dumps(EXPECTED))
told.with_name("new").rename(told)
try:
    for _ in range(n):
        wait(fork(train, 1), fork(train, 2))
        whole()
        assert only_the_model_is_in(folder)
finally:
    stop.touch()
"""  # fmt: skip

READ = DRIVER + """
loads, seen, parent = 0, set(), os.getppid()
while not told.exists() and os.getppid() == parent:
    time.sleep(0.01)
expected = json.loads(told.read_text())
while not stop.exists() and os.getppid() == parent:
    seen.add(loaded(expected))
    loads += 1
assert len(expected) == 3 and len(seen) > 1, seen
print(loads)
"""  # fmt: skip


@pytest.fixture(scope="module")
def data(sample, tmp_path_factory):
    """A part of the sample, so that a training takes a tenth of a second."""
    path = tmp_path_factory.mktemp("stress") / "ratings.csv"
    some = sample[sample["user_id"].isin(sample["user_id"].unique()[:60])]
    some.assign(timestamp=some["timestamp"].astype("int64")).to_csv(path, index=False)
    return path


def test_killed_at_any_moment_of_train_the_model_is_the_old_or_the_new_one(data, tmp_path):
    count("kills survived", int(run(KILLED, data, tmp_path / "model", 200)))


def test_on_a_full_disk_train_says_so_in_one_line_and_the_old_model_stays(data, tmp_path):
    assert int(run(FULL_DISK, data, tmp_path / "model", 0)) > 5


def test_readers_never_notice_that_the_model_is_replaced_by_two_trainings(data, tmp_path):
    folder = tmp_path / "model"
    _, *loads = run_all((RACE, data, folder, 25), *[(READ, data, folder, 0)] * 3)
    count("loads while the model was replaced", sum(map(int, loads)))
