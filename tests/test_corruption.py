"""Every file of a model folder is damaged in every way; loading it never hurts.

A child process loads each damaged folder and asks everything that a model can answer. It names a
case before it begins with it, so that a crash would be known by its case; it may not have more
than 4 GB of addresses, and the most memory that it ever held is looked at in the end.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from recsys import ModelError, Recommender
from recsys.model import storage
from recsys.search.approximate import AnnoyIndex
from tests.counts import count
from tests.test_storage import ROOT, names_in, posix, run_of, saved, seal, tiny

__all__ = ["saved", "tiny"]  # fixtures

# Reads cases from stdin, one JSON object a line: {"name", "file", "how", ...}. One copy of the
# folder is damaged, loaded and mended again and again, so that thousands of cases take seconds.
CHILD = """
import json, logging, os, re, resource, shutil, sys
from pathlib import Path
import numpy as np, pandas, scipy.sparse, annoy
from recsys import ModelError, Recommender
from tests.test_storage import DAMAGES

folder, verify, whole = Path(sys.argv[1]), sys.argv[2] == "verify", sys.argv[3]
resource.setrlimit(resource.RLIMIT_AS, (4 << 30, 4 << 30))
notices = []
logging.getLogger("recsys").addHandler(type("H", (logging.Handler,), {
    "emit": lambda self, record: notices.append(record.getMessage())})())

def answers(model):
    found = []
    for ask in (
        lambda: list(model.recommend("user 0")),
        lambda: list(model.recommend("user 7", k=3, watched=True)),
        lambda: model.recommend_many(k=3).to_csv(),
        lambda: list(model.recommend_for(model.items[:3].tolist())),
        lambda: list(model.similar_items(model.items[0])),
        lambda: list(model.similar_items("Film 3")),
        lambda: model.explain("user 0", model.items[0]).to_csv(),
        lambda: repr(model.popular()),
    ):
        try:
            found.append(ask())
        except Exception as error:
            if verify:
                raise
            found.append(type(error).__name__)
    return found

def damage(path, case):
    how = case["how"]
    if how == "cut":
        os.truncate(path, case["size"])
    elif how == "flip":
        with path.open("r+b") as file:
            file.seek(case["place"])
            byte = file.read(1)[0]
            file.seek(case["place"])
            file.write(bytes([byte ^ 1 << case["bit"]]))
    elif how == "swap":
        shutil.copyfile(case["other"], path)
    else:
        DAMAGES[how](path)

right = answers(Recommender.load(whole))
for line in sys.stdin:
    case = json.loads(line)
    print(json.dumps(case), flush=True)
    path = folder / case["file"]
    damage(path, case)
    notices.clear()
    try:
        model = Recommender.load(folder, verify=verify)
    except ModelError as error:
        print(json.dumps(["ModelError", str(error)]))
    else:
        same = answers(model) == right
        print(json.dumps(["right" if same else "wrong", "; ".join(notices)]))
        del model
    if path.is_dir() and not path.is_symlink():
        path.rmdir()
    else:
        path.unlink(missing_ok=True)
    for moved in folder.glob("moved *"):
        moved.unlink()
    shutil.copyfile(Path(whole) / case["file"], path)
# Not of getrusage, which knows the peak of the process that this one was started by too.
status = Path("/proc/self/status").read_text()
print(json.dumps(["peak", int(re.search(r"VmHWM:\\s+(\\d+) kB", status)[1]) * 1024]))
"""


def files_of(folder: Path) -> list[str]:
    """Every file of a model by its path in the folder, the pointer too."""
    run = run_of(folder).name
    return ["current", *sorted(f"{run}/{name}" for name in names_in(folder / run))]


def outcomes(whole: Path, cases: list[dict], tmp_path: Path, *, verify: bool = True):
    """Load under each damage; return (case, outcome, message) and the peak of memory in bytes."""
    folder = tmp_path / "damaged"
    shutil.copytree(whole, folder)
    child = subprocess.run(
        [sys.executable, "-X", "faulthandler", "-c", CHILD, folder, "verify" if verify else "trust",
         whole],
        input="\n".join(map(json.dumps, cases)),
        env={**os.environ, "PYTHONPATH": str(ROOT), "OPENBLAS_NUM_THREADS": "1"},
        capture_output=True, text=True, timeout=900, check=False,
    )  # fmt: skip
    lines = [json.loads(line) for line in child.stdout.splitlines()]
    count("corruptions tried", sum(isinstance(line, dict) for line in lines))
    count("crashes", child.returncode != 0)
    assert child.returncode == 0, f"{child.stdout[-500:]}\n{child.stderr[-3000:]}"
    *pairs, (_, peak) = lines
    found = [(case, *outcome) for case, outcome in zip(pairs[::2], pairs[1::2], strict=True)]
    assert [case for case, *_ in found] == cases
    return found, peak


def check(found):
    """Everything is refused by the file's name, or else answered rightly after a notice."""
    wrong = [(case, message) for case, outcome, message in found if outcome == "wrong"]
    count("silent wrong answers", len(wrong))
    assert wrong == []
    for case, outcome, message in found:
        if case["file"].endswith("index.ann"):
            assert outcome == "right", (case, message)
            assert message.endswith("; the index is rebuilt from the vectors"), (case, message)
        elif case["file"] == "current" and outcome == "right":
            assert case["how"] in ("cut", "flip"), case  # of the line's end
            assert case.get("size", case.get("place")) == 20
        else:
            assert outcome == "ModelError", (case, outcome)
            if case["file"] == "current":  # it may name a run that is not there
                assert re.search(
                    "current' is|current' cannot|no model in|manifest.json' cannot", message
                )
            else:
                assert f"{case['file']}' " in message, (case, message)
            assert "\n" not in message


def nothing_was_executed(tmp_path: Path) -> bool:
    return not list(tmp_path.rglob("executed"))


@pytest.fixture
def other(saved: Path, tmp_path: Path) -> Path:
    """Another model with the same files, of other content and other sizes."""
    rng = np.random.default_rng(1)
    views = pd.DataFrame(
        {
            "user_id": [f"u{n}" for n in rng.integers(0, 40, 700)],
            "item_id": rng.integers(1, 80, 700),
            "rating": rng.integers(1, 6, 700),
        }
    )
    items = pd.DataFrame({"item_id": range(1, 101), "title": [f"Other {n}" for n in range(100)]})
    Recommender(epochs=1, vector_size=4, min_rating=2).fit(views, items).save(tmp_path / "other")
    return tmp_path / "other"


@posix
@pytest.mark.parametrize(("cuts", "flips"), [(4, 8), pytest.param(50, 200, marks=pytest.mark.slow)])
def test_no_damage_to_any_file_crashes_executes_allocates_or_goes_unnoticed(
    cuts, flips, saved, other, tmp_path
):
    rng, cases = np.random.default_rng(0), []
    others = dict(zip(files_of(saved), files_of(other), strict=True))
    for file in files_of(saved):
        size = (saved / file).stat().st_size
        sizes = sorted({0, size - 1, *rng.integers(0, size, cuts - 2).tolist()})
        cases += [{"file": file, "how": "cut", "size": n} for n in sizes]
        cases += [
            {"file": file, "how": "flip", "place": int(rng.integers(size)), "bit": n % 8}
            for n in range(flips)
        ]
        if file != "current" and (saved / file).read_bytes() != (other / others[file]).read_bytes():
            cases.append({"file": file, "how": "swap", "other": str(other / others[file])})
        kinds = ("pickle", "object array", "link", "link to itself", "folder", "fifo", "10 GB")
        cases += [{"file": file, "how": how} for how in kinds]
    found, peak = outcomes(saved, cases, tmp_path)
    check(found)
    assert nothing_was_executed(tmp_path)
    assert peak < 1 << 30


@posix
@pytest.mark.parametrize("flips", [30, pytest.param(1000, marks=pytest.mark.slow)])
def test_an_index_that_nobody_has_verified_does_no_harm(flips, saved, tmp_path):
    """With `verify=False` the index is looked through all the same: Annoy alone would crash.

    Not the coordinates of items and planes, which lead nowhere: a wrong one may cost an item.
    """
    pytest.importorskip("annoy")
    (file,) = (name for name in files_of(saved) if name.endswith("index.ann"))
    d = Recommender.load(saved).index.vectors.shape[1]
    width = 4 * (3 + d + 1)
    rng, cases = np.random.default_rng(0), []
    size = (saved / file).stat().st_size
    for _ in range(flips):  # half of them among the numbers of children, where it hurts
        node = int(rng.integers(size // width))
        place = node * width + int(rng.integers(12 if rng.random() < 0.5 else width))
        cases.append({"file": file, "how": "flip", "place": place, "bit": int(rng.integers(8))})
    found, peak = outcomes(saved, cases, tmp_path, verify=False)
    assert {outcome for _, outcome, _ in found} <= {"right", "wrong"}
    assert any("is no index of these vectors; the index is rebuilt" in text for *_, text in found)
    for case, outcome, message in found:
        if "the index is rebuilt" in message:
            assert outcome == "right", case
    assert peak < 1 << 30


CIRCLE, AHEAD, OUTSIDE, NEGATIVE, ITEMS, SHORT, LONG, EMPTY = range(8)


@pytest.mark.parametrize("forgery", range(8))
def test_a_forged_index_with_a_matching_manifest_is_rebuilt(forgery, tmp_path, caplog):
    """What Annoy does with each of these: circles for ever, or reads far outside of the file."""
    pytest.importorskip("annoy")
    vectors = np.random.default_rng(0).normal(size=(200, 4)).astype(np.float32)
    path = tmp_path / "index.ann"
    built = AnnoyIndex(vectors)
    built.save(path)
    AnnoyIndex(vectors, path=path)
    nodes = np.fromfile(path, dtype=np.int32).reshape(-1, 8)
    (inner,) = np.nonzero(nodes[:, 0] > 7)
    (lists,) = np.nonzero((nodes[:, 0] > 1) & (nodes[:, 0] <= 7))
    if forgery == CIRCLE:
        nodes[inner[0], 1] = inner[0]
    elif forgery == AHEAD:
        nodes[inner[0], 2] = len(nodes) - 1
    elif forgery == OUTSIDE:
        nodes[lists[0], 1] = 200
    elif forgery == NEGATIVE:
        nodes[inner[-1], 1] = -5
    elif forgery == ITEMS:  # one that is a child itself, and so no list's
        children = nodes[inner, 1:3].ravel()
        nodes[children[children < 200][0], 0] = 2**30
    elif forgery == SHORT:
        nodes = nodes[:200]
    elif forgery == LONG:
        nodes[-1, 0] = 2**31 - 1
    content = b"" if forgery == EMPTY else nodes.tobytes()
    path.write_bytes(content)
    count("corruptions tried")
    with pytest.raises(ValueError, match="is no index of these vectors"):
        AnnoyIndex(vectors, path=path)


def test_a_model_with_a_forged_index_answers_rightly(saved, tmp_path, caplog):
    pytest.importorskip("annoy")
    folder = Path(shutil.copytree(saved, tmp_path / "model"))
    d = Recommender.load(saved).index.vectors.shape[1]
    nodes = np.fromfile(run_of(folder) / "index.ann", dtype=np.int32).reshape(-1, d + 4)
    nodes[nodes[:, 0] > d + 3, 1:3] = len(nodes) + 10**6
    nodes.tofile(run_of(folder) / "index.ann")
    seal(folder)
    count("corruptions tried")
    forged = Recommender.load(folder)
    assert "index.ann' is no index of these vectors; the index is rebuilt" in caplog.text
    assert list(forged.recommend("user 0")) == list(Recommender.load(saved).recommend("user 0"))


ENTRY = {"size": 1, "sha256": ""}


@pytest.mark.parametrize(
    "files",
    [
        None, [], "vectors.npy", {"vectors.npy": None}, {"vectors.npy": {}},
        {"vectors.npy": {"size": "1", "sha256": ""}}, {"../secret.npy": ENTRY}, {"/x.npy": ENTRY},
        {"": ENTRY}, {"manifest.json": ENTRY}, {"a\n.npy": ENTRY}, {"x.npy/../y.npy": ENTRY},
    ],
)  # fmt: skip
def test_a_forged_list_of_files_is_refused(files, saved, tmp_path):
    folder = Path(shutil.copytree(saved, tmp_path / "model"))
    manifest = json.loads((run_of(folder) / "manifest.json").read_text())
    reseal(folder, {**manifest, "files": files})
    count("corruptions tried")
    with pytest.raises(ModelError, match=r"manifest\.json' is damaged: train again"):
        storage.load(folder)


def reseal(folder: Path, manifest: dict) -> None:
    """Put a manifest in the place of the other, and let the name of the run vouch for it."""
    run, text = run_of(folder), json.dumps(manifest)
    (run / "manifest.json").write_text(text)
    new = "run-" + hashlib.sha256(text.encode()).hexdigest()[:16]
    run.rename(folder / new)
    (folder / "current").write_text(new)


def test_texts_without_their_ends_are_refused(saved, tmp_path):
    folder = Path(shutil.copytree(saved, tmp_path / "model"))
    manifest = json.loads((run_of(folder) / "manifest.json").read_text())
    del manifest["files"]["user_ids.ends.npy"]
    reseal(folder, manifest)
    count("corruptions tried")
    with pytest.raises(ModelError, match=r"user_ids\.text\.npy' is of no use without 'user_ids"):
        storage.load(folder)
