"""Draw what the package computes: each function draws one new figure and returns its Axes.

Needs the extra "notebooks" (`pip install -e ".[notebooks]"`); no other module imports this one.
Colours are Okabe and Ito's, which people with any colour vision can tell apart, and nothing
differs by colour alone.
"""

from __future__ import annotations

from textwrap import wrap
from typing import TYPE_CHECKING, Any, Literal

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.ticker import LogLocator, MaxNLocator

from recsys.vectors.projection import project as project

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    import numpy.typing as npt
    import pandas as pd
    from matplotlib.axes import Axes

    Array = npt.NDArray[Any]
    Names = Sequence[str] | Array
    Numbers = Sequence[float] | Array

# Okabe & Ito 2008, "Color Universal Design", without the yellow, which is faint on white.
PALETTE = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
MARKERS = "osD^vPX"
LINES = ("-", "--", "-.", ":")
# Inches and points that stay readable when the picture is shown at half its width.
WIDTH, HEIGHT, LABEL, TICK = 7.0, 4.6, 13, 11


def item_map(
    points: Array,
    groups: Names | None = None,
    *,
    order: Names = (),
    labels: Mapping[int, str] | None = None,
    users: Mapping[str, tuple[float, float]] | None = None,
    title: str = "",
) -> Axes:
    """Draw items as points on a map, coloured by group, with some items and users named.

    Parameters
    ----------
    points : float array, shape (n_items, 2)
        From `project`.
    groups : sequence of str, length n_items
    order : names of groups, at most seven
        Those to colour, in the order of the legend; the six largest if not given. The rest, and
        "", are grey.
    labels : dict of row -> name
    users : dict of name -> (x, y)
        Drawn as stars.
    """
    ax = _axes(title, "across the map (no unit)", "up the map (no unit)", height=WIDTH * 0.85)
    of = np.asarray(["items"] * len(points) if groups is None else groups, dtype=str)
    names, sizes = np.unique(of[of != ""], return_counts=True)
    shown = list(order) or names[np.argsort(-sizes, kind="stable")][:6].tolist()
    rest = ~np.isin(of, shown)
    if rest.any():
        ax.scatter(points[rest, 0], points[rest, 1], s=9, color="#D8D8D8", label="others")
    for i, name in enumerate(shown):
        ax.scatter(points[of == name, 0], points[of == name, 1], s=20, color=PALETTE[i],
                   marker=MARKERS[i], alpha=0.8, linewidths=0, label=name)  # fmt: skip
    for place in (users or {}).values():
        ax.scatter(*place, s=330, marker="*", color="#F0E442", edgecolors="black", zorder=4)
    for x, y in points[list(labels or {})]:
        ax.scatter(x, y, s=34, color="none", edgecolors="black", zorder=4)
    named = [(*place, text, "black") for text, place in (users or {}).items()]
    named += [(*points[row], text, "black") for row, text in (labels or {}).items()]
    ax.set(xticks=[], yticks=[])
    if groups is not None:
        ax.legend(fontsize=TICK, markerscale=1.6, loc="upper center", ncols=4,
                  bbox_to_anchor=(0.5, -0.06), frameon=False, handletextpad=0.1)  # fmt: skip
    _write_names(ax, named)
    return ax


def curve(
    x: Numbers,
    series: Mapping[str, Numbers],
    *,
    bands: Mapping[str, Any] | None = None,
    xlabel: str,
    ylabel: str,
    title: str = "",
    log_x: bool = False,
) -> Axes:
    """Draw one line per series over x, with shaded intervals from `bands`, (low, high) by name."""
    ax = _axes(title, xlabel, ylabel, grid="both")
    for i, (name, values) in enumerate(series.items()):
        ax.plot(x, values, label=name, **_style(i))
        if bands is not None and name in bands:
            ax.fill_between(x, *bands[name], color=_style(i)["color"], alpha=0.15, linewidth=0)
    if log_x:
        ax.set_xscale("log")
    ax.set_xticks(x, [f"{value:,}" for value in x])
    ax.minorticks_off()
    if len(series) > 1:
        ax.legend(fontsize=TICK, loc="center left", bbox_to_anchor=(1.0, 0.5), frameon=False)
    return ax


def recall_curve(
    measured: Mapping[str, Any], *, models: Iterable[str] | None = None, title: str = ""
) -> Axes:
    """Draw recall@K over K with 95% intervals, one line per model; all if `models` is None.

    `measured` is a protocol of a report of `recsys.evaluate`, as `report["protocols"]["warm"]`.
    """
    found = measured["models"]
    names = list(found if models is None else models)
    ks = sorted(int(key.split("@")[1]) for key in found[names[0]] if key.startswith("recall@"))
    means = {name: [found[name][f"recall@{k}"]["mean"] for k in ks] for name in names}
    bands = {name: np.transpose([found[name][f"recall@{k}"]["ci95"] for k in ks]) for name in names}
    xlabel, ylabel = "K, length of the list", f"recall@K, {measured['n_users']:,} users"
    return curve(ks, means, bands=bands, xlabel=xlabel, ylabel=ylabel, title=title)


def differences(measured: Mapping[str, Any], *, metric: str = "recall@20", title: str = "") -> Axes:
    """Draw the paired difference of Item2Vec to each opponent; `measured` as in `recall_curve`."""
    rows = measured["differences"].items()
    means = {name: found[metric]["mean"] for name, found in rows}
    intervals = {name: found[metric]["ci95"] for name, found in rows}
    xlabel = f"{metric} of item2vec minus the opponent's\n(right of 0: item2vec finds more)"
    ax = intervals_of(means, intervals, xlabel=xlabel, ylabel="opponent", title=title)
    ax.axvline(0, color="black", linewidth=1, linestyle="--", zorder=0)
    return ax


def intervals_of(
    means: Mapping[str, float],
    intervals: Mapping[str, Numbers],
    *,
    xlabel: str,
    ylabel: str = "",
    title: str = "",
) -> Axes:
    """Draw one point with its interval (low, high) per row, first on top."""
    ax = _axes(title, xlabel, ylabel, grid="x", height=max(2.6, 0.9 + 0.5 * len(means)))
    for place, (name, mean) in enumerate(means.items()):
        ax.plot(intervals[name], [place, place], color=PALETTE[0], linewidth=3, alpha=0.45)
        ax.plot([mean], [place], marker="o", markersize=9, color=PALETTE[0])
        ax.annotate(f"{mean:.3f}", (mean, place), xytext=(0, 8), textcoords="offset points",
                    ha="center", fontsize=TICK)  # fmt: skip
    ax.set_yticks(range(len(means)), list(means))
    ax.set_ylim(len(means) - 0.5, -0.8)
    ax.margins(x=0.09)
    ax.xaxis.set_major_locator(MaxNLocator(6, steps=[1, 2, 2.5, 5, 10]))
    return ax


def by_group(
    values: Array, groups: Names, *, order: Names = (), xlabel: str, ylabel: str, title: str = ""
) -> Axes:
    """Draw the mean of a number per user (or per item) in each group, with 95% intervals.

    The intervals are percentile bootstraps (Efron & Tibshirani 1993), as in the evaluation. Groups
    are in the given order, or ascending.
    """
    names = np.asarray(groups, dtype=str)
    means, intervals = {}, {}
    for group in order if len(order) else np.unique(names):
        found = values[names == group]
        label, rng = f"{group} (n = {len(found):,})", np.random.default_rng(0)
        draws = [found[rng.integers(0, len(found), len(found))].mean() for _ in range(1000)]
        means[label], intervals[label] = found.mean(), np.percentile(draws, [2.5, 97.5])
    return intervals_of(means, intervals, xlabel=xlabel, ylabel=ylabel, title=title)


def ann_tradeoff(table: pd.DataFrame, *, title: str = "") -> Axes:
    """Draw what an approximate index finds against what it costs, one line per n_trees.

    Each row of the table has n_trees, search_k, and microseconds_per_query and recall_vs_exact
    from `recsys.search.choose.measure_index`.
    """
    ax = _axes(title, "microseconds per query", "share of the exact answer found", grid="both")
    named = []
    for i, (n_trees, rows) in enumerate(table.groupby("n_trees", sort=False)):
        rows = rows.sort_values("microseconds_per_query")
        cost, gain = rows["microseconds_per_query"], rows["recall_vs_exact"]
        ax.plot(cost, gain, label=f"n_trees = {n_trees}", **_style(i))
        for x, y, search_k in zip(cost, gain, rows["search_k"], strict=True):
            named.append((x, y, f"{search_k:,}", _style(i)["color"]))
    ax.set_xscale("log")
    ax.xaxis.set_major_locator(LogLocator(subs=(1, 2, 3, 5)))
    ax.xaxis.set_major_formatter("{x:,g}")
    ax.minorticks_off()
    ax.margins(x=0.12, y=0.15)
    ax.legend(fontsize=TICK, title="numbers: search_k", loc="lower right")
    _write_names(ax, named)
    return ax


def neighbours(names: Names, scores: Numbers, *, xlabel: str = "cosine", title: str = "") -> Axes:
    """Draw a ranked list as bars, first on top; negative bars are hatched."""
    ax = _axes(title, xlabel, grid="x", height=0.9 + 0.36 * len(names), rows=names)
    for place, score in enumerate(scores):
        ax.barh(place, score, color=PALETTE[0] if score >= 0 else PALETTE[1],
                hatch=None if score >= 0 else "//", edgecolor="white")  # fmt: skip
    ax.invert_yaxis()
    return ax


def contributions(explained: pd.DataFrame, n: int = 10, *, title: str = "") -> Axes:
    """Draw which watched items speak for a recommendation, and which against.

    `explained` is from `Recommender.explain`; rows beyond the first n are summed into one bar.
    """
    names, shares = list(map(str, explained["title"][:n])), list(explained["contribution"][:n])
    if len(explained) > n:
        names.append(f"({len(explained) - n} others)")
        shares.append(float(explained["contribution"][n:].sum()))
    xlabel = "contribution to the score (hatched: against)"
    ax = neighbours(names, shares, xlabel=xlabel, title=title)
    ax.axvline(0, color="black", linewidth=1)
    return ax


def history(titles: Names, weights: Mapping[str, Numbers], *, title: str = "") -> Axes:
    """Draw how much each watched item weighs in the user vector, newest on top.

    Titles are oldest first, and so is each weighting (`recsys.vectors.users.history_weights`).
    """
    ax = _axes(title, "weight in the user vector", "watched, newest on top", grid="both",
               height=1.0 + 0.36 * len(titles), rows=titles)  # fmt: skip
    for i, (name, values) in enumerate(weights.items()):
        ax.plot(values, np.arange(len(titles)), label=name, **_style(i))
    ax.set_xlim(left=0)
    ax.legend(fontsize=TICK, loc="lower right")
    return ax


def window(tokens: Names, centres: Sequence[int], *, window: int, title: str = "") -> Axes:
    """Draw the window sliding over a sequence, one row per centre.

    Tokens are the words of a sentence, or the titles of a history; centres are places in it;
    `window` is how many neighbours each has on either side.
    """
    width = max(6, 76 // len(tokens))
    shown = ["\n".join(wrap(token, width, max_lines=2, placeholder="…")) for token in tokens]
    height = 0.9 + (0.55 + 0.2 * max(text.count("\n") for text in shown)) * len(centres)
    xlabel = "place in the sequence (orange: centre, blue: its context)"
    ax = _axes(title, xlabel, "step", height=height, width=9.0)
    for row, centre in enumerate(centres):
        for place, name in enumerate(shown):
            near = abs(place - centre) <= window
            colour = PALETTE[4] if place == centre else PALETTE[5] if near else "#F2F2F2"
            ax.text(place, row, name, ha="center", va="center", fontsize=TICK,
                    fontweight="bold" if place == centre else "normal",
                    color="black" if near else "#777777",
                    bbox={"boxstyle": "round,pad=0.35", "fc": colour, "ec": "none"})  # fmt: skip
    ax.set(xticks=[], yticks=[], xlim=(-0.6, len(tokens) - 0.4), ylim=(len(centres) - 0.5, -0.5))
    return ax


def matrix(
    values: Array, rows: Names, columns: Names | None = None, *, xlabel: str, title: str = ""
) -> Axes:
    """Draw a small matrix as coloured cells, purple below zero and orange above.

    `values` is (n, m), `rows` has n names, and `columns` m; without names they are numbered from 0.
    """
    ax = _axes(title, xlabel, height=1.0 + 0.4 * len(rows), rows=rows)
    limit = float(np.abs(values).max()) or 1.0
    drawn = ax.imshow(values, cmap="PuOr_r", vmin=-limit, vmax=limit, aspect="auto")
    colours = ax.figure.colorbar(drawn, ax=ax)
    colours.ax.tick_params(labelsize=TICK)
    colours.set_label("value", fontsize=LABEL)
    if columns is not None:
        ax.set_xticks(range(len(columns)), list(columns), rotation=45, ha="right")
    return ax


def _style(i: int) -> dict[str, Any]:
    """Return how to draw the i-th line: its colour, marker and dashes."""
    return {
        "color": PALETTE[i % len(PALETTE)], "marker": MARKERS[i % len(MARKERS)],
        "linestyle": LINES[i % len(LINES)], "linewidth": 2,
    }  # fmt: skip


def _axes(
    title: str, xlabel: str, ylabel: str = "", *, grid: Literal["both", "x"] | None = None,
    rows: Names = (), height: float = HEIGHT, width: float = WIDTH,
) -> Axes:  # fmt: skip
    """Return new Axes with everything written on them; `rows` are named on y, from 0."""
    ax: Axes = plt.subplots(figsize=(width, height), layout="constrained")[1]
    ax.set_title(title, fontsize=LABEL)
    ax.set_xlabel(xlabel, fontsize=LABEL)
    ax.set_ylabel(ylabel, fontsize=LABEL)
    ax.tick_params(labelsize=TICK)
    if grid is not None:
        ax.grid(alpha=0.3, axis=grid)
    if len(rows):
        short = [row if len(row) <= 28 else row[:27].rstrip(" ,:") + "…" for row in rows]
        ax.set_yticks(range(len(rows)), short)
    ax.spines[["top", "right"]].set_visible(False)
    return ax


def _write_names(ax: Axes, named: list[tuple[float, float, str, str]]) -> None:
    """Write each (x, y, name, colour) at the first place beside its point that is free."""
    plt.gcf().draw_without_rendering()  # limits and layout are not settled before
    frame, scale = ax.get_window_extent(), ax.figure.dpi / 72
    points = [ax.transData.transform((x, y)) for x, y, *_ in named]
    taken = [(x - 4 * scale, y - 4 * scale, x + 4 * scale, y + 4 * scale) for x, y in points]
    tries = [(gap * x, gap * y) for gap in (6, 16, 28, 42) for y in (1, -1) for x in (1, -1)]
    for (x, y, text, colour), at in zip(named, points, strict=True):
        wide, high = len(text) * TICK * 0.62 * scale, TICK * 1.5 * scale
        for dx, dy in tries:
            left = at[0] + dx * scale - (wide if dx < 0 else 0)
            low = at[1] + dy * scale - (high if dy < 0 else 0)
            right, top = left + wide, low + high
            inside = frame.x0 <= left and right <= frame.x1 and frame.y0 <= low and top <= frame.y1
            if inside and not any(
                left < x1 and x0 < right and low < y1 and y0 < top for x0, y0, x1, y1 in taken
            ):
                break
        taken.append((left, low, right, top))
        ax.annotate(
            text, (x, y), xytext=(dx, dy), textcoords="offset points", fontsize=TICK,
            ha="right" if dx < 0 else "left", va="top" if dy < 0 else "bottom", color=colour,
            zorder=5, arrowprops={"arrowstyle": "-", "lw": 0.8, "shrinkA": 0, "shrinkB": 3},
            bbox={"boxstyle": "round,pad=0.1", "fc": "white", "ec": "none", "alpha": 0.75},
        )  # fmt: skip
