"""A model goes where its process goes: through pickles, copies, forks and new processes."""

from __future__ import annotations

import copy
import multiprocessing
import os
import pickle
import threading
import time

import joblib
import pytest

from recsys import Recommender
from recsys.recommender import fitted
from recsys.search.threads import one_blas_thread
from tests.test_storage import names_in, run
from tests.test_threads import blas_threads


def lists(model: Recommender) -> list[object]:
    some = model.users[:5].tolist()
    many = model.recommend_many(5, users=some).to_numpy().tolist()
    return [*(list(model.recommend(user, 5, reasons=True)) for user in some), many]


@pytest.fixture(scope="module")
def loaded(model, tmp_path_factory):
    """A model whose arrays and index are mapped from files."""
    folder = tmp_path_factory.mktemp("travel") / "model"
    model.save(folder)
    return Recommender.load(folder)


def by_joblib(model, tmp_path):
    joblib.dump(model, tmp_path / "model")
    return joblib.load(tmp_path / "model")


@pytest.mark.parametrize("held", ["model", "loaded"])
@pytest.mark.parametrize(
    "travel",
    [
        lambda model, _: pickle.loads(pickle.dumps(model)),
        lambda model, _: pickle.loads(pickle.dumps(model, 2)),
        lambda model, _: copy.copy(model), lambda model, _: copy.deepcopy(model), by_joblib,
    ],
    ids=["pickle", "protocol 2", "copy", "deepcopy", "joblib"],
)  # fmt: skip
def test_a_copy_answers_as_the_model_does_and_can_be_saved(travel, held, request, tmp_path):
    model = request.getfixturevalue(held)
    lists(model)
    model.similar_users(model.users[0])
    model.recommend(model.users[0], where="year > 1")
    other = travel(model, tmp_path)
    assert other is not model
    assert fitted(other).index.backend == fitted(model).index.backend
    assert lists(other) == lists(model)
    for name, one in (("a", model), ("b", other)):
        one.save(tmp_path / name)
    assert names_in(tmp_path / "a") == names_in(tmp_path / "b")  # runs are named by their content
    other.remove_items(other.items[:1])
    assert len(other.items) == len(model.items) - 1


def test_a_pickle_holds_nothing_that_can_be_worked_out_again(model):
    fresh = pickle.loads(pickle.dumps(model))
    size = len(pickle.dumps(fresh))
    fresh.similar_users(fresh.users[0])
    fresh.similar_items(fresh.items[0])
    assert len(pickle.dumps(fresh)) == size


@pytest.mark.parametrize("way", ["spawn", "fork"])
def test_processes_of_every_kind_answer_alike(way, loaded):
    users = loaded.users[:4].tolist()
    with multiprocessing.get_context(way).Pool(2) as pool:
        found = pool.map(loaded.recommend, users)
    assert [list(one) for one in found] == [list(loaded.recommend(user)) for user in users]


FORK = """
import threading, time
from recsys.recommender import fitted
model = Recommender.load(sys.argv[1])
expected, done = model.recommend_many(5).to_numpy().tolist(), threading.Event()

def ask():
    while not done.is_set():
        model._model = fitted(Recommender.load(sys.argv[1], verify=False))  # nothing worked out yet
        model.recommend_many(5, threads=2)
        model.similar_users(model.users[0])

threads = [threading.Thread(target=ask) for _ in range(3)]
[thread.start() for thread in threads]
for _ in range(int(sys.argv[2])):
    time.sleep(0.01)
    pid = os.fork()
    if pid == 0:
        same = model.recommend_many(5, threads=2).to_numpy().tolist() == expected
        model.similar_users(model.users[0])
        os._exit(0 if same else 1)
    stop = time.monotonic() + 60
    while (status := os.waitpid(pid, os.WNOHANG))[0] == 0:
        if time.monotonic() > stop:
            os.kill(pid, signal.SIGKILL)
            raise SystemExit("the child hangs")
        time.sleep(0.001)
    assert status[1] == 0, status
done.set()
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.parametrize("n", [10, pytest.param(200, marks=pytest.mark.slow)])
def test_a_child_forked_while_threads_are_inside_answers(n, loaded, tmp_path):
    loaded.save(tmp_path / "model")
    run(FORK, tmp_path / "model", n)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_child_has_the_limit_of_blas_that_was_there_before(tmp_path):
    """Whether it is forked inside or beside, and it can set the limit itself."""
    before = blas_threads()
    inside, leave = threading.Event(), threading.Event()

    def stay():
        with one_blas_thread():
            inside.set()
            leave.wait()

    def check():
        assert blas_threads() == before
        with one_blas_thread():
            assert blas_threads() == {1}
        assert blas_threads() == before

    beside = threading.Thread(target=stay)
    beside.start()
    inside.wait()
    try:
        for _ in range(2):
            pid = os.fork()
            if pid == 0:
                status = 1
                try:
                    check()
                    status = 0
                finally:
                    os._exit(status)
            assert os.waitpid(pid, 0)[1] == 0
            with one_blas_thread():
                assert blas_threads() == {1}
    finally:
        leave.set()
        beside.join()
    assert blas_threads() == before


def test_a_model_is_saved_while_others_ask_it(model, tmp_path):
    """Annoy's own save takes the index away from them."""
    expected, done, problems = lists(model), threading.Event(), []

    def ask():
        while not done.is_set():
            if lists(model) != expected:
                problems.append("another answer")

    readers = [threading.Thread(target=ask) for _ in range(4)]
    for reader in readers:
        reader.start()
    stop = time.monotonic() + 1
    while time.monotonic() < stop:
        model.save(tmp_path / "model")
    done.set()
    for reader in readers:
        reader.join()
    assert problems == []
    assert lists(Recommender.load(tmp_path / "model")) == expected
