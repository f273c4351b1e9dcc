"""What is drawn is what was given, with names on everything."""

from __future__ import annotations

import matplotlib as mpl

mpl.use("agg")

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest

from recsys import plots
from recsys.evaluation.metrics import means_with_ci95
from recsys.vectors.users import history_weights


@pytest.fixture(autouse=True)
def labelled():
    """Every figure that a test draws has names on both axes and can be rendered."""
    yield
    for number in plt.get_fignums():
        figure = plt.figure(number)
        assert figure.axes[0].get_xlabel()
        assert figure.axes[0].get_ylabel() or rows(figure.axes[0])
        figure.draw_without_rendering()
    plt.close("all")


def entries(**means: float) -> dict[str, object]:
    return {f"recall@{key[1:]}": {"mean": mean, "ci95": [mean - 0.1, mean + 0.1]}
            for key, mean in means.items()}  # fmt: skip


MEASURED = {
    "n_users": 1234,
    "models": {
        "item2vec": entries(k50=0.6, k5=0.2) | {"mrr": {}},
        "ease": entries(k50=0.5, k5=0.3),
    },
    "differences": {"ease": entries(k5=-0.1), "svd": entries(k5=0.2)},
}


def texts(ax) -> list[str]:
    return [text.get_text() for text in ax.texts]


def rows(ax) -> list[str]:
    return [label.get_text() for label in ax.get_yticklabels()]


def test_recall_curve_draws_each_model_over_ascending_k_with_its_interval():
    ax = plots.recall_curve(MEASURED, title="warm")
    drawn = {line.get_label(): line.get_xydata().tolist() for line in ax.lines}
    assert drawn == {"item2vec": [[5, 0.2], [50, 0.6]], "ease": [[5, 0.3], [50, 0.5]]}
    low, high = ax.collections[0].get_datalim(ax.transData).get_points()
    assert low == pytest.approx([5, 0.1])
    assert high == pytest.approx([50, 0.7])
    assert "1,234 users" in ax.get_ylabel()
    assert ax.get_title() == "warm"
    for part in ("color", "marker", "linestyle"):
        assert len({plt.getp(line, part) for line in ax.lines}) == 2
    assert plots.recall_curve(MEASURED, models=["ease"]).get_legend() is None


def test_differences_show_mean_interval_and_zero():
    ax = plots.differences(MEASURED, metric="recall@5")
    assert rows(ax) == ["ease", "svd"]
    assert texts(ax) == ["-0.100", "0.200"]
    assert ax.lines[0].get_xdata() == pytest.approx([-0.2, 0.0])
    assert list(ax.lines[-1].get_xdata()) == [0, 0]


def test_by_group_averages_within_groups_with_the_intervals_of_the_evaluation():
    values, groups = np.random.default_rng(1).random(101), ["a"] * 100 + ["b"]
    ax = plots.by_group(values, groups, order=["b", "a"], xlabel="recall", ylabel="who")
    assert rows(ax) == ["b (n = 1)", "a (n = 100)"]
    assert texts(ax) == [f"{values[100]:.3f}", f"{values[:100].mean():.3f}"]
    _, interval = means_with_ci95(values[:100, None])
    assert ax.lines[2].get_xdata() == pytest.approx(interval[0])


def test_project_keeps_what_lies_together_together():
    vectors = np.random.default_rng(0).normal(size=(40, 8), scale=0.1)
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
    for order, legend in ((), "Drama Horror"), (["Horror", "Drama"], "Horror Drama"):
        users = {"user 7": (0.0, 0.0)}
        ax = plots.item_map(points, groups, order=order, labels={0: "Heat"}, users=users)
        drawn = [text.get_text() for text in ax.get_legend().get_texts()]
        assert drawn == ["others", *legend.split()]
        by_group = {c.get_label(): c.get_offsets() for c in ax.collections[:3]}
        assert np.array_equal(by_group["Drama"], points[:4])
        assert np.array_equal(by_group["others"], points[7:])
        assert sorted(texts(ax)) == ["Heat", "user 7"]


def test_names_of_items_and_settings_do_not_cover_each_other():
    points = np.array([[0.0, 0.0], [0.01, 0.01], [0.02, 0.0], [1.0, 1.0], [-1.0, -1.0]])
    costs = [82, 112, 181, 380, 127, 135, 205, 398, 245, 210, 297, 499]
    shares = [0.48, 0.74, 0.92, 1, 0.735, 0.83, 0.975, 1, 0.952, 0.952, 0.99, 1]
    table = pd.DataFrame({"microseconds_per_query": costs, "recall_vs_exact": shares})
    table = table.assign(n_trees=np.repeat([5, 20, 50], 4), search_k=[100, 300, 1000, 3000] * 3)
    tradeoff = plots.ann_tradeoff(table.iloc[::-1])
    drawn = {line.get_label(): line.get_xdata().tolist() for line in tradeoff.lines}
    assert drawn == {
        f"n_trees = {n}": sorted(costs[i : i + 4]) for n, i in ((50, 8), (20, 4), (5, 0))
    }
    assert sorted(texts(tradeoff)) == sorted(["100", "300", "1,000", "3,000"] * 3)
    for ax in (plots.item_map(points, labels={0: "Alien", 1: "Aliens", 2: "Alien 3"}), tradeoff):
        ax.figure.draw_without_rendering()
        boxes = [text.get_bbox_patch().get_window_extent() for text in ax.texts]
        assert not any(a.overlaps(b) for i, a in enumerate(boxes) for b in boxes[:i])


def test_bars_and_weights_are_drawn_in_order_with_names():
    titles = ["Aliens", "A title that goes on and on for ever", *"cde"]
    explained = pd.DataFrame({"title": titles, "contribution": [3, -2, 1, -0.5, 0.25]})
    ax = plots.contributions(explained, n=3)  # by `neighbours`
    assert ax.yaxis_inverted()
    assert rows(ax) == ["Aliens", "A title that goes on and on…", "c", "(2 others)"]
    assert [bar.get_width() for bar in ax.patches] == [3, -2, 1, -0.25]
    assert [bool(bar.get_hatch()) for bar in ax.patches] == [False, True, False, True]
    weights = history_weights(np.array([0, 3]), half_life=1)
    ax = plots.history(["Alien", "Aliens", "Heat"], {"half-life 1": weights, "equal": [1 / 3] * 3})
    assert ax.lines[0].get_xdata() == pytest.approx([1 / 7, 2 / 7, 4 / 7])
    assert rows(ax) == ["Alien", "Aliens", "Heat"]
    assert not ax.yaxis_inverted()


def test_window_marks_the_centre_and_its_context_and_wraps_titles():
    ax = plots.window(["the", "quick", "brown", "fox", "jumps"], centres=[1], window=1)
    fills = {t.get_text(): t.get_bbox_patch().get_facecolor() for t in ax.texts}
    assert fills["the"] == fills["brown"] != fills["quick"]
    assert fills["fox"] == fills["jumps"] != fills["brown"]
    ax = plots.window(["Monty Python and the Holy Grail", "Fargo"] * 4, centres=[0], window=1)
    assert texts(ax)[:2] == ["Monty\nPython…", "Fargo"]


def test_matrix_draws_the_values_on_a_scale_that_is_even_about_zero():
    (image,) = plots.matrix([[1, -4], [0, 2]], ["king", "queen"], xlabel="dimension").images
    assert image.get_array().tolist() == [[1, -4], [0, 2]]
    assert image.get_clim() == (-4, 4)
