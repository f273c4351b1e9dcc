"""What is drawn is what was given, with names on everything."""

from __future__ import annotations

import matplotlib as mpl

mpl.use("agg")

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest

from recsys import plots
from recsys.vectors.users import history_weights


@pytest.fixture(autouse=True)
def close_figures():
    yield
    plt.close("all")


def entry(mean: float) -> dict[str, object]:
    return {"mean": mean, "ci95": [mean - 0.1, mean + 0.1]}


MEASURED = {
    "n_users": 1234,
    "models": {
        name: {"mrr": entry(0.5), "recall@50": entry(of_50), "recall@5": entry(of_5)}
        for name, of_5, of_50 in [("item2vec", 0.2, 0.6), ("ease", 0.3, 0.5)]
    },
    "differences": {"ease": {"recall@5": entry(-0.1)}, "svd": {"recall@5": entry(0.2)}},
}


def texts(ax) -> list[str]:
    return [text.get_text() for text in ax.texts]


def assert_labelled(ax):
    assert ax.get_xlabel()
    assert ax.get_ylabel() or [label.get_text() for label in ax.get_yticklabels()]
    ax.figure.draw_without_rendering()


def test_recall_curve_draws_each_model_over_ascending_k_with_its_interval():
    ax = plots.recall_curve(MEASURED, title="warm")
    assert_labelled(ax)
    drawn = {line.get_label(): line.get_xydata().tolist() for line in ax.lines}
    assert drawn == {"item2vec": [[5, 0.2], [50, 0.6]], "ease": [[5, 0.3], [50, 0.5]]}
    low, high = ax.collections[0].get_datalim(ax.transData).get_points()
    assert low == pytest.approx([5, 0.1])
    assert high == pytest.approx([50, 0.7])
    assert "1,234 users" in ax.get_ylabel()
    assert ax.get_title() == "warm"


def test_recall_curve_draws_only_the_models_that_are_asked_for():
    ax = plots.recall_curve(MEASURED, models=["ease"])
    assert [line.get_label() for line in ax.lines] == ["ease"]


def test_lines_differ_in_more_than_colour():
    ax = plots.curve([1, 2], {str(i): [i, i] for i in range(7)}, xlabel="x", ylabel="y")
    assert len({line.get_color() for line in ax.lines}) == 7
    assert len({line.get_marker() for line in ax.lines}) == 7


def test_one_line_needs_no_legend():
    assert plots.curve([1, 2], {"recall": [1, 2]}, xlabel="x", ylabel="y").get_legend() is None


def test_differences_show_mean_interval_and_zero():
    ax = plots.differences(MEASURED, metric="recall@5")
    assert_labelled(ax)
    assert [label.get_text() for label in ax.get_yticklabels()] == ["ease", "svd"]
    assert texts(ax) == ["-0.100", "0.200"]
    assert ax.lines[0].get_xdata() == pytest.approx([-0.2, 0.0])
    assert list(ax.lines[-1].get_xdata()) == [0, 0]


def test_by_group_averages_within_groups_and_counts_them():
    values, groups = np.array([0.0, 1.0, 5.0]), ["a", "a", "b"]
    ax = plots.by_group(values, groups, order=["b", "a"], xlabel="recall", ylabel="who")
    assert_labelled(ax)
    names = [label.get_text() for label in ax.get_yticklabels()]
    assert names == ["b (n = 1)", "a (n = 2)"]
    assert texts(ax) == ["5.000", "0.500"]


def test_project_keeps_what_lies_together_together():
    rng = np.random.default_rng(0)
    vectors = rng.normal(size=(40, 8), scale=0.1)
    vectors[:20, 0] += 3
    vectors[20:, 1] += 9  # another direction; lengths do not count
    for method in ("pca", "tsne"):
        points = plots.project(vectors, method=method)
        assert points.shape == (40, 2)
        apart = np.linalg.norm(points[:20].mean(axis=0) - points[20:].mean(axis=0))
        assert apart > 2 * points[:20].std()
    with pytest.raises(ValueError, match="'umap'"):
        plots.project(vectors, method="umap")


def test_item_map_draws_every_item_once_and_names_those_asked_for():
    points = np.random.default_rng(0).normal(size=(9, 2))
    groups = ["Drama"] * 4 + ["Horror"] * 3 + [""] * 2
    ax = plots.item_map(points, groups, labels={0: "Heat"}, users={"user 7": (0.0, 0.0)})
    assert_labelled(ax)
    legend = [text.get_text() for text in ax.get_legend().get_texts()]
    assert legend == ["others", "Drama", "Horror"]
    by_group = {c.get_label(): c.get_offsets() for c in ax.collections[:3]}
    assert np.array_equal(by_group["Drama"], points[:4])
    assert np.array_equal(by_group["others"], points[7:])
    assert sorted(texts(ax)) == ["Heat", "user 7"]


def test_item_map_takes_the_order_of_its_legend():
    points, groups = np.zeros((3, 2)), ["1990s", "1990s", "1980s"]
    ax = plots.item_map(points, groups, order=["1980s", "1990s"])
    assert [text.get_text() for text in ax.get_legend().get_texts()] == ["1980s", "1990s"]


def test_names_on_a_map_do_not_cover_each_other():
    points = np.array([[0.0, 0.0], [0.01, 0.01], [0.02, 0.0], [1.0, 1.0], [-1.0, -1.0]])
    ax = plots.item_map(points, labels={0: "Alien", 1: "Aliens", 2: "Alien 3"})
    ax.figure.draw_without_rendering()
    boxes = [text.get_bbox_patch().get_window_extent() for text in ax.texts]
    assert not any(a.overlaps(b) for i, a in enumerate(boxes) for b in boxes[:i])


def test_ann_tradeoff_joins_the_points_of_a_series_by_cost():
    table = pd.DataFrame(
        {
            "n_trees": [5, 5, 10],
            "search_k": [1000, 100, 100],
            "microseconds_per_query": [90.0, 20.0, 30.0],
            "recall_vs_exact": [0.9, 0.5, 0.7],
        }
    )
    ax = plots.ann_tradeoff(table)
    assert_labelled(ax)
    assert ax.lines[0].get_xydata().tolist() == [[20, 0.5], [90, 0.9]]
    assert [line.get_label() for line in ax.lines] == ["n_trees = 5", "n_trees = 10"]
    assert texts(ax) == ["100", "1,000", "100"]
    assert [text.get_color() for text in ax.texts] == [plots.PALETTE[i] for i in (0, 0, 1)]
    assert table["search_k"].tolist() == [1000, 100, 100]


def test_neighbours_are_drawn_best_on_top():
    ax = plots.neighbours(["Aliens", "A title that goes on and on for ever"], [0.9, 0.5])
    assert_labelled(ax)
    assert [bar.get_width() for bar in ax.patches] == [0.9, 0.5]
    assert ax.yaxis_inverted()
    assert [t.get_text() for t in ax.get_yticklabels()] == [
        "Aliens",
        "A title that goes on and on…",
    ]


def test_history_draws_the_weights_newest_on_top():
    weights = history_weights(np.array([0, 3]), half_life=1)
    ax = plots.history(["Alien", "Aliens", "Heat"], {"half-life 1": weights})
    assert_labelled(ax)
    assert ax.lines[0].get_xdata() == pytest.approx([1 / 7, 2 / 7, 4 / 7])
    assert ax.get_yticklabels()[-1].get_text() == "Heat"
    assert not ax.yaxis_inverted()


def test_contributions_add_up_to_the_score(model):
    user = model.users[0].item()
    best = model.recommend(user, k=1)[0]
    explained = model.explain(user, best.item_id)
    ax = plots.contributions(explained, n=3)
    assert_labelled(ax)
    assert sum(bar.get_width() for bar in ax.patches) == pytest.approx(best.score, abs=1e-4)
    against = [bar for bar in ax.patches if bar.get_width() < 0]
    assert all(bar.get_hatch() for bar in against)


def test_window_marks_the_centre_and_its_context():
    ax = plots.window(["the", "quick", "brown", "fox", "jumps"], centres=[1], window=1)
    assert_labelled(ax)
    fills = {t.get_text(): t.get_bbox_patch().get_facecolor() for t in ax.texts}
    assert fills["the"] == fills["brown"] != fills["quick"]
    assert fills["fox"] == fills["jumps"] != fills["brown"]


def test_long_titles_in_a_window_are_wrapped_not_cut():
    ax = plots.window(["Monty Python and the Holy Grail", "Fargo"] * 4, centres=[0], window=1)
    assert texts(ax)[:2] == ["Monty\nPython…", "Fargo"]
    ax = plots.window(["Empire Strikes Back, The", "Fargo"], centres=[0, 1], window=1)
    assert texts(ax)[0] == "Empire Strikes Back, The"
    assert_labelled(ax)


def test_matrix_draws_the_values_on_a_scale_that_is_even_about_zero():
    values = np.array([[1.0, -4.0], [0.0, 2.0]])
    ax = plots.matrix(values, ["king", "queen"], xlabel="dimension")
    assert_labelled(ax)
    assert np.array_equal(ax.images[0].get_array(), values)
    assert ax.images[0].get_clim() == (-4, 4)


def test_a_given_axes_is_drawn_on_and_returned():
    _, axes = plt.subplots(1, 2)
    assert plots.neighbours(["a"], [1.0], ax=axes[1]) is axes[1]
    assert len(plt.get_fignums()) == 1


def test_colours_are_those_of_okabe_and_ito():
    assert set(plots.PALETTE) <= {
        "#000000", "#E69F00", "#56B4E9", "#009E73", "#F0E442", "#0072B2", "#D55E00", "#CC79A7",
    }  # fmt: skip
