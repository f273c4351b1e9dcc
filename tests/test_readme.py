"""What README.md shows is what happens."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

README = (Path(__file__).parents[1] / "README.md").read_text(encoding="utf-8")
FENCES = re.findall(r"^```(\w+)\n(.*?)^```$", README, flags=re.MULTILINE | re.DOTALL)
NUMBER = re.compile(r"(?<![\w-])[-+]?\d+\.\d{3}")


def fences(language: str) -> list[str]:
    return [text for found, text in FENCES if found == language]


def test_it_opens_with_two_commands():
    language, text = FENCES[0]
    assert language == "bash"
    evaluate, tests = text.splitlines()
    assert evaluate.endswith(".venv/bin/python -m recsys.evaluate")
    assert ".venv/bin/python -m pytest" in tests


def test_the_evaluation_shown_is_what_the_command_prints(ml_100k):
    done = subprocess.run(
        [sys.executable, "-m", "recsys.evaluate"], capture_output=True, text=True, check=True
    )
    shown, printed = fences("text")[0].splitlines(), done.stdout.splitlines()
    # What follows the tables, timings and what calibration chose, may differ on another machine.
    shown, printed = (
        lines[: next(i for i, line in enumerate(lines) if line.startswith("item2vec's settings"))]
        for lines in (shown, printed)
    )
    for ours, theirs in zip(shown, printed, strict=True):
        assert NUMBER.sub("#", ours).split() == NUMBER.sub("#", theirs).split()
        # Another processor rounds differently; training carries that into item2vec's row and
        # into the differences (the last three numbers of a row), and into nothing else.
        trained = 0 if ours.startswith("item2vec") else -3
        expected = [float(number) for number in NUMBER.findall(ours)]
        found = [float(number) for number in NUMBER.findall(theirs)]
        assert found[trained:] == pytest.approx(expected[trained:], abs=0.03)
        if trained:
            assert found[:trained] == pytest.approx(expected[:trained], abs=0.002)


def test_the_scripts_run_as_shown(ml_100k, tmp_path):
    environment = {k: v for k, v in os.environ.items() if k != "RECSYS_DATA"}
    outputs = [
        subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, check=True,
            cwd=tmp_path, env=environment,
        ).stdout
        for code in fences("python")
    ]  # fmt: skip
    for shown, printed in zip(fences("text")[1:3], (outputs[0], outputs[2]), strict=True):
        heads = [
            ["rank  item_id  title" in line for line in text.splitlines()]
            for text in (shown, printed)
        ]
        assert heads[0] == heads[1]
    assert len(outputs[1].splitlines()) == 4


def test_links_into_the_repository_lead_somewhere():
    for target in re.findall(r"\]\(([^)#:]+)\)", README):
        assert (Path(__file__).parents[1] / target).exists(), target
