"""A list of recommendations is a light sequence that shows itself as a table."""

from __future__ import annotations

import json
import pickle

import numpy as np
import pytest

from recsys.recommendations import Recommendation, Recommendations

SCORES = np.array([1.5, -0.25], dtype=np.float32)
TITLED = Recommendations(np.array([7, 1198]), SCORES, ["Heat", "Raiders <of> the Lost Ark"])
PLAIN = Recommendations(np.array(["a", "bb"], dtype=object), SCORES)


def test_it_is_a_sequence_of_named_tuples_of_python_values_ranked_from_1():
    assert list(TITLED) == [
        Recommendation(1, 7, "Heat", 1.5, None),
        Recommendation(2, 1198, "Raiders <of> the Lost Ark", -0.25, None),
    ]
    assert TITLED[1:] == [TITLED[-1]]
    assert [type(value) for value in TITLED[0][:4]] == [int, int, str, float]
    assert (len(PLAIN), type(PLAIN[0].item_id)) == (2, str)
    with pytest.raises(IndexError):
        TITLED[2]
    assert TITLED.to_frame().columns.tolist() == ["rank", "item_id", "title", "score", "reason"]


def test_titles_are_read_once_when_somebody_looks():
    asked = []
    listed = Recommendations(np.array([7, 1198]), SCORES, lambda: asked.append(1) or ["a", "b"])
    assert (len(listed), listed.item_ids.tolist(), asked) == (2, [7, 1198], [])
    again = pickle.loads(pickle.dumps(listed))  # without whatever reads them
    assert [row.title for row in again] == [row.title for row in listed] == ["a", "b"]
    assert asked == [1]


def test_its_dicts_are_json(model):
    found = model.recommend(model.users[0], k=2, reasons=True).to_dicts()
    assert json.loads(json.dumps(found)) == found
    assert [row["rank"] for row in found] == [1, 2]


def test_it_prints_as_an_aligned_table():
    assert repr(TITLED) == (
        "rank  item_id  title                        score\n"
        "   1        7  Heat                        1.5000\n"
        "   2     1198  Raiders <of> the Lost Ark  -0.2500"
    )
    assert repr(PLAIN) == ("rank  item_id    score\n   1        a   1.5000\n   2       bb  -0.2500")
    assert repr(Recommendations(np.array([], dtype=int), SCORES[:0])) == "rank  item_id  score"


def test_what_a_terminal_would_obey_is_printed_escaped_on_one_line():
    odd = "a\x1b[31m\nb\u202e\x07 \u3000\u4e2d"
    listed = Recommendations(np.array([odd], dtype=object), SCORES[:1], [odd], [odd])
    shown = r"a\x1b[31m\nb\u202e\x07 " + "\u3000\u4e2d"
    assert repr(listed).splitlines()[1].split("  ", 1)[1].count(shown) == 3
    assert listed[0].title == odd
    assert len(repr(listed).splitlines()) == 2


def test_it_renders_as_an_escaped_html_table():
    html = TITLED._repr_html_()
    assert "<td>Raiders &lt;of&gt; the Lost Ark</td>" in html
    assert html.count("<tr>") == 3
