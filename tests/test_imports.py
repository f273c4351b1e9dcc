"""Imports only go down; one file each imports gensim, annoy and implicit; serving needs numpy."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import recsys

PACKAGE = Path(recsys.__file__).parent

# From the bottom up. A file may import files of its own folder, and what stands below it.
FLOORS = [
    {"errors", "progress"},
    {"recommendations"},
    {"data", "search", "settings"},
    {"vectors"},
    {"model"},
    {"recommender"},
    {"evaluation", "export", "plots"},
    {"studies", "serving"},
    {"evaluate"},
    {"commands"},
    {"__main__", "spark"},
]
HEIGHT = {name: height for height, names in enumerate(FLOORS) for name in names}
# `python -m recsys.evaluate` runs the command of that name.
UPWARDS = {("evaluate", "__main__")}
FILES = sorted(path.relative_to(PACKAGE) for path in PACKAGE.rglob("*.py"))
SERVING = [
    path for path in FILES if path.parts[0] == "search"
    or str(path) in ("model/ask.py", "model/tables.py", "model/storage.py")
]  # fmt: skip


def imports_of(path: Path, *, at_the_top: bool = False) -> set[str]:
    """Every module that a file imports, lazily or not; recsys modules as `recsys.folder.name`."""
    found: set[str] = set()
    tree = ast.parse(path.read_text(encoding="utf-8"))
    for node in tree.body if at_the_top else ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            found |= {f"{node.module}.{alias.name}" for alias in node.names} | {str(node.module)}
    return found


def place_of(path: Path) -> str:
    """The folder of a file, or the file itself at the top."""
    return Path(path.parts[0]).stem


def test_everything_stands_on_a_floor_and_folders_are_small_and_say_what_is_in_them():
    assert {place_of(path) for path in FILES} == {*HEIGHT, "__init__"}
    for folder in {path.parent for path in FILES}:
        assert sum(path.parent == folder for path in FILES) <= 11  # with `__init__`
        text = ast.get_docstring(ast.parse((PACKAGE / folder / "__init__.py").read_text("utf-8")))
        assert str(text).endswith("."), folder


@pytest.mark.parametrize("path", [p for p in FILES if p != Path("__init__.py")], ids=str)
def test_imports_go_down(path):
    here = place_of(path)
    for module in imports_of(PACKAGE / path):
        there = module.split(".")[1] if module.startswith("recsys.") else None
        if there in HEIGHT and there != here and (here, there) not in UPWARDS:
            assert HEIGHT[there] < HEIGHT[here], f"{path} imports {module} from above"


HOMES = {
    "gensim": "vectors/item2vec.py",
    "annoy": "search/approximate.py",
    "implicit": "evaluation/peers.py",
}


@pytest.mark.parametrize(("library", "home"), HOMES.items())
def test_one_file_alone_imports_it(library, home):
    for path in FILES:
        libraries = {module.split(".")[0] for module in imports_of(PACKAGE / path)}
        assert (library in libraries) == (str(path) == home), path


def test_the_service_is_imported_by_its_commands_alone():
    using = {
        str(path)
        for path in FILES
        if place_of(path) != "serving"
        and any(module.startswith("recsys.serving") for module in imports_of(PACKAGE / path))
    }
    assert using == {"commands/service/ab.py", "commands/service/serve.py", "commands/update.py"}


def test_the_folder_spark_alone_imports_pyspark():
    for path in FILES:
        libraries = {module.split(".")[0] for module in imports_of(PACKAGE / path)}
        assert "pyspark" not in libraries or path.parts[0] == "spark", path


def test_public_names_are_typed_where_they_are_found():
    typed = {name for name in imports_of(PACKAGE / "__init__.py") if name.startswith("recsys.")}
    found = {f"recsys.{home}" for home in recsys._HOME_OF.values()}
    assert typed == found | {f"recsys.{home}.{name}" for name, home in recsys._HOME_OF.items()}
    assert all(hasattr(recsys, name) for name in recsys.__all__)
    assert set(recsys.__all__) == set(dir(recsys))
    with pytest.raises(AttributeError, match="no attribute 'recomend'"):
        recsys.recomend  # noqa: B018


@pytest.mark.parametrize("path", SERVING, ids=str)
def test_what_serves_imports_numpy_only_at_its_top(path):
    libraries = {module.split(".")[0] for module in imports_of(PACKAGE / path, at_the_top=True)}
    assert libraries - sys.stdlib_module_names <= {"numpy", "recsys", "__future__"}


RECOMMEND = """
from recsys import Recommender
model = Recommender.load(sys.argv[1])
found = model.recommend(model.users[0], 3, where="year >= 1980", reasons=True)
assert len(found) == 3 and found[0].reason
print(found, file=sys.stderr)
"""


@pytest.mark.parametrize(
    ("code", "unwanted"),
    [
        ("import recsys", "numpy pandas gensim"),
        ("import recsys.export.lookup", "pandas pyarrow scipy sklearn gensim annoy redis"),
        ("from recsys.__main__ import main; main(['--version'])", "pandas scipy gensim annoy"),
        (RECOMMEND, "pandas pyarrow scipy sklearn gensim"),
    ],
    ids=["the package", "looking vectors up", "the command line", "loading and recommending"],
)
def test_what_is_loaded(code, unwanted, model, tmp_path):
    model.save(tmp_path / "model")
    script = f"""
import atexit, sys
atexit.register(lambda: print(sorted(set({unwanted.split()}) & set(sys.modules)), file=sys.stderr))
{code}"""
    done = subprocess.run([sys.executable, "-c", script, str(tmp_path / "model")],
                          capture_output=True, text=True, check=True)  # fmt: skip
    assert done.stderr.splitlines()[-1] == "[]"
