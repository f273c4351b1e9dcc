"""The notebooks run top to bottom, say nothing on stderr, and read well as they are stored."""

from __future__ import annotations

import ast
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from recsys.data.datasets import data_folder

FOLDER = Path(__file__).parents[1] / "notebooks"
NOTEBOOKS = sorted(path.stem for path in FOLDER.glob("*.ipynb"))


def cells_of(name: str, kind: str) -> list[dict]:
    cells = json.loads((FOLDER / f"{name}.ipynb").read_text(encoding="utf-8"))["cells"]
    return [cell for cell in cells if cell["cell_type"] == kind]


def source(cell: dict) -> str:
    return "".join(cell["source"])


def nodes_of(name: str) -> list[ast.AST]:
    """Every piece of the code of a notebook."""
    return [n for cell in cells_of(name, "code") for n in ast.walk(ast.parse(source(cell)))]


def shown(cell: dict) -> str:
    """Everything in the outputs that is text."""
    data = [dict(output.get("data") or output) for output in cell["outputs"]]
    texts = json.dumps([{**one, "image/png": None} for one in data])
    return texts.encode().decode("unicode_escape", errors="ignore")


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_it_begins_with_what_is_learnt_and_ends_with_three_exercises(name):
    texts = [source(cell) for cell in cells_of(name, "markdown")]
    assert texts[0].startswith("# ")
    assert "**What you will learn**" in texts[0]
    exercises = texts[-1].split("## Exercises")[1]
    assert re.findall(r"^(\d)\. ", exercises, flags=re.MULTILINE) == ["1", "2", "3"]


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_outputs_are_stored_in_order_and_hold_no_errors_nor_paths(name):
    code = cells_of(name, "code")
    assert [cell["execution_count"] for cell in code] == list(range(1, len(code) + 1))
    pictures = 0
    for cell in code:
        kinds = [output["output_type"] for output in cell["outputs"]]
        assert "error" not in kinds
        assert all(output.get("name") != "stderr" for output in cell["outputs"])
        assert not re.search(r"/(tmp|home|root|Users|work)/|0x[0-9a-f]{8}|widget-view", shown(cell))
        drawn = sum("image/png" in output.get("data", {}) for output in cell["outputs"])
        assert drawn or "plots." not in source(cell) or "plots.project" in source(cell)
        pictures += drawn
    assert pictures
    last = ast.parse(source(code[-1])).body[-1]
    assert isinstance(last, ast.Expr)
    assert code[-1]["outputs"]


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_no_function_is_longer_than_three_lines(name):
    for node in nodes_of(name):
        if isinstance(node, ast.FunctionDef | ast.Lambda):
            assert node.end_lineno - node.lineno < 3, ast.unparse(node)


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_only_public_names_are_used(name):
    for node in nodes_of(name):
        if isinstance(node, ast.ImportFrom | ast.Import):
            names = [alias.name for alias in node.names] + [getattr(node, "module", "") or ""]
            assert not any(part.startswith("_") for n in names for part in n.split("."))
        elif isinstance(node, ast.Attribute):
            assert not node.attr.startswith("_"), node.attr


@pytest.mark.parametrize("name", ["01_embeddings_and_word2vec", "02_item2vec_movies"])
def test_beginners_meet_top_level_names_only(name):
    modules = [node.module for node in nodes_of(name) if isinstance(node, ast.ImportFrom)]
    assert not [module for module in modules if module.startswith("recsys.")]


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_links_to_other_notebooks_lead_somewhere(name):
    for cell in cells_of(name, "markdown"):
        for target in re.findall(r"\]\(([^):]+)\)", source(cell)):
            assert (FOLDER / target).exists(), target


# In a process of its own, so that one notebook's kernel and sockets cannot reach the next one's.
RUN = """
import sys, nbformat
from nbclient import NotebookClient

notebook = nbformat.read(sys.argv[1], as_version=4)
where = {"metadata": {"path": sys.argv[2]}}
NotebookClient(notebook, timeout=600, kernel_name="python3", resources=where).execute()
nbformat.write(notebook, sys.argv[2] + "/done.ipynb")
"""


@pytest.mark.slow
@pytest.mark.parametrize("name", NOTEBOOKS)
def test_it_runs_from_top_to_bottom_without_a_word_on_stderr(name, ml_100k, tmp_path):
    pytest.importorskip("nbclient")
    # Where the project lies is found from the working folder; here that is an empty one.
    data = {"RECSYS_DATA": str(data_folder().absolute())}
    done = subprocess.run(
        [sys.executable, "-c", RUN, str(FOLDER / f"{name}.ipynb"), str(tmp_path)],
        capture_output=True, text=True, env={"OMP_NUM_THREADS": "1", **os.environ, **data},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    notebook = json.loads((tmp_path / "done.ipynb").read_text(encoding="utf-8"))
    for cell in notebook["cells"]:
        for output in cell.get("outputs", []):
            assert output.get("name") != "stderr", output["text"]
