"""Draw what the package computes; each function is one call and returns the matplotlib Axes.

Needs the extra "notebooks" (`pip install -e ".[notebooks]"`); no other module imports this one.
Colours are Okabe and Ito's, which people with any colour vision can tell apart, and no plot tells
things apart by colour alone.
"""

from __future__ import annotations

from textwrap import wrap
from typing import TYPE_CHECKING, Any

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.ticker import LogLocator, MaxNLocator

from recsys.evaluation import metrics

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    import numpy.typing as npt
    import pandas as pd
    from matplotlib.axes import Axes

    Numbers = Sequence[float] | npt.NDArray[Any]

# Okabe & Ito 2008, "Color Universal Design", without the yellow, which is faint on white.
PALETTE = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
STAR = "#F0E442"
MARKERS = "osD^vPX"
LINES = ("-", "--", "-.", ":")
# Inches and points that stay readable when the picture is shown at half its width.
WIDTH, HEIGHT, LABEL, TICK = 7.0, 4.6, 13, 11


def project(
    vectors: npt.NDArray[Any], *, method: str = "pca", seed: int = 0
) -> npt.NDArray[np.float64]:
    """Flatten vectors to two dimensions for a map; directions count, not lengths.

    Parameters
    ----------
    vectors : float array, shape (n, d)
        Project all that shall be on one map in one call, users and items stacked.
    method : {"pca", "tsne"}
        "pca" keeps the two directions of largest variance, and large distances with them; "tsne"
        keeps neighbours together, and its distances between clusters say nothing.
    seed : int

    Returns
    -------
    float64 array, shape (n, 2)

    Raises
    ------
    ValueError
        Another method.

    References
    ----------
    van der Maaten & Hinton 2008, "Visualizing Data using t-SNE".
    """
    from sklearn.decomposition import PCA
    from sklearn.manifold import TSNE

    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    unit = np.asarray(vectors, np.float64) / np.where(lengths > 0, lengths, 1)
    if method == "pca":
        return np.asarray(PCA(2, random_state=seed).fit_transform(unit), np.float64)
    if method == "tsne":
        perplexity = min(30.0, (len(unit) - 1) / 3)
        tsne = TSNE(2, perplexity=perplexity, init="pca", random_state=seed)
        return np.asarray(tsne.fit_transform(unit), np.float64)
    raise ValueError(f"method must be 'pca' or 'tsne', got {method!r}")


def item_map(
    points: npt.NDArray[Any],
    groups: Sequence[str] | None = None,
    *,
    order: Sequence[str] | None = None,
    labels: Mapping[int, str] | None = None,
    users: Mapping[str, tuple[float, float]] | None = None,
    title: str | None = None,
    ax: Axes | None = None,
) -> Axes:
    """Draw items as points on a map, coloured by group, with some named and users among them.

    Parameters
    ----------
    points : float array, shape (n_items, 2)
        As `project` gives them.
    groups : sequence of str, length n_items
        The six largest get a colour and a marker each; the rest, and those named "", are grey.
    order : names of groups, at most seven
        Those to colour, in the order of the legend; by size if not given.
    labels : dict of row -> text
        Items to name.
    users : dict of text -> (x, y)
        Where users stand, drawn as stars.
    title : str
    ax : Axes
        Where to draw; a new figure if not given.
    """
    ax = _axes(ax, title, height=WIDTH * 0.85)
    of = np.asarray(["items"] * len(points) if groups is None else groups, dtype=str)
    names, sizes = np.unique(of[of != ""], return_counts=True)
    largest = [str(name) for name in names[np.argsort(-sizes, kind="stable")][:6]]
    shown = largest if order is None else list(order)
    rest = ~np.isin(of, shown)
    if rest.any():
        ax.scatter(points[rest, 0], points[rest, 1], s=9, color="#D8D8D8", label="others")
    for i, name in enumerate(shown):
        ax.scatter(points[of == name, 0], points[of == name, 1], s=20, color=PALETTE[i],
                   marker=MARKERS[i], alpha=0.8, linewidths=0, label=name)  # fmt: skip
    for place in (users or {}).values():
        ax.scatter(place[0], place[1], s=330, marker="*", color=STAR, edgecolors="black", zorder=4)
    for row in labels or {}:
        ax.scatter(points[row, 0], points[row, 1], s=34, color="none", edgecolors="black", zorder=4)
    named = [(np.asarray(place), text, "black") for text, place in (users or {}).items()]
    named += [(points[row], text, "black") for row, text in (labels or {}).items()]
    _write_names(ax, named)
    ax.set(xticks=[], yticks=[])
    ax.set_xlabel("across the map (no unit)", fontsize=LABEL)
    ax.set_ylabel("up the map (no unit)", fontsize=LABEL)
    if groups is not None:
        ax.legend(fontsize=TICK, markerscale=1.6, loc="upper center", ncols=4,
                  bbox_to_anchor=(0.5, -0.06), frameon=False, handletextpad=0.1)  # fmt: skip
    return ax


def _write_names(ax: Axes, named: list[tuple[npt.NDArray[Any], str, str]]) -> None:
    """Write each (point, name, colour) at the first place beside it that is inside and free."""
    frame, scale = ax.get_window_extent(), ax.figure.dpi / 72
    points = [ax.transData.transform(place) for place, _, _ in named]
    taken = [(x - 4 * scale, y - 4 * scale, x + 4 * scale, y + 4 * scale) for x, y in points]
    sides = [(1, 1), (-1, 1), (1, -1), (-1, -1)]
    tries = [(gap * x, gap * y) for gap in (6, 16, 28, 42) for x, y in sides]
    for (place, text, colour), at in zip(named, points, strict=True):
        wide, high = len(text) * TICK * 0.62 * scale, TICK * 1.5 * scale
        for dx, dy in tries:
            left = at[0] + dx * scale - (wide if dx < 0 else 0)
            low = at[1] + dy * scale - (high if dy < 0 else 0)
            inside = frame.x0 <= left and left + wide <= frame.x1
            inside = inside and frame.y0 <= low and low + high <= frame.y1
            if inside and not any(
                left < x1 and x0 < left + wide and low < y1 and y0 < low + high
                for x0, y0, x1, y1 in taken
            ):
                break
        taken.append((left, low, left + wide, low + high))
        ax.annotate(
            text, (float(place[0]), float(place[1])), xytext=(dx, dy), textcoords="offset points",
            ha="right" if dx < 0 else "left", va="top" if dy < 0 else "bottom", fontsize=TICK,
            color=colour, zorder=5,
            arrowprops={"arrowstyle": "-", "lw": 0.8, "shrinkA": 0, "shrinkB": 3},
            bbox={"boxstyle": "round,pad=0.1", "fc": "white", "ec": "none", "alpha": 0.75},
        )  # fmt: skip


def curve(
    x: Numbers,
    series: Mapping[str, Numbers],
    *,
    bands: Mapping[str, tuple[Numbers, Numbers]] | None = None,
    xlabel: str,
    ylabel: str,
    title: str | None = None,
    log_x: bool = False,
    ax: Axes | None = None,
) -> Axes:
    """Draw one labelled line per series over x, with shaded intervals where given.

    Parameters
    ----------
    x : numbers, length n
    series : dict of name -> numbers, length n
    bands : dict of name -> (low, high), numbers of length n each
    xlabel, ylabel, title : str
    log_x : bool
        Whether x is drawn on a logarithmic scale.
    ax : Axes
    """
    ax = _axes(ax, title)
    for i, (name, values) in enumerate(series.items()):
        colour = PALETTE[i % len(PALETTE)]
        ax.plot(x, values, marker=MARKERS[i % len(MARKERS)], label=name, linewidth=2,
                color=colour, linestyle=LINES[i % len(LINES)])  # fmt: skip
        if bands is not None and name in bands:
            low, high = bands[name]
            ax.fill_between(x, low, high, color=colour, alpha=0.15, linewidth=0)
    if log_x:
        ax.set_xscale("log")
    ax.set_xticks(x, [f"{value:,}" for value in x])
    ax.minorticks_off()
    ax.set_xlabel(xlabel, fontsize=LABEL)
    ax.set_ylabel(ylabel, fontsize=LABEL)
    ax.grid(alpha=0.3)
    if len(series) > 1:
        ax.legend(fontsize=TICK, loc="center left", bbox_to_anchor=(1.0, 0.5), frameon=False)
    return ax


def recall_curve(
    measured: Mapping[str, Any],
    *,
    models: Iterable[str] | None = None,
    title: str | None = None,
    ax: Axes | None = None,
) -> Axes:
    """Draw recall@K over K with 95% intervals, one line a model.

    Parameters
    ----------
    measured : dict
        One protocol of what `recsys.evaluate.evaluate` returns, such as
        `report["protocols"]["warm"]`.
    models : names, optional
        All if not given.
    title : str
    ax : Axes
    """
    found = measured["models"]
    names = list(found if models is None else models)
    ks = sorted(int(key.split("@")[1]) for key in found[names[0]] if key.startswith("recall@"))
    entries = {name: [found[name][f"recall@{k}"] for k in ks] for name in names}
    return curve(
        ks,
        {name: [entry["mean"] for entry in row] for name, row in entries.items()},
        bands={
            name: tuple(np.array([entry["ci95"] for entry in row], float).T)
            for name, row in entries.items()
        },
        xlabel="K, length of the list",
        ylabel=f"recall@K, {measured['n_users']:,} users",
        title=title,
        ax=ax,
    )


def differences(
    measured: Mapping[str, Any],
    *,
    metric: str = "recall@20",
    title: str | None = None,
    ax: Axes | None = None,
) -> Axes:
    """Draw the paired difference of our model to each opponent, with its 95% interval.

    Parameters
    ----------
    measured : dict
        One protocol of what `recsys.evaluate.evaluate` returns.
    metric : str
    title : str
    ax : Axes
    """
    rows = {name: found[metric] for name, found in measured["differences"].items()}
    means = {name: entry["mean"] for name, entry in rows.items()}
    intervals = {name: entry["ci95"] for name, entry in rows.items()}
    xlabel = f"{metric} of item2vec minus the opponent's\n(right of 0: item2vec finds more)"
    ax = intervals_of(means, intervals, xlabel=xlabel, ylabel="opponent", title=title, ax=ax)
    ax.axvline(0, color="black", linewidth=1, linestyle="--", zorder=0)
    return ax


def intervals_of(
    means: Mapping[str, float],
    intervals: Mapping[str, tuple[float, float]],
    *,
    xlabel: str,
    ylabel: str | None = None,
    title: str | None = None,
    ax: Axes | None = None,
) -> Axes:
    """Draw one point with its interval a row, first on top.

    Parameters
    ----------
    means : dict of name -> number
    intervals : dict of name -> (low, high)
    xlabel, ylabel, title : str
    ax : Axes
    """
    ax = _axes(ax, title, height=max(2.6, 0.9 + 0.5 * len(means)))
    for place, (name, mean) in enumerate(means.items()):
        low, high = intervals[name]
        ax.plot([low, high], [place, place], color=PALETTE[0], linewidth=3, alpha=0.45)
        ax.plot([mean], [place], marker="o", markersize=9, color=PALETTE[0])
        ax.annotate(f"{mean:.3f}", (mean, place), xytext=(0, 8), textcoords="offset points",
                    ha="center", fontsize=TICK)  # fmt: skip
    ax.set_yticks(range(len(means)), list(means))
    ax.set_ylim(len(means) - 0.5, -0.8)
    ax.margins(x=0.09)
    ax.xaxis.set_major_locator(MaxNLocator(6, steps=[1, 2, 2.5, 5, 10]))
    ax.set_xlabel(xlabel, fontsize=LABEL)
    if ylabel is not None:
        ax.set_ylabel(ylabel, fontsize=LABEL)
    ax.grid(alpha=0.3, axis="x")
    return ax


def by_group(
    values: npt.NDArray[np.float64],
    groups: Sequence[str] | npt.NDArray[Any],
    *,
    order: Sequence[str] | None = None,
    xlabel: str,
    ylabel: str,
    title: str | None = None,
    ax: Axes | None = None,
) -> Axes:
    """Draw the mean of a number per user (or per item) in each group, with 95% intervals.

    Parameters
    ----------
    values : float64 array, shape (n,)
    groups : sequence of str, length n
    order : names of groups, first on top; ascending if not given
    xlabel, ylabel, title : str
    ax : Axes
    """
    names = np.asarray(groups, dtype=str)
    means, intervals = {}, {}
    for group in np.unique(names) if order is None else order:
        of_group = values[names == group]
        found, bounds = metrics.means_with_ci95(of_group[:, None])
        label = f"{group} (n = {len(of_group):,})"
        means[label] = float(found[0])
        intervals[label] = (float(bounds[0, 0]), float(bounds[0, 1]))
    return intervals_of(means, intervals, xlabel=xlabel, ylabel=ylabel, title=title, ax=ax)


def ann_tradeoff(
    table: pd.DataFrame,
    *,
    title: str | None = None,
    ax: Axes | None = None,
) -> Axes:
    """Draw what an approximate index finds against what it costs, one line for each n_trees.

    Parameters
    ----------
    table : DataFrame
        One row a measurement: n_trees, search_k, and of `recsys.search.approximate.measure_index`
        microseconds_per_query and recall_vs_exact.
    title : str
    ax : Axes
    """
    ax = _axes(ax, title)
    named: list[tuple[npt.NDArray[Any], str, str]] = []
    for i, (n_trees, rows) in enumerate(table.groupby("n_trees", sort=False)):
        rows = rows.sort_values("microseconds_per_query")
        cost, gain = rows["microseconds_per_query"], rows["recall_vs_exact"]
        colour = PALETTE[i % len(PALETTE)]
        ax.plot(cost, gain, marker=MARKERS[i % len(MARKERS)], linewidth=2,
                color=colour, linestyle=LINES[i % len(LINES)],
                label=f"n_trees = {n_trees}")  # fmt: skip
        named += [
            (np.array([x, y]), f"{search_k:,}", colour)
            for x, y, search_k in zip(cost, gain, rows["search_k"], strict=True)
        ]
    ax.set_xscale("log")
    ax.xaxis.set_major_locator(LogLocator(subs=(1, 2, 3, 5)))
    ax.xaxis.set_major_formatter("{x:,g}")
    ax.minorticks_off()
    ax.margins(x=0.12, y=0.15)
    ax.set_xlabel("microseconds per query", fontsize=LABEL)
    ax.set_ylabel("share of the exact answer found", fontsize=LABEL)
    ax.grid(alpha=0.3)
    ax.legend(fontsize=TICK, title="numbers: search_k", loc="lower right")
    _write_names(ax, named)
    return ax


def neighbours(
    names: Sequence[str],
    scores: Numbers,
    *,
    xlabel: str = "cosine",
    title: str | None = None,
    ax: Axes | None = None,
) -> Axes:
    """Draw a ranked list as bars, best on top, such as `Recommender.similar_items` gives.

    Parameters
    ----------
    names : sequence of str, length n
    scores : numbers, length n
        Distances come as they are: the bar is then long for what is far.
    xlabel, title : str
    ax : Axes
    """
    ax = _axes(ax, title, height=0.9 + 0.36 * len(names))
    ax.barh(range(len(names)), scores, color=PALETTE[5], edgecolor=PALETTE[0])
    ax.set_yticks(range(len(names)), [_short(name) for name in names])
    ax.invert_yaxis()
    ax.set_xlabel(xlabel, fontsize=LABEL)
    ax.grid(alpha=0.3, axis="x")
    return ax


def history(
    titles: Sequence[str],
    weights: Mapping[str, Numbers],
    *,
    title: str | None = None,
    ax: Axes | None = None,
) -> Axes:
    """Draw how much each watched item weighs in the user vector, newest on top.

    Parameters
    ----------
    titles : sequence of str, length n
        Oldest first.
    weights : dict of name -> numbers, length n
        One or more ways of weighing, such as `recsys.vectors.users.history_weights` gives.
    title : str
    ax : Axes
    """
    ax = _axes(ax, title, height=1.0 + 0.36 * len(titles))
    places = np.arange(len(titles))
    for i, (name, values) in enumerate(weights.items()):
        ax.plot(values, places, marker=MARKERS[i], color=PALETTE[i], label=name, markersize=8,
                linestyle=LINES[i], linewidth=1.5)  # fmt: skip
    ax.set_yticks(places, [_short(name) for name in titles])
    ax.set_ylabel("watched, newest on top", fontsize=LABEL)
    ax.set_xlabel("weight in the user vector", fontsize=LABEL)
    ax.set_xlim(left=0)
    ax.grid(alpha=0.3)
    ax.legend(fontsize=TICK, loc="lower right")
    return ax


def contributions(
    explained: pd.DataFrame, n: int = 10, *, title: str | None = None, ax: Axes | None = None
) -> Axes:
    """Draw which watched items speak for a recommendation, and which against.

    Parameters
    ----------
    explained : DataFrame
        As `Recommender.explain` gives it: title, contribution.
    n : int
        How many rows to show, the largest; the rest are summed into one bar.
    title : str
    ax : Axes
    """
    shown = list(zip(explained["title"][:n], explained["contribution"][:n], strict=True))
    if len(explained) > n:
        rest = float(explained["contribution"][n:].sum())
        shown.append((f"({len(explained) - n} others)", rest))
    ax = _axes(ax, title, height=0.9 + 0.36 * len(shown))
    for place, (_, value) in enumerate(shown):
        ax.barh(place, value, color=PALETTE[0] if value >= 0 else PALETTE[1],
                hatch=None if value >= 0 else "//", edgecolor="white")  # fmt: skip
    ax.set_yticks(range(len(shown)), [_short(str(name)) for name, _ in shown])
    ax.invert_yaxis()
    ax.axvline(0, color="black", linewidth=1)
    ax.set_xlabel("contribution to the score (hatched: against)", fontsize=LABEL)
    ax.grid(alpha=0.3, axis="x")
    return ax


def window(
    tokens: Sequence[str],
    centres: Sequence[int],
    *,
    window: int,
    title: str | None = None,
    ax: Axes | None = None,
) -> Axes:
    """Draw the window sliding over a sequence, one row a centre.

    Parameters
    ----------
    tokens : sequence of str
        Words of a sentence, or titles of a viewing history.
    centres : places in `tokens`
    window : int
        Neighbours to each side.
    title : str
    ax : Axes
    """
    width = max(6, 76 // len(tokens))
    shown = ["\n".join(wrap(token, width, max_lines=2, placeholder="…")) for token in tokens]
    height = 0.55 + 0.2 * max(text.count("\n") for text in shown)
    ax = _axes(ax, title, height=0.9 + height * len(centres), width=9.0)
    for row, centre in enumerate(centres):
        for place, name in enumerate(shown):
            near = abs(place - centre) <= window
            colour = PALETTE[4] if place == centre else PALETTE[5] if near else "#F2F2F2"
            ax.text(place, row, name, ha="center", va="center", fontsize=TICK,
                    fontweight="bold" if place == centre else "normal",
                    color="black" if near else "#777777",
                    bbox={"boxstyle": "round,pad=0.35", "fc": colour, "ec": "none"})  # fmt: skip
    ax.set_xlim(-0.6, len(tokens) - 0.4)
    ax.set_ylim(len(centres) - 0.5, -0.5)
    ax.set(xticks=[], yticks=[])
    ax.set_xlabel("place in the sequence (orange: centre, blue: its context)", fontsize=LABEL)
    ax.set_ylabel("step", fontsize=LABEL)
    return ax


def matrix(
    values: npt.NDArray[Any],
    rows: Sequence[str],
    columns: Sequence[str] | None = None,
    *,
    xlabel: str,
    title: str | None = None,
    ax: Axes | None = None,
) -> Axes:
    """Draw a small matrix as coloured cells, purple below zero and orange above.

    Parameters
    ----------
    values : float array, shape (n, m)
    rows : sequence of str, length n
    columns : sequence of str, length m
        None numbers them from 0.
    xlabel, title : str
    ax : Axes
    """
    ax = _axes(ax, title, height=1.0 + 0.4 * len(rows))
    limit = float(np.abs(values).max()) or 1.0
    drawn = ax.imshow(values, cmap="PuOr_r", vmin=-limit, vmax=limit, aspect="auto")
    colours = ax.figure.colorbar(drawn, ax=ax)
    colours.ax.tick_params(labelsize=TICK)
    colours.set_label("value", fontsize=LABEL)
    ax.set_yticks(range(len(rows)), [_short(name) for name in rows])
    if columns is not None:
        ax.set_xticks(range(len(columns)), list(columns), rotation=45, ha="right")
    ax.set_xlabel(xlabel, fontsize=LABEL)
    return ax


def _axes(
    ax: Axes | None, title: str | None, *, height: float = HEIGHT, width: float = WIDTH
) -> Axes:
    if ax is None:
        ax = plt.subplots(figsize=(width, height), layout="constrained")[1]
    if title is not None:
        ax.set_title(title, fontsize=LABEL)
    ax.tick_params(labelsize=TICK)
    for side in ("top", "right"):
        ax.spines[side].set_visible(False)
    return ax


def _short(text: str, length: int = 28) -> str:
    return text if len(text) <= length else text[: length - 1].rstrip(" ,:") + "…"
