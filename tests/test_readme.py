"""What README.md shows is what happens, and the links of every README lead somewhere."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from recsys.data.datasets import data_folder
from recsys.evaluation.report import as_text

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
FENCES = re.findall(r"^```(\w+)\n(.*?)^```$", README, flags=re.MULTILINE | re.DOTALL)
NUMBER = re.compile(r"(?<![\d.])[-+]?\d+\.\d{3}")
ENTRY = re.compile(r" +(\d+)  +\S+  (.+?)  +\d+\.\d{4}")  # rank, item_id, title, score
GLOBS = ("README.md", "[!.]*/README.md", "[!.]*/[!.]*/README.md")
READMES = [str(path.relative_to(ROOT)) for glob in GLOBS for path in sorted(ROOT.glob(glob))]


def fences(language: str) -> list[str]:
    return [text for found, text in FENCES if found == language]


def rows_of(tables: str) -> dict[tuple[str, str], list[float]]:
    """Return the numbers of each row of an evaluation, by protocol and model."""
    rows, protocol = {}, ""
    for line in tables.splitlines():
        if found := re.match(r"(warm|fold-in): ", line):
            protocol = found[1]
        elif protocol and NUMBER.search(line):
            name = line.split()[0]
            rows[protocol, name] = [float(number) for number in NUMBER.findall(line)]
    return rows


def lists_of(printed: str) -> list[list[str]]:
    """Return the titles of each list of recommendations."""
    lists: list[list[str]] = []
    for rank, title in map(re.Match.groups, filter(None, map(ENTRY.match, printed.splitlines()))):
        lists += [[]] * (rank == "1")
        lists[-1] = [*lists[-1], title]
    return lists


def test_it_is_short_and_opens_with_two_commands():
    assert len(README.splitlines()) <= 200
    evaluate, tests = fences("bash")[0].splitlines()
    assert FENCES[0][0] == "bash"
    assert evaluate.endswith(".venv/bin/python -m recsys.evaluate")
    assert ".venv/bin/python -m pytest" in tests


@pytest.mark.parametrize("readme", READMES)
def test_links_into_the_repository_lead_somewhere(readme):
    text = (ROOT / readme).read_text(encoding="utf-8")
    for target, anchor in re.findall(r"\]\(([^)#:]*)#?([^):]*)\)", text):
        path = (ROOT / readme).parent / target if target else ROOT / readme
        assert path.exists(), target
        if anchor:
            heads = re.findall(r"^#+ (.+)$", path.read_text(encoding="utf-8"), flags=re.MULTILINE)
            assert anchor in [head.lower().replace(" ", "-") for head in heads]


def test_the_evaluation_shown_is_what_the_command_prints(ml_100k_report):
    shown, text = fences("text")[0], as_text(ml_100k_report)
    words = [line.split() for line in text.splitlines()]
    assert all(line.split() in words for line in shown.splitlines() if not NUMBER.search(line))
    assert {protocol for protocol, _ in rows_of(shown)} == {"warm", "fold-in"}
    for (protocol, model), expected in rows_of(shown).items():
        found = rows_of(text)[protocol, model]
        # Another processor rounds differently; training carries that into item2vec's row and
        # into the differences (the last three numbers of a row), and into nothing else.
        trained = 0 if model == "item2vec" else -3
        assert found[trained:] == pytest.approx(expected[trained:], abs=0.03)
        if trained:
            assert found[:trained] == pytest.approx(expected[:trained], abs=0.002)


@pytest.mark.slow
def test_the_scripts_run_as_shown(ml_100k, sample, tmp_path):
    names = {"user_id": "customer", "item_id": "sku", "timestamp": "moment"}
    orders = sample.sort_values("timestamp")[-5000:].rename(columns=names)
    orders[:-100].to_csv(tmp_path / "orders.csv", index=False)
    orders[-100:].to_csv(tmp_path / "orders-of-today.csv", index=False)
    env = {**os.environ, "RECSYS_DATA": str(data_folder().absolute())}
    outputs = [
        subprocess.run(
            [sys.executable, "-c", code],
            stdout=subprocess.PIPE,
            text=True,
            check=True,
            cwd=tmp_path,
            env=env,
        ).stdout
        for code in fences("python")
    ]
    assert len(outputs[1].splitlines()) == 11  # ten items, without titles
    for shown, printed in zip(fences("text")[1:3], (outputs[0], outputs[2]), strict=True):
        expected, found = lists_of(shown), lists_of(printed)
        assert list(map(len, found)) == list(map(len, expected)) != []
        for ours, theirs in zip(expected, found, strict=True):
            # On another processor, training may let one item change places with the next.
            assert len(set(ours) - set(theirs)) <= 1, (ours, theirs)
