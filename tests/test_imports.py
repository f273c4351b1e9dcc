"""Imports only go down; gensim and annoy stay in one file each; importing the package is cheap."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import recsys

PACKAGE = Path(recsys.__file__).parent

# From the outside world up to what a person runs. On one floor, a module may import those to its
# left. README.md shows the same map.
FLOORS = [
    "errors threads metrics ids lookup where exact index rerank storage recommendations frames "
    "catalogue summary sample download cache data",
    "sequences events splits item2vec walks settings users readout tables fitting explain cold "
    "update",
    "calibrate recommender baselines peers",
    "measure opponents ablation dials cold_items trial refresh report cli evaluate train tune "
    "export plots",
    "__main__",
]
ORDER = ["__init__", *" ".join(FLOORS).split()]


def imports_of(path: Path) -> set[str]:
    """Every module that a file imports, lazily or not; recsys modules as `recsys.name`."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module == "recsys":
            found |= {f"recsys.{alias.name}" for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            found.add(node.module or "")
    return found


def test_every_module_stands_on_a_floor():
    assert sorted(path.stem for path in PACKAGE.glob("*.py")) == sorted(ORDER)


@pytest.mark.parametrize("name", ORDER[1:])
def test_imports_go_down_or_left(name):
    allowed = set(ORDER[: ORDER.index(name)]) | {"__version__"}
    ours = {m.split(".")[1] for m in imports_of(PACKAGE / f"{name}.py") if m.startswith("recsys.")}
    # Types may be named in annotations from anywhere below too; nothing is exempt.
    assert ours <= allowed, f"{name} imports {sorted(ours - allowed)} from above or the right"


@pytest.mark.parametrize(
    ("library", "home"), [("gensim", "item2vec"), ("annoy", "index"), ("implicit", "peers")]
)
def test_one_file_alone_imports_it(library, home):
    homes = [
        path.stem
        for path in PACKAGE.glob("*.py")
        if any(module.split(".")[0] == library for module in imports_of(path))
    ]
    assert homes == [home]


def test_public_names_are_typed_where_they_are_found():
    tree = ast.parse((PACKAGE / "__init__.py").read_text(encoding="utf-8"))
    typed = {
        (node.module, alias.name)
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("recsys.")
        for alias in node.names
    }
    found = {(f"recsys.{home}", name) for name, home in recsys._HOME_OF.items()}
    assert typed == found
    assert all(hasattr(recsys, name) for name in recsys.__all__)
    assert set(recsys.__all__) == set(dir(recsys))
    with pytest.raises(AttributeError, match="no attribute 'recomend'"):
        recsys.recomend  # noqa: B018


def test_importing_the_package_imports_no_library():
    script = "import sys, recsys; print({'numpy', 'pandas', 'gensim'} & set(sys.modules))"
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "set()"
