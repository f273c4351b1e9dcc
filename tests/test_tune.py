"""Tuning searches inside the training part, keeps the best whatever ends it, and is taken up."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
import tomllib

import pytest

from recsys import DataError, Recommender, split_by_time
from recsys.__main__ import main
from recsys.commands import common
from recsys.commands.tune import _write_toml
from recsys.evaluation import tune as module
from recsys.evaluation.tune import tune
from recsys.vectors.item2vec import complete_training

pytest.importorskip("optuna")

TINY = {"vector_size": 4, "epochs": 1, "negative": 2}


@pytest.fixture
def quick(monkeypatch):
    """Trials that train for a moment only; what they are given is recorded."""
    seen, recall = [], module._recall
    monkeypatch.setattr(
        module, "_recall", lambda *asked: seen.append(asked) or recall(asked[0], asked[1] | TINY)
    )
    return seen


def test_it_begins_with_the_defaults_and_keeps_the_best(sample, quick):
    better = []
    found = tune(sample.head(5000), minutes=0.02, on_better=better.append)
    defaults = complete_training(Recommender().params, quick[0][0][0].compact().sequences)
    assert quick[0][1] == {name: defaults[name] for name in quick[0][1]}
    assert found["n_trials"] == len(quick) >= 1
    assert found["recall@20"] >= found["default_recall@20"]
    assert [row["recall@20"] for row in better] == sorted(row["recall@20"] for row in better)
    assert better[-1]["params"] == found["params"]
    Recommender(**found["params"])  # would raise


def test_it_never_looks_at_what_evaluate_holds_out(sample, quick):
    tune(sample, minutes=0)
    split, (whole, earlier) = split_by_time(sample), quick[0][0]
    assert earlier.now < whole.now < split.cutoff.timestamp()
    assert len(whole) == len(split.train)
    tune(sample.drop(columns="timestamp"), minutes=0, split="last-out")
    (part,) = quick[-1][0]
    assert len(part) == len(sample) - 2 * sample["user_id"].nunique()
    with pytest.raises(DataError, match="too little data"):
        tune(sample.iloc[:3], minutes=0)


def test_the_file_it_writes_is_what_train_and_evaluate_take(tmp_path, monkeypatch):
    path = tmp_path / "params.toml"
    params = {"sg": 1, "alpha": 0.03, "sample": 1e-05}
    found = {"params": params, "n_trials": 2, "recall@20": 0.2, "default_recall@20": 0.1}
    _write_toml(path, found, "views.csv")
    assert tomllib.loads(path.read_text()) == params
    seen = {}
    monkeypatch.setattr("recsys.commands.train.run", lambda a: seen.update(common.model_params(a)))
    assert main(["train", "--params", str(path), "--alpha", "0.04"]) == 0
    assert seen == params | {"alpha": 0.04}


def test_a_file_of_something_else_is_an_error(tmp_path, capsys):
    path = tmp_path / "params.toml"
    for text, message in ("sg = ", "is not TOML"), ("windw = 3", "holds ['windw']"):
        path.write_text(text)
        assert main(["train", "--data", "sample", "--params", str(path)]) == 1
        assert message in capsys.readouterr().err
    assert main(["train", "--data", "sample", "--params", str(tmp_path / "none.toml")]) == 1


INTERRUPTED = """
import signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)
from recsys.evaluation import tune
from recsys.__main__ import main
recall = tune._recall
tune._recall = lambda parts, params: recall(parts, {"vector_size": 4, "epochs": 1, "negative": 2})
sys.exit(main(["tune", "--data", "sample", "--minutes", "5", "--output", sys.argv[1]]))
"""


def test_ctrl_c_leaves_the_best_so_far(tmp_path):
    path = tmp_path / "params.toml"
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    child = subprocess.Popen([sys.executable, "-c", INTERRUPTED, path], **pipes)
    try:
        while not path.exists() and child.poll() is None:
            time.sleep(0.05)
        child.send_signal(signal.SIGINT)
        out, err = child.communicate(timeout=60)
    finally:
        child.kill()
    assert child.returncode == 130
    assert "on nested splits" in out
    assert "Traceback" not in err
    Recommender(**tomllib.loads(path.read_text()))
