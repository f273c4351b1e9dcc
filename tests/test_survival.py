"""`recsys train` is killed, starved of disk and raced: there is always one whole model.

test_storage.py does the like to bare saves, step by step; here the command itself runs, and what a
reader gets is compared with what the model of that very seed answers. A driver in a process of its
own has imported everything and forks a child for each attempt, so that hundreds fit in a minute.
"""

from __future__ import annotations

import json

import pytest

from tests.counts import count
from tests.test_storage import finish, only_the_model_is_in, posix, start

DRIVER = """
import contextlib, fcntl, io, json, os, random, resource, signal, sys, time
from pathlib import Path
import gensim, scipy.sparse, pandas, pyarrow.csv, annoy, filelock, threadpoolctl
from recsys import Recommender
from recsys.__main__ import main
import recsys.data.load, recsys.data.frames, recsys.recommender, recsys.vectors.item2vec,
recsys.data.splits

DATA, FOLDER, N, = Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3])
SEEDS = (1, 2, 3)

def train(seed, folder=FOLDER):
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()) as e:
        words = ["--epochs", "2", "--vector-size", "8", "--seed", str(seed), "--alpha", "0.2"]
        status = main(["train", "--data", str(DATA), "--model", str(folder), *words])
    return status, e.getvalue()

def in_a_child(work):
    pid = os.fork()
    if pid == 0:
        try:
            work()
        except BaseException:
            import traceback
            traceback.print_exc()
            os._exit(9)
        os._exit(0)
    return pid

def done(pid):
    status = os.waitpid(pid, 0)[1]
    assert status == 0, status

def whole(model=None):
    # The seed whose model is there: loading compared every checksum, and it answers as it should.
    loaded = Recommender.load(FOLDER)
    seed = loaded.params["seed"]
    run = (FOLDER / "current").read_text()
    assert answers(loaded) == ANSWERS[seed], seed
    return seed, run

def answers(model):
    return [list(model.recommend(user, k=5)) for user in model.users[:20]]

def learn():
    for seed in SEEDS:
        folder = FOLDER.with_name(f"seed {seed}")
        done(in_a_child(lambda: train(seed, folder)))
        ANSWERS[seed] = answers(Recommender.load(folder))
        RUNS[seed] = (folder / "current").read_text()
    assert len(set(RUNS.values())) == len(SEEDS)
    done(in_a_child(lambda: train(1)))

def only_the_model():
    names = {path.name for path in FOLDER.iterdir()} - {".lock", "current"}
    assert names == {(FOLDER / "current").read_text().strip()}, names

ANSWERS, RUNS = {}, {}
"""

KILLED = (
    DRIVER
    + """
def child(seed, tell):
    from recsys.model import storage
    save = storage.save
    def told(*args):
        os.write(tell, b"S")
        save(*args)
        os.write(tell, b"E")
    storage.save = told
    train(seed)

def attempt(seed, in_the_save, longest):
    hear, tell = os.pipe()
    pid = in_a_child(lambda: child(seed, tell))
    os.close(tell)
    seen = os.read(hear, 1) if in_the_save else b""
    time.sleep(longest * random.random())
    os.kill(pid, signal.SIGKILL)
    killed = os.WIFSIGNALED(os.waitpid(pid, 0)[1])
    seen += os.read(hear, 9)
    os.close(hear)
    return "finished" if b"E" in seen or not killed else "save" if b"S" in seen else "training"

def seconds(before_save):
    hear, tell = os.pipe()
    started = time.perf_counter()
    pid = in_a_child(lambda: child(3, tell))
    os.close(tell)
    os.read(hear, 1)
    began = time.perf_counter()
    os.read(hear, 1)
    ended = time.perf_counter()
    os.close(hear)
    done(pid)
    return (began - started, ended - began)

random = random.Random(int(sys.argv[4]))
learn()
times = [seconds(None) for _ in range(3)]
training, save = (sorted(column)[1] for column in zip(*times))
landed = {"training": 0, "save": 0, "finished": 0}
became = {"old": 0, "new": 0}
while landed["training"] < N // 2 or landed["save"] < N - N // 2:
    old, run = whole()
    new = old % len(SEEDS) + 1
    in_the_save = landed["training"] >= N // 2 or random.random() < 0.5 > landed["save"] / N
    longest = save if in_the_save else training
    where = attempt(new, in_the_save, longest)
    landed[where] += 1
    seed, now = whole()
    assert now in (run, RUNS[new]), (now, run)
    assert seed in (old, new)
    if where == "training":
        assert seed == old
    became["old" if seed == old else "new"] += 1
    if random.random() < 0.3:  # else the next child finds what this one has left
        seed = random.choice(SEEDS)
        done(in_a_child(lambda: train(seed)))
        assert whole() == (seed, RUNS[seed])
        only_the_model()
done(in_a_child(lambda: train(1)))
assert whole() == (1, RUNS[1])
only_the_model()
print(json.dumps({**landed, **became}))
"""
)

FULL_DISK = (
    DRIVER
    + """
learn()
sizes = {path.stat().st_size for path in FOLDER.with_name("seed 2").glob("run-*/*")}
limits = sorted({0, 20, *(size - 1 for size in sizes)})
hard = resource.getrlimit(resource.RLIMIT_FSIZE)[1]

def starved(limit):
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, hard))
    status, said = train(2)
    resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
    last = said.splitlines()[-1]
    assert status == 1 and last.startswith("recsys: ") and "Traceback" not in said, said

for limit in limits:
    done(in_a_child(lambda: starved(limit)))
    assert whole() == (1, RUNS[1])
    only_the_model()
done(in_a_child(lambda: train(2)))
assert whole() == (2, RUNS[2])
print(len(limits))
"""
)

RACE = (
    DRIVER
    + """
learn()
won = {1: 0, 2: 0}
for _ in range(N):
    for pid in [in_a_child(lambda seed=seed: train(seed)) for seed in won]:
        done(pid)
    seed, run = whole()
    assert run == RUNS[seed]
    only_the_model()
    won[seed] += 1
print(json.dumps(won))
"""
)

REBUILD = (
    DRIVER
    + """
learn()
Path(sys.argv[4]).write_text(json.dumps({str(seed): ANSWERS[seed] for seed in SEEDS}))
for i in range(N):
    done(in_a_child(lambda: train(SEEDS[(i + 1) % len(SEEDS)])))
"""
)

READ = """
import json, sys, time
from pathlib import Path
from recsys import Recommender
folder, answers, stop = map(Path, sys.argv[1:4])
while not answers.exists() and not stop.exists():
    time.sleep(0.01)
expected, loads, seen = None, 0, set()
while not stop.exists() or loads == 0:
    model = Recommender.load(folder)
    expected = expected or json.loads(answers.read_text())
    seed = str(model.params["seed"])
    found = [[list(row) for row in model.recommend(user, k=5)] for user in model.users[:20]]
    assert found == expected[seed], seed
    loads += 1
    seen.add(seed)
print(loads, len(seen))
"""


@pytest.fixture(scope="module")
def data(sample, tmp_path_factory):
    """A part of the sample, so that a training takes a tenth of a second."""
    path = tmp_path_factory.mktemp("survival") / "ratings.csv"
    some = sample[sample["user_id"].isin(sample["user_id"].unique()[:60])]
    some.assign(timestamp=some["timestamp"].astype("int64")).to_csv(path, index=False)
    return path


@posix
@pytest.mark.parametrize("kills", [4, pytest.param(200, marks=pytest.mark.slow)])
def test_killed_at_any_moment_of_train_the_model_is_the_old_or_the_new_one(kills, data, tmp_path):
    """Half of the kills land in the save, whose beginning the child tells; see DRIVER."""
    landed = json.loads(finish(start(KILLED, data, tmp_path / "model", kills, 7)))
    count("kills survived", landed["training"] + landed["save"])
    assert landed["training"] >= kills // 2
    assert landed["save"] >= kills // 2
    assert landed["old"] >= landed["training"]
    if kills >= 100:
        assert landed["new"] > landed["finished"]  # some fell between the switch and the end
    assert only_the_model_is_in(tmp_path / "model")


@posix
@pytest.mark.slow
def test_readers_never_notice_that_the_model_is_replaced(data, tmp_path):
    folder, answers, stop = (tmp_path / name for name in ("model", "answers", "stop"))
    children = [start(READ, folder, answers, stop) for _ in range(4)]
    try:
        finish(start(REBUILD, data, folder, 50, answers))
    finally:
        stop.touch()
    loads, seen = zip(*(map(int, finish(child).split()) for child in children), strict=True)
    count("loads while the model was replaced", sum(loads))
    assert min(loads) > 0
    assert max(seen) > 1
    assert only_the_model_is_in(folder)


@posix
@pytest.mark.slow
def test_on_a_full_disk_train_says_so_in_one_line_and_the_old_model_stays(data, tmp_path):
    assert int(finish(start(FULL_DISK, data, tmp_path / "model", 0))) > 5


@posix
@pytest.mark.slow
def test_of_two_trainings_at_once_one_wins_and_nothing_mixes(data, tmp_path):
    won = json.loads(finish(start(RACE, data, tmp_path / "model", 40)))
    assert sum(won.values()) == 40
