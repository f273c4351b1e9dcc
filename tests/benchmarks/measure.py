"""Take times in turn, and peaks of memory in fresh processes.

A stage is a function of a `Case` that prepares its inputs and returns what is to be measured, by
name: ours first, then the limit (what any program would have to do) and peers. As a module,

    python -m tests.benchmarks.measure MODULE STAGE NAME CASE

does one of them in a process of its own and prints its seconds and its peak of memory.
"""

from __future__ import annotations

import ctypes
import gc
import importlib
import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from importlib.util import find_spec
from itertools import product
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

ROOT = Path(__file__).parents[2]
STATUS, CLEAR = Path("/proc/self/status"), Path("/proc/self/clear_refs")
ONE_THREAD = {
    f"{name}_NUM_THREADS": "1" for name in ("OMP", "OPENBLAS", "MKL", "BLIS", "NUMBA", "VECLIB")
}
PEERS = ("implicit", "ranx")
LEFT_OUT = {name for name in PEERS if find_spec(name) is None}

Works = Mapping[str, Callable[[], object]]
Clock = Callable[[], float]


@dataclass(frozen=True)
class Case:
    """What to run on: a folder for generated files, sizes, and how often."""

    folder: str
    n_ratings: int
    n_users: int
    n_items: int
    repeats: int


@dataclass(frozen=True)
class Row:
    """A line of the table."""

    stage: str
    size: str
    measured: str
    unit: str  # "x" where the values are ratios
    values: list[float]  # one a repeat
    at_most: float | None  # the target
    seconds: dict[str, float]  # of ours and of what it is compared with, for orientation
    peak_mb: dict[str, float]
    n_ratings: int | None = None  # where the stage grows with them

    @property
    def quartiles(self) -> list[float]:
        """Lower quartile, median and upper quartile."""
        return np.percentile(self.values, [25, 50, 75]).tolist()

    @property
    def ok(self) -> bool | None:
        """Whether the median is within the target; None without one."""
        return None if self.at_most is None else self.quartiles[1] <= self.at_most


def alternate(
    works: Works, repeats: int, clock: Clock = time.process_time
) -> dict[str, np.ndarray]:
    """Do all works in turn, again and again; return the seconds of each, float64 (repeats,).

    The processor's clock does not count what other programs do. Child processes and threads need
    the clock on the wall, `time.perf_counter`.
    """
    seconds = {name: np.empty(repeats) for name in works}
    for repeat, (name, work) in product(range(repeats), works.items()):
        gc.collect()
        started = clock()
        result = work()
        seconds[name][repeat] = clock() - started
        del result
    return seconds


def compare(
    stage: str,
    size: str,
    prepare: Callable[[Case], Works],
    case: Case,
    *,
    ratios: Mapping[str, float | None],
    memory_ratios: Mapping[str, float] | None = None,
    peak_mb: float | None = None,
    ours: tuple[str, str, float, float] | None = None,
    memory: bool = True,
    clock: Clock = time.process_time,
    what: str = "seconds",
    n_ratings: int | None = None,
) -> list[Row]:
    """Measure what a stage has prepared.

    Parameters
    ----------
    ratios, memory_ratios : name -> highest ratio to its seconds or peak of memory; None = no target
    peak_mb : highest peak of ours above its inputs, in million bytes
    ours : (measured, unit, scale, at most)
        A row for ours alone: its seconds times the scale.
    memory : whether to measure memory, which tells nothing of works that are whole processes
    what : what the ratios are of
    """
    seconds = alternate(prepare(case), case.repeats, clock)
    peaks = {name: in_child(prepare, name, case)["peak_mb"] for name in seconds if memory}
    known = {name: peak for name, peak in peaks.items() if peak is not None}
    first = next(iter(seconds))

    def row(measured: str, unit: str, values: Any, at_most: float | None, *names: str) -> Row:
        return Row(
            stage, size, measured, unit, [float(value) for value in values], at_most,
            {name: float(np.median(seconds[name])) for name in (first, *names)},
            {name: known[name] for name in (first, *names) if name in known},
            n_ratings,
        )  # fmt: skip

    rows = [row(f"{what} / {name}", "x", seconds[first] / seconds[name], at_most, name)
            for name, at_most in ratios.items() if name in seconds]  # fmt: skip
    if ours is not None:
        measured, unit, scale, at_most = ours
        rows.append(row(measured, unit, seconds[first] * scale, at_most))
    for name, share in (memory_ratios or {}).items():
        if {first, name} <= set(known):
            ratio = known[first] / max(known[name], 1e-6)
            rows.append(row(f"peak memory / {name}", "x", [ratio], share, name))
    if peak_mb is not None and first in known:
        rows.append(row("peak memory", "MB", [known[first]], peak_mb))
    return rows


def environment() -> dict[str, str]:
    """Return the environment of a child process that finds this repository and has one thread."""
    path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
    return os.environ | ONE_THREAD | {"PYTHONPATH": path}


def in_child(prepare: Callable[[Case], Works], name: str, case: Case) -> dict[str, Any]:
    """Do one work in a fresh process; return its seconds and its peak_mb (None but on Linux)."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.benchmarks.measure", prepare.__module__, prepare.__name__,
         name, json.dumps(asdict(case))],
        stdout=subprocess.PIPE, text=True, check=True, env=environment(),
    )  # fmt: skip
    return json.loads(done.stdout.splitlines()[-1])


def _resident_mb() -> float:
    """Return the peak of resident memory since the last `CLEAR`, in million bytes."""
    return int(re.findall(r"VmHWM:\s+(\d+) kB", STATUS.read_text())[0]) * 1024 / 1e6


def _child(module: str, stage: str, name: str, case: str) -> None:
    work = getattr(importlib.import_module(module), stage)(Case(**json.loads(case)))[name]
    gc.collect()
    if linux := CLEAR.exists():
        if trim := getattr(ctypes.CDLL(None), "malloc_trim", None):
            trim(0)  # what is free goes back to the system, so that it counts when used again
        CLEAR.write_text("5")  # resets the peak to what is resident now (proc(5))
        before = _resident_mb()
    started = time.process_time()
    result = work()
    seconds = time.process_time() - started
    print(json.dumps({"seconds": seconds, "peak_mb": _resident_mb() - before if linux else None}))
    del result


def peer(name: str) -> ModuleType | None:
    """Import a package to compare with; None, and named in `LEFT_OUT`, where it cannot be."""
    try:
        return importlib.import_module(name)
    except ImportError:
        LEFT_OUT.add(name)
        return None


if __name__ == "__main__":
    _child(*sys.argv[1:])
