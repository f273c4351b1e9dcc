"""The commands, as a person runs them: exit codes, one line of error, one JSON object on stdout."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import warnings
from inspect import signature

import pandas as pd
import pytest

from recsys import Recommender, __version__
from recsys.__main__ import VERBS, main
from recsys.commands import common
from recsys.errors import DataWarning
from recsys.evaluation import opponents
from recsys.settings import SETTINGS, TEXTBOOK
from recsys.studies import study_names

QUICK = ("--epochs", "1", "--vector-size", "8", "--calibrate", "0")


def python(*words, **environment):
    """Run Python as a process and return its stdout."""
    done = subprocess.run([sys.executable, *map(str, words)], capture_output=True, text=True,
                          check=True, env={**os.environ, **environment}, timeout=120)  # fmt: skip
    return done.stdout


@pytest.fixture
def command(capsys, monkeypatch):
    """Run a command in this process; return its exit status, stdout and stderr."""
    monkeypatch.setattr(opponents, "OPPONENTS", {})

    def run(*words):
        try:
            status = main([*map(str, words)])
        except SystemExit as stopped:
            status = stopped.code
        return status, *capsys.readouterr()

    return run


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A model folder made by `recsys train` on the sample."""
    folder = tmp_path_factory.mktemp("commands") / "model"
    assert main(["train", "--data", "sample", "--model", str(folder), *QUICK]) == 0
    return folder


def test_train_then_recommend_in_the_data_folder(tmp_path):
    """As real processes, with the function `recommend` beside the command."""
    place = {"RECSYS_DATA": str(tmp_path)}
    out = python("-m", "recsys", "train", "--data", "sample", "--json", *QUICK, **place)
    summary, model = json.loads(out), Recommender.load(tmp_path / "model")
    assert summary["model"] == str(tmp_path / "model")
    assert summary["params"]["epochs"] == 1
    assert summary["ann"] == model.about["ann"]
    script = f"from recsys import recommend; print(recommend({model.users[0]}, k=3))"
    found = python("-m", "recsys", "recommend", model.users[0], "-k", 3, **place)
    assert found == python("-c", script, **place)
    assert len(found.splitlines()) > 3


def test_recommend_and_similar_print_what_the_model_says(trained, command):
    model = Recommender.load(trained)
    user, item = model.users[0], model.items[0]
    where = "year >= 1990 and 'Drama' in genres"
    options = ("--where", where, "--popularity", 0, "--diversity", 0.3, "--reasons", "--json")
    _, out, _ = command("recommend", user, "--model", trained, "-k", 4, *options)
    found = model.recommend(user, 4, where=where, popularity=0, diversity=0.3, reasons=True)
    expected = json.dumps([row._asdict() for row in found])
    assert json.loads(out)["recommendations"] == json.loads(expected)
    title = model.recommend_for([model.items[1]], allow=[item])[0].title
    for word in (item, title):
        assert command("similar", word, "--model", trained)[1] == f"{model.similar_items(item)}\n"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("recommend", "no-such-user"), "unknown user 'no-such-user'"),
        (("recommend", "-k", "0", "{user}"), "k must be a whole number above 0"),
        (("recommend", "--where", "yaer > 1", "{user}"), "there is no column 'yaer'"),
        (("recommend", "--diversity", "7", "{user}"), "diversity must be a number from 0 to 1"),
        (("similar", "No Such Film"), "unknown item 'No Such Film'"),
        (("recommend", "1", "--model", "nowhere"), "make one with `recsys train`"),
        (("evaluate", "--data", "nowhere.csv"), "nowhere.csv"),
        (("evaluate", "--data", "sample", "--window", "0"), "window must be a whole number"),
        (("evaluate", "--data", "sample", "--study", "leak", "--split", "last-out"), "the study"),
        (("evaluate", "--data", "{views}"), "--split last-out"),
        (("train", "--data", "sample", "--min-count", "99999", "--model", "x"), "too little data"),
        (("download", "ml-2m"), "ml-1m"),
    ],
)
def test_an_expected_failure_is_one_line_and_exit_1(
    words, message, trained, tmp_path, monkeypatch, command
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "views.csv").write_text("user_id,item_id\n1,2\n1,3\n2,2\n2,3\n")
    user = str(Recommender.load(trained).users[0])
    words = [word.format(user=user, views=tmp_path / "views.csv") for word in words]
    if words[0] in ("recommend", "similar") and "--model" not in words:
        words += ["--model", str(trained)]
    status, out, err = command(*words, "--json")
    assert (status, out) == (1, "")
    assert message in err.splitlines()[-1]
    assert "Traceback" not in err
    with pytest.raises((ValueError, LookupError, OSError)):
        command(*words, "--debug")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("evaluate -k 0", "k must be"), ("evaluate -k 1001", "k must be"),
        ("evaluate --window 0", "window must be"), ("evaluate --cutoffs 2", "cutoffs must lie in"),
        ("evaluate --validation-fraction 1", "validation_fraction must lie in"),
        ("evaluate --study leak --split last-out", "the study leak needs"),
        ("train --model {mine}", "refusing to save"), ("train --hs 1", "hs=1 trains no output"),
        ("update --model {mine}", "no model in"), ("tune --output {mine}", "refusing to overwrite"),
        ("tune --output {mine}/notes.txt", "refusing to overwrite"),
        ("tune --output {mine}/no/x.toml", "is not a folder"),
        ("tune --minutes nan", "minutes must be"), ("tune --split last-out --validation-fraction 7",
                                                    "validation_fraction must lie in"),
    ],
)  # fmt: skip
def test_what_cannot_work_is_refused_before_the_data_are_read(
    words, message, tmp_path, command, monkeypatch
):
    monkeypatch.setattr(common, "load_data", lambda args: pytest.fail("the data were read"))
    (tmp_path / "notes.txt").write_text("precious")
    words = words.format(mine=tmp_path).split()
    status, out, err = command(*words, "--data", "sample")
    assert (status, out) == (1, "")
    assert message in err.splitlines()[-1]
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]


@pytest.mark.parametrize(
    "words", ["", "fly", "train --windw 3", "train --window x", "evaluate --study dial"]
)
def test_wrong_usage_is_exit_2(words, command):
    status, out, err = command(*words.split())
    assert (status, out) == (2, "")
    assert "usage: recsys" in err


def test_ctrl_c_while_training_is_exit_130_and_leaves_nothing(tmp_path):
    folder = tmp_path / "model"
    words = ["--data", "sample", "--epochs", "1000", "--negative", "500", "--calibrate", "0"]
    words += ["--model", str(folder)]
    process = subprocess.Popen(
        [sys.executable, "-m", "recsys", "train", *words], stderr=subprocess.PIPE, text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )  # fmt: skip
    try:
        for line in process.stderr:
            if "20,000 ratings" in line:  # they are ordered: training is next
                break
        process.send_signal(signal.SIGINT)
        err = process.communicate(timeout=60)[1]
    finally:
        process.kill()
    assert process.returncode == 130
    assert "Traceback" not in err
    assert not folder.exists()


def test_without_any_source_the_default_is_the_sample_and_every_output_says_so(
    tmp_path, monkeypatch, command
):
    # No mirror answers on this port, GroupLens is asked through a proxy that is not there, and
    # pip has no index.
    for name, value in {
        "RECSYS_DATA": str(tmp_path), "https_proxy": "http://127.0.0.1:9",
        "PIP_NO_INDEX": "1", "PIP_FIND_LINKS": "", "PIP_CONFIG_FILE": os.devnull,
    }.items():  # fmt: skip
        monkeypatch.setenv(name, value)
    status, out, _ = command("evaluate", *QUICK)
    assert (status, out.splitlines()[0][:18]) == (0, "sample (synthetic)")
    report = json.loads(command("evaluate", "--json", *QUICK)[1])
    assert report["dataset"]["name"] == "sample (synthetic)"
    assert command("evaluate", "--data", "ml-100k", "--json")[:2] == (1, "")


def test_evaluate_is_a_module_of_its_own_too_and_columns_are_mapped_by_options(tmp_path, command):
    shop = tmp_path / "shop.csv"
    rows = [f"c{i % 9},sku {i * 7 % 11},{1_000_000_000 + i}" for i in range(200)]
    shop.write_text("\n".join(["customer,article,moment", *rows]), encoding="utf-8")
    columns = ("--user-col", "customer", "--item-col", "article", "--timestamp-col", "moment")
    words = ("--data", str(shop), *columns, "--json", *QUICK)
    alone = json.loads(python("-m", "recsys.evaluate", *words))
    verb = json.loads(command("evaluate", *words)[1])
    assert alone["dataset"] == verb["dataset"]
    assert alone["dataset"]["n_items"] == 11
    assert alone["params"] == verb["params"]
    assert list(alone["seconds"]) == [
        "load", "sequences", "train", "readout", "index", "opponents", "evaluate"]  # fmt: skip


ORDERS = "who,sku,when,kind,stars\n" + "".join(
    f"c{n % 9},{n * n // 7 % 30:03d},{10**9 + n},{('view', 'buy')[n % 2]},{1 + n % 5}\n"
    for n in range(300)
)
MAPPED = (
    "--data", "orders.csv", "--user-col", "who", "--item-col", "sku", "--timestamp-col", "when",
    "--items", "catalog.tsv", "--items-id-col", "code", "--title-col", "label", "--genres-col",
    "kinds", "--year-col", "since", "--only", "kind=buy",
)  # fmt: skip


@pytest.fixture
def shop(tmp_path, monkeypatch):
    """Two files with columns of other names, in the current folder."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "orders.csv").write_text(ORDERS)
    rows = "".join(f"{n:03d}\tThing {n}\ta|b\t{1990 + n}\t0{n}\n" for n in range(30))
    (tmp_path / "catalog.tsv").write_text(f"code\tlabel\tkinds\tsince\tshelf\n{rows}")
    return tmp_path


@pytest.mark.parametrize("verb", ["train", "evaluate", "tune"])
def test_events_and_items_come_as_two_files_with_mapped_columns(verb, shop, command, monkeypatch):
    seen = []
    load = common.load_data
    monkeypatch.setattr(common, "load_data", lambda args: seen.append(load(args)) or seen[0])
    options = ("--minutes", "0.001") if verb == "tune" else ("--rating-col", "stars", *QUICK)
    assert command(verb, *MAPPED, *options)[0] == 0 or verb == "tune"
    name, ratings, items = seen[0]
    assert (name, len(ratings), len(items)) == ("orders.csv", 150, 30)
    assert items.iloc[3].tolist() == ["003", "Thing 3", ("a", "b"), 1993, "03"]


def test_a_model_trained_on_two_files_knows_titles_and_updates(shop, command):
    model = ("--model", "model")
    assert command("train", *MAPPED, *model, *QUICK)[0] == 0
    assert " Thing " in command("recommend", "c1", *model)[1]
    more = ORDERS.replace(",view,", ",buy,").replace("c8,", "new,")
    (shop / "orders.csv").write_text(more)
    assert "1 new users" in command("update", *MAPPED, *model)[1]
    assert command("recommend", "new", *model)[0] == 0


def test_ids_of_items_are_of_the_kind_of_those_that_are_rated(shop, command):
    (shop / "r.csv").write_text("user,item,time\n" + "".join(
        f"u{n % 4},{('007', '12', '13')[n % 3]},{10**9 + n}\n" for n in range(9)))  # fmt: skip
    (shop / "i.csv").write_text("item,title\n12,Twelve\n13,Thirteen\n")
    words = ("train", "--data", "r.csv", "--items", "i.csv", "--model", "model", *QUICK)
    assert command(*words)[0] == 0
    assert "Thirteen" in command("similar", "Twelve", "--model", "model")[1]


@pytest.mark.parametrize(("words", "message"), [
    (("--items-id-col", "label"), "items that are rated: its ids are such as 'Thing 0'"),
    (("--items-id-col", "kod"), "no column 'kod' as item_col= (--items-id-col) says"),
    (("--items", "nowhere.csv"), "'nowhere.csv' is not a file"),
    (("--title-col", "kind"), "no column 'kind' as title_col= (--title-col) says"),
    (("--only", "kind=gift"), "no row has 'buy' or 'gift'"),
])  # fmt: skip
def test_items_that_do_not_fit_are_an_error_not_a_model_without_titles(
    words, message, shop, command
):
    if "--only" in words:
        (shop / "orders.csv").write_text(ORDERS.replace("buy", "view"))
    status, out, err = command("train", *MAPPED, *words, "--model", "model", *QUICK)
    assert (status, out) == (1, "")
    assert message in err
    assert not (shop / "model").exists()
    assert command("train", "--data", "orders.csv", "--only", "kind")[0] == 2


@pytest.mark.parametrize("module", ["recsys", "recsys.evaluate"])
def test_nothing_that_lies_in_the_current_folder_is_run_or_needed(module, tmp_path):
    for name in ("numpy", "pandas", "pip", "random", "gensim", "platformdirs"):
        (tmp_path / f"{name}.py").write_text("open('was_run', 'w')\nraise SystemExit(9)\n")
    (tmp_path / "pyproject.toml").write_text("[" * 100_000)
    environment = {name: value for name, value in os.environ.items() if name != "RECSYS_DATA"}
    words = ["evaluate"] if module == "recsys" else []
    done = subprocess.run(
        [sys.executable, "-m", module, *words, "--data", "sample", "--window", "0"], cwd=tmp_path,
        env=environment, capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert "window must be a whole number" in done.stderr
    assert not (tmp_path / "was_run").exists()
    assert not (tmp_path / "data").exists()


def test_what_is_assumed_of_the_data_is_shown_as_a_warning_of_one_line(shop):
    words = ["train", "--data", "orders.csv", "--user-col", "who", "--item-col", "sku",
             "--rating-col", "stars", *QUICK, "--model", "model"]  # fmt: skip
    done = subprocess.run([sys.executable, "-m", "recsys", *words], capture_output=True, text=True,
                          check=True)  # fmt: skip
    lines = done.stderr.splitlines()
    assert lines[0].startswith("warning: 'orders.csv' has no column of times: rows are taken to be")
    assert lines[0].endswith("if one of 'when', 'kind' is the time, name it by timestamp_col= "
                             "(--timestamp-col)")  # fmt: skip
    assert [line for line in lines if "ratings are from 1 to 5, and each counts" in line]
    (little,) = [line for line in lines[1:] if line.startswith("warning: ")]
    assert little.startswith("warning: too little data to learn much: 9 users and 30 items have")


def test_options_of_evaluate_are_passed_on(monkeypatch, command):
    seen = []
    monkeypatch.setattr("recsys.evaluate.check_options", lambda **_: None)
    monkeypatch.setattr("recsys.evaluate.evaluate", lambda *_, **options: seen.append(options) or {
        "seconds": {}})  # fmt: skip
    data = ["evaluate", "--data", "sample", "--json"]
    command(*data, "--cutoffs", "0.7", "0.9", "--peers", "--study", *study_names(), "-k", "3", "7")
    command(*data, "--validation-fraction", "0.1", "--split", "time", *QUICK)
    assert seen[0] == {
        "params": {}, "split": "time", "validation_fraction": None, "cutoffs": [0.7, 0.9],
        "against": ("baselines", "peers"), "studies": study_names(), "ks": [3, 7], "name": "sample",
    }  # fmt: skip
    assert seen[1] == {
        "params": {"epochs": 1, "vector_size": 8, "calibrate": 0}, "split": "time",
        "validation_fraction": 0.1, "cutoffs": None, "against": ("baselines",), "studies": [],
        "ks": [10, 20, 50], "name": "sample",
    }  # fmt: skip


def test_every_setting_has_an_option_and_textbook_can_be_changed(monkeypatch):
    assert list(SETTINGS) == list(signature(Recommender).parameters)
    seen = []
    monkeypatch.setattr("recsys.commands.train.run", lambda a: seen.append(common.model_params(a)))
    every = [f"--{name.replace('_', '-')}={setting.default}" for name, setting in SETTINGS.items()]
    main(["train", *(word.replace("True", "1") for word in every)])
    main(["train", "--textbook", "--half-life", "2", "--min-rating", "none"])
    assert seen[0] == {name: setting.default for name, setting in SETTINGS.items()}
    assert seen[1] == TEXTBOOK | {"half_life": 2, "min_rating": None}


def test_history_shows_the_latest_first(trained, command, sample):
    user = int(sample["user_id"].iloc[0])
    mine = sample[sample["user_id"] == user].sort_values("timestamp")
    out = json.loads(command("history", user, "--model", trained, "-k", 3, "--json")[1])
    assert (out["user_id"], out["n_events"], len(out["history"])) == (user, len(mine), 3)
    times = [f"{time:%Y-%m-%dT%H:%M:%S}+00:00" for time in mine["timestamp"].iloc[:-4:-1]]
    assert [row["timestamp"] for row in out["history"]] == times
    last = mine["timestamp"] == mine["timestamp"].max()
    assert out["history"][0]["item_id"] in set(mine.loc[last, "item_id"])
    text = command("history", user, "--model", trained)[1].splitlines()
    assert text[0] == f"user {user}: {len(mine)} events, the latest first"
    assert text[1].startswith(times[0])
    assert out["history"][0]["title"] in text[1]
    status, out, err = command("history", "nobody", "--model", trained)
    assert (status, out) == (1, "")
    assert "unknown user 'nobody' (the model's user ids are numbers, this is a text)" in err


@pytest.mark.parametrize("kind", ["csv", "parquet"])
def test_lists_of_many_users_are_written_into_a_file(kind, trained, command, tmp_path, caplog):
    model, target = Recommender.load(trained), tmp_path / f"lists.{kind}"
    read = {"csv": pd.read_csv, "parquet": pd.read_parquet}[kind]
    words = ("recommend", "--model", trained, "--output", target, "-k", 3)
    assert json.loads(command(*words, "--json")[1])["n_users"] == len(model.users)
    pd.testing.assert_frame_equal(read(target), model.recommend_many(3), check_dtype=False)
    some, ids = model.users[[5, 2]].tolist(), tmp_path / "ids.txt"
    for content in ("5\n\n2\n-7\n", "name,user_id\na,5\nb,2\nc,-7\n"):
        for place, user in (("5", some[0]), ("2", some[1])):
            content = content.replace(f"{place}\n", f"{user}\n")
        ids.write_text(content)
        caplog.clear()
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always", DataWarning)
            command(*words, "--users", ids, "--diversity", 0.2)
        said = caplog.text + " ".join(str(one.message) for one in caught)
        assert "left out 1 users that the model does not know, such as -7" in said
        expected = model.recommend_many(3, users=some, diversity=0.2)
        pd.testing.assert_frame_equal(read(target), expected, check_dtype=False)
    pd.DataFrame({"user_id": some}).to_parquet(tmp_path / "ids.parquet")
    assert command(*words, "--users", tmp_path / "ids.parquet")[0] == 0
    assert read(target)["user_id"].unique().tolist() == some


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("", "name a USER"), ("5 --output {mine}/x.csv", "is for many users"),
        ("--output {mine}/x.csv --reasons", "is for many users"), ("--users x", "name a USER"),
        ("--output {mine}/x.xlsx", "must end in .csv or .parquet"),
        ("--output {mine}/theirs.csv", "refusing to overwrite"),
        ("--output {mine}/theirs.parquet", "refusing to overwrite"),
        ("--output {mine}", "must end in"), ("--output {mine}/no/x.csv", "No such file"),
        ("--output {mine}/x.csv --users {mine}/theirs.csv", "the model knows none of the 1 users"),
        ("--output {mine}/x.csv --users {mine}/theirs.parquet", "holds no user_id"),
        ("--output {mine}/x.csv --users {mine}/none", "No such file"),
    ],
)  # fmt: skip
def test_what_makes_no_file_of_lists_leaves_nothing(words, message, trained, command, tmp_path):
    (tmp_path / "theirs.csv").write_text("precious\n")
    pd.DataFrame({"id": [1]}).to_parquet(tmp_path / "theirs.parquet")
    words = words.format(mine=tmp_path).split()
    status, out, err = command("recommend", "--model", trained, *words)
    assert (status, out) == (1, "")
    assert message in err.splitlines()[-1]
    assert {path.name for path in tmp_path.iterdir()} == {"theirs.csv", "theirs.parquet"}
    assert (tmp_path / "theirs.csv").read_text() == "precious\n"


def test_items_are_added_to_the_saved_model(sample, sample_items, command, tmp_path):
    cold = sample_items["item_id"].iloc[:3].tolist()
    model = Recommender(vector_size=8, epochs=1, calibrate=False)
    model.fit(sample[~sample["item_id"].isin(cold)], sample_items).save(tmp_path / "model")
    new = sample_items[sample_items["item_id"].isin(cold)]
    new.assign(genres=new["genres"].str.join("|")).to_csv(tmp_path / "items.csv", index=False)
    words = ("add-items", tmp_path / "items.csv", "--model", tmp_path / "model")
    assert json.loads(command(*words, "--json")[1])["n_added"] == 3
    assert Recommender.load(tmp_path / "model").about["cold_items"].tolist() == sorted(cold)
    status, out, err = command(*words)
    assert (status, out) == (1, "")
    assert "already in the model" in err.splitlines()[-1]


def test_version_and_help_read_well(command):
    assert command("--version")[1] == f"recsys {__version__}\n"
    text = command("--help")[1]
    for verb in VERBS:
        assert re.search(rf"^    {verb}\s", text, re.MULTILINE)
        assert "usage" in command(verb, "--help")[1]


def test_a_reader_that_stops_early_is_no_failure(trained):
    words = ["recommend", str(Recommender.load(trained).users[0]), "--model", str(trained)]
    read, write = os.pipe()
    os.close(read)
    done = subprocess.run([sys.executable, "-m", "recsys", *words], stdout=write,
                          stderr=subprocess.PIPE, timeout=60)  # fmt: skip
    os.close(write)
    assert (done.returncode, done.stderr) == (0, b"")
