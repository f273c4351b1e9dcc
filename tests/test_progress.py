"""One bar stands for the whole of a call, moves forward only, and says what is left."""

from __future__ import annotations

import os
import pty
import subprocess
import sys
import termios
import threading

import pytest

from recsys import Recommender, progress
from recsys.progress import clock, each, part, whole


@pytest.fixture
def bars(monkeypatch):
    """All bars of a test, and where each has been."""
    made = []

    class Bar(progress._Bar):
        def __init__(self, name):
            super().__init__(name)
            self.places = []
            made.append(self)

        def move(self, done):
            super().move(done)
            self.places.append(round(self.done, 3))

    monkeypatch.setattr(progress, "_Bar", Bar)
    return made


def test_parts_and_loops_divide_what_is_around_them(bars):
    with whole("outer"):
        with part(0.5):
            list(each("ab"))
        with whole("inner"), part(0.5):
            for _ in each("xyz"):
                with part(1.0) as span:
                    span.at(0.5)
    assert [bar.name for bar in bars] == ["outer"]
    assert bars[0].places == [
        0.25, 0.5, 0.5,
        0.542, 0.583, 0.583, 0.625, 0.667, 0.667, 0.708, 0.75, 0.75, 0.75, 1.0, 1.0,
    ]  # fmt: skip


def test_without_a_bar_nothing_happens_and_an_error_closes_it(bars):
    with part(0.5) as span:
        assert span is None
        assert list(each("ab")) == ["a", "b"]
    with pytest.raises(ZeroDivisionError), whole("fails"), part(0.5):
        1 / 0  # noqa: B018
    assert bars[0].places == []
    with whole("next"):
        pass
    assert bars[1].places == [1.0]


def test_other_threads_move_the_bar_of_the_one_that_gave_them_a_part(bars):
    with whole("threads"), part(0.8) as span:
        thread = threading.Thread(target=span.at, args=[0.5])
        thread.start()
        thread.join()
    assert bars[0].places == [0.4, 0.8, 1.0]


@pytest.mark.parametrize("name", ["fit", "evaluate"])
def test_a_call_has_one_bar_from_begin_to_end(name, bars, sample):
    given = {"vector_size": 4, "epochs": 2, "index": "exact"}
    if name == "fit":
        Recommender(**given).fit(sample)
    else:
        from recsys.evaluate import evaluate

        evaluate(sample, params=given, ks=[5])
    assert [bar.name for bar in bars] == [name]
    places = bars[0].places
    assert len(set(places)) > 6
    assert places == sorted(places)
    assert places[-1] == 1.0


def test_without_a_terminal_a_line_a_minute_says_what_is_left(monkeypatch, capsys):
    moments = iter([0.0, 30.0, 61.0, 90.0, 125.0, 126.0])
    monkeypatch.setattr(progress.time, "monotonic", lambda: next(moments))
    with whole("fit"):
        for _ in each(range(4)):
            pass
    assert capsys.readouterr().err.splitlines() == [
        "fit: 50%, 1:01 so far, 1:01 left",
    ]
    assert clock(3725) == "1:02:05"
    moments = iter([0.0, 61.0, 122.0])
    monkeypatch.setenv("TQDM_DISABLE", "1")
    with whole("fit"), part(0.5):
        pass
    assert capsys.readouterr().err == ""


SHOWN = """
import time
from recsys.progress import each, whole
with whole("fit"):
    for _ in each(range(10)):
        time.sleep(0.3)
"""


def test_on_a_terminal_there_is_a_bar_after_two_seconds():
    ours, theirs = pty.openpty()
    termios.tcsetwinsize(theirs, (25, 90))
    done = subprocess.Popen([sys.executable, "-c", SHOWN], stderr=theirs, stdout=theirs)
    os.close(theirs)
    shown = b""
    while True:
        try:
            if not (more := os.read(ours, 4096)):
                break
        except OSError:
            break
        shown += more
    assert done.wait() == 0
    text = shown.decode()
    assert "fit:  80%" in text
    assert "fit:  90%" in text
