"""The commands, as a person runs them: real processes, exit codes, one JSON object on stdout."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from inspect import signature
from statistics import median

import pytest

from recsys import Recommender, __version__
from recsys.__main__ import main
from recsys.commands import common as cli

QUICK = ("--epochs", "1", "--vector-size", "8", "--calibrate", "0")


def recsys(*words, **environment):
    """Run `python -m recsys` and return the finished process."""
    return subprocess.run(
        [sys.executable, "-m", "recsys", *map(str, words)],
        capture_output=True, text=True, env={**os.environ, **environment}, timeout=120,
    )  # fmt: skip


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A model folder made by `recsys train` on the sample."""
    folder = tmp_path_factory.mktemp("cli") / "model"
    done = recsys("train", "--data", "sample", "--model", folder, *QUICK)
    assert done.returncode == 0, done.stderr
    return folder


def test_train_then_recommend_in_the_data_folder(tmp_path):
    done = recsys("train", "--data", "sample", "--json", *QUICK, RECSYS_DATA=str(tmp_path))
    assert done.returncode == 0, done.stderr
    summary = json.loads(done.stdout)
    assert summary["model"] == str(tmp_path / "model")
    assert summary["params"]["epochs"] == 1
    assert summary["ann"] == Recommender.load(tmp_path / "model").ann
    user_id = Recommender.load(tmp_path / "model").users[0]
    script = f"from recsys import recommend; print(recommend({user_id}, k=3).item_ids.tolist())"
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True,
        env={**os.environ, "RECSYS_DATA": str(tmp_path)},
    )  # fmt: skip
    found = recsys("recommend", user_id, "-k", 3, "--json", RECSYS_DATA=str(tmp_path))
    rows = json.loads(found.stdout)["recommendations"]
    assert [row["item_id"] for row in rows] == json.loads(done.stdout)


def test_ids_typed_as_text_are_converted_to_the_stored_type(trained):
    model = Recommender.load(trained)
    where = "year >= 1990 and 'Drama' in genres"
    options = ("--where", where, "--popularity", 0, "--diversity", 0.3, "--reasons", "--json")
    done = recsys("recommend", model.users[0], "--model", trained, "-k", 4, *options)
    asked = {"where": where, "popularity": 0, "diversity": 0.3, "reasons": True}
    expected = [row._asdict() for row in model.recommend(model.users[0], 4, **asked)]
    assert json.loads(done.stdout)["recommendations"] == json.loads(json.dumps(expected))
    done = recsys("recommend", model.users[0], "--model", trained, "-k", 4)
    assert done.stdout == f"{model.recommend(model.users[0], k=4)}\n"


def test_similar_takes_an_id_or_a_title(trained):
    model = Recommender.load(trained)
    item_id = model.items[0]
    title = model.recommend_for([model.items[1]], allow=[item_id])[0].title
    by_id = recsys("similar", item_id, "--model", trained)
    by_title = recsys("similar", title, "--model", trained)
    assert by_id.stdout == by_title.stdout == f"{model.similar_items(item_id)}\n"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("recommend", "no-such-user"), "unknown user 'no-such-user'"),
        (("recommend", "-k", "0", "{user}"), "k must be a whole number above 0"),
        (("recommend", "--where", "yaer > 1", "{user}"), "there is no column 'yaer'"),
        (("recommend", "--diversity", "7", "{user}"), "diversity must lie in"),
        (("similar", "No Such Film"), "unknown item 'No Such Film'"),
        (("recommend", "1", "--model", "nowhere"), "make one with `recsys train`"),
        (("evaluate", "--data", "nowhere.csv"), "nowhere.csv"),
        (("evaluate", "--data", "sample", "--window", "0"), "window must be a whole number"),
        (("train", "--data", "sample", "--min-count", "99999", "--model", "x"), "too little data"),
        (("download", "ml-2m"), "ml-1m"),
    ],
)
def test_an_expected_failure_is_one_line_and_exit_1(words, message, trained, tmp_path):
    user = str(Recommender.load(trained).users[0])
    words = [word.format(user=user) for word in words]
    if words[0] in ("recommend", "similar") and "--model" not in words:
        words += ["--model", str(trained)]
    done = subprocess.run(
        [sys.executable, "-m", "recsys", *words, "--json"],
        capture_output=True, text=True, cwd=tmp_path,
    )  # fmt: skip
    assert (done.returncode, done.stdout) == (1, "")
    assert message in done.stderr.splitlines()[-1]
    assert "Traceback" not in done.stderr


def test_debug_shows_the_traceback(trained):
    done = recsys("recommend", "nobody", "--model", trained, "--debug")
    assert "Traceback" in done.stderr


@pytest.mark.parametrize(
    "words", [(), ("fly",), ("train", "--windw", "3"), ("train", "--window", "x")]
)
def test_wrong_usage_is_exit_2(words):
    done = recsys(*words)
    assert (done.returncode, done.stdout) == (2, "")
    assert "usage: recsys" in done.stderr


def test_ctrl_c_while_training_is_exit_130_and_leaves_nothing(tmp_path):
    folder = tmp_path / "model"
    words = ["train", "--data", "sample", "--epochs", "5000", "--model", str(folder)]
    with subprocess.Popen(
        [sys.executable, "-m", "recsys", *words], stderr=subprocess.PIPE, text=True
    ) as process:
        try:
            for line in process.stderr:
                if "titles" in line or "items" in line:
                    break
            time.sleep(2)
            process.send_signal(signal.SIGINT)
            _, said = process.communicate(timeout=120)
        finally:
            process.kill()
    assert process.returncode == 130
    assert "Traceback" not in said
    assert not folder.exists()


def test_without_any_source_the_default_is_the_sample_and_every_output_says_so(tmp_path):
    # No mirror answers on this port, GroupLens is asked through a proxy that is not there, and
    # pip has no index.
    nowhere = {
        "RECSYS_DATA": str(tmp_path), "https_proxy": "http://127.0.0.1:9",
        "PIP_NO_INDEX": "1", "PIP_FIND_LINKS": "", "PIP_CONFIG_FILE": os.devnull,
    }  # fmt: skip
    done = recsys("evaluate", *QUICK, **nowhere)
    assert done.returncode == 0, done.stderr
    assert "synthetic" in done.stderr
    assert "sample (synthetic)" in done.stdout.splitlines()[0]
    done = recsys("evaluate", "--json", *QUICK, **nowhere)
    assert json.loads(done.stdout)["dataset"]["name"] == "sample (synthetic)"
    done = recsys("evaluate", "--data", "ml-100k", **nowhere)
    assert (done.returncode, done.stdout) == (1, "")


def test_columns_are_mapped_by_options(tmp_path):
    shop = tmp_path / "shop.csv"
    rows = [f"c{i % 9},sku {i * 7 % 11},{1_000_000_000 + i}" for i in range(200)]
    shop.write_text("\n".join(["customer,article,moment", *rows]), encoding="utf-8")
    columns = ("--user-col", "customer", "--item-col", "article", "--timestamp-col", "moment")
    done = recsys("evaluate", "--data", shop, *columns, "--json", *QUICK)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["dataset"]["n_items"] == 11


def test_evaluate_runs_as_a_module_of_its_own_and_by_its_verb():
    words = ("--data", "sample", "--split", "last-out", "--ks", "5", "--json", *QUICK)
    alone = subprocess.run(
        [sys.executable, "-m", "recsys.evaluate", *words], capture_output=True, text=True
    )
    reports = [json.loads(done.stdout) for done in (alone, recsys("evaluate", *words))]
    assert reports[0]["protocols"] == reports[1]["protocols"]


def test_every_keyword_of_the_recommender_has_an_option_and_textbook_can_be_changed(monkeypatch):
    assert [name for name, *_ in cli.MODEL_OPTIONS] == list(signature(Recommender).parameters)
    seen = {}
    monkeypatch.setattr(
        "recsys.commands.train.run", lambda args: seen.update(cli.model_params(args))
    )
    assert main(["train", "--textbook", "--half-life", "2", "--min-rating", "none"]) == 0
    assert seen["scoring"] == "cosine"
    assert (seen["half_life"], seen["min_rating"], seen["sg"]) == (2, None, 1)


def test_version_and_help_read_well():
    assert recsys("--version").stdout == f"recsys {__version__}\n"
    text = recsys("--help").stdout
    for verb in ("evaluate", "train", "recommend", "similar", "download", "export"):
        assert verb in text
        assert "usage" in recsys(verb, "--help").stdout


@pytest.mark.slow
def test_help_answers_at_once():
    def seconds(*words):
        started = time.perf_counter()
        subprocess.run([sys.executable, *words], capture_output=True, check=True)
        return time.perf_counter() - started

    bare = median(seconds("-c", "pass") for _ in range(7))
    for words in (("-m", "recsys", "--help"), ("-m", "recsys.evaluate", "--help")):
        assert median(seconds(*words) for _ in range(7)) < 3 * bare + 0.2


def test_a_reader_that_stops_early_is_no_failure(trained):
    user_id = Recommender.load(trained).users[0]
    with subprocess.Popen(
        [sys.executable, "-m", "recsys", "recommend", str(user_id), "--model", str(trained)],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    ) as process:  # fmt: skip
        process.stdout.close()
        assert process.stderr.read() == b""
    assert process.returncode == 0
