"""Figures of models trained on subsets of the training part: learning curves, and cell lines left out.

In the style of `equinuclei.figures.style`; the tables are those of `equinuclei.analysis.subsets`.
"""

from collections.abc import Callable, Mapping, Sequence
from itertools import cycle
from pathlib import Path
from typing import Literal

import pandas as pd
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import MaxNLocator, NullLocator

from equinuclei.analysis.failures import tells_failure
from equinuclei.figures.style import (
    FAILED_COLOUR,
    LEVEL_NAMES,
    MARKERS,
    WIDTH,
    beside,
    failed_keys,
    legend_columns,
    mark_failed,
    model_colours,
    save,
    style,
)
from equinuclei.tables.files import read_table

_Dashes = Literal["-"] | tuple[float, Sequence[float]]
_CURVES = {
    "object50_F1": f"F1 by {LEVEL_NAMES['object50']}",
    "pixel_F1": f"F1 by {LEVEL_NAMES['pixel']}",
    "pixel_difference": "f1-score_difference by pixels",
}
_SCORES = {measure: name for measure, name in _CURVES.items() if measure.endswith("_F1")}
# "exact" is left out: it is "deployed" to rounding.
_MODE_LINES: dict[str, _Dashes] = {
    "deployed": "-",
    "canonical": (0, (1, 1.5)),
    "tta4": (0, (4, 2)),
    "tta8": (0, (6, 2, 1, 2)),
}


def draw_learning_curve(table: str | Path, *, models: Sequence[str], figure: str | Path) -> None:
    """`learning_curve` of a TSV as PDF and PNG. models : all of the study; figure : path of the PNG."""
    _draw(learning_curve, read_table(table, "study/learning_curve.tsv"), models, figure)


def draw_left_out(table: str | Path, *, models: Sequence[str], figure: str | Path) -> None:
    """`left_out_dots` of a TSV as PDF and PNG. models : all of the study; figure : path of the PNG."""
    _draw(left_out_dots, read_table(table, "study/leave_one_cell_line_out.tsv"), models, figure)


def learning_curve(table: pd.DataFrame, colours: Mapping[str, str] | None = None) -> Figure:
    """F1 and f1-score difference over the number of groups trained on: a row of panels per modality.

    Parameters
    ----------
    table: from `subset_tables.learning_curve_table`, of one data set.
    colours: from `figure_style.model_colours`; by default from the models in `table`.

    Returns
    -------
    Figure with 3 panels per modality. A line per model (colour and marker) and inference mode (dashes), that of the
    deployed network in a band of its 95 % interval; the axis of groups is logarithmic to base 2. Points that a failed
    training takes part in are marked in red.
    """
    table = table[table["inference"].isin(_MODE_LINES)]
    models = list(dict.fromkeys(table["model"]))
    modes = [mode for mode in _MODE_LINES if mode in set(table["inference"])]
    modalities = list(dict.fromkeys(table["modality"]))
    colours = colours or model_colours(models)
    markers = dict(zip(models, cycle(MARKERS), strict=False))
    with style():
        figure = Figure(figsize=(WIDTH, 2.5 * len(modalities) + 1.3), layout="constrained")
        panels = figure.subplots(len(modalities), len(_CURVES), squeeze=False)
        for row, modality in zip(panels, modalities, strict=True):
            of_modality = table[table["modality"] == modality]
            for axes, (measure, title) in zip(row, _CURVES.items(), strict=True):
                here = of_modality[of_modality["measure"] == measure]
                for (model, mode), points in here.groupby(["model", "inference"], sort=False):
                    points = points.sort_values("train_groups")
                    if mode == "deployed":  # bands of all modes cover each other; the table has their intervals
                        _band(axes, points, colours[model])
                    _line(axes, points, colours[model], markers[model], _MODE_LINES[mode])
                    failed = points[points["note"].map(tells_failure)]
                    mark_failed(axes, failed["train_groups"].to_list(), failed["value"].to_list())
                _axis_of_groups(axes, of_modality)
                unit = "F1 (mean over images)" if measure in _SCORES else "mean absolute f1-score_difference"
                axes.set(title=f"{modality}:\n{title}", ylabel=unit)
        handles: list[Artist] = [
            Line2D([], [], color=colours[m], marker=markers[m], markersize=4, label=m) for m in models
        ]
        handles += [Line2D([], [], color="black", linestyle=_MODE_LINES[mode], label=mode) for mode in modes]
        handles.append(Patch(color="0.8", label="95 % interval (deployed)"))
        handles += failed_keys(_failed(table))
        figure.legend(handles=handles, loc="outside lower center", ncols=legend_columns(_labels(handles)))
        figure.suptitle("Learning curves, at equal numbers of training steps")
    return figure


def left_out_dots(table: pd.DataFrame, colours: Mapping[str, str] | None = None) -> Figure:
    """F1 on the images of each cell line, of models trained with and without it: a row of panels per modality.

    Parameters
    ----------
    table: from `subset_tables.left_out_table`, of one data set. Other inference modes than "deployed" are left out.
    colours: from `figure_style.model_colours`; by default from the models in `table`.

    Returns
    -------
    Figure with 2 panels per modality. Cell lines stand from the top down, each with its models; a filled marker is the
    score with the cell line in the training part, an open one that without, and the text their difference and the
    verdict on the latter, or that no image of the cell line is scored. Scores of failed trainings are marked in red.
    """
    table = table[(table["inference"] == "deployed") & table["measure"].isin(_SCORES)]
    models = list(dict.fromkeys(table["model"]))
    modalities = list(dict.fromkeys(table["modality"]))
    colours = colours or model_colours(models)
    markers = dict(zip(models, cycle(MARKERS), strict=False))
    lines = list(dict.fromkeys(table["cell_line"]))
    step = len(models) + 0.7
    with style():
        height = max(0.2 * step * len(lines), 0.5) + 1.0
        figure = Figure(figsize=(WIDTH, height * len(modalities) + 1.1), layout="constrained")
        panels = figure.subplots(len(modalities), len(_SCORES), squeeze=False)
        for row, modality in zip(panels, modalities, strict=True):
            for axes, (measure, title) in zip(row, _SCORES.items(), strict=True):
                here = table[(table["modality"] == modality) & (table["measure"] == measure)]
                for dot in here.to_dict("records"):
                    place = lines.index(dot["cell_line"]) * step + models.index(dot["model"])
                    _pair(axes, place, dot, colours[dot["model"]], markers[dot["model"]])
                middles = [number * step + (len(models) - 1) / 2 for number in range(len(lines))]
                axes.set_yticks(middles, lines if axes is row[0] else [""] * len(lines))
                axes.tick_params(axis="y", length=0)
                axes.set(ylim=(len(lines) * step - 0.7, -0.7), title=f"{modality}:\n{title}")
                axes.set_xlabel("F1 (mean over images)")
                axes.xaxis.set_major_locator(MaxNLocator(4))
                axes.grid(axis="x", color="0.88", linewidth=0.6)
                axes.set_axisbelow(True)
                for number in range(0, len(lines), 2):
                    axes.axhspan(number * step - 0.85, (number + 1) * step - 0.85, color="0.95", linewidth=0, zorder=0)
        handles = [
            Line2D([], [], color=colours[m], marker=markers[m], linestyle="", markersize=5, label=m) for m in models
        ]
        for label, face in (("trained with the cell line", "black"), ("without it (with the difference)", "white")):
            dot = {"marker": "o", "linestyle": "", "markersize": 5, "markerfacecolor": face, "markeredgecolor": "black"}
            handles.append(Line2D([], [], label=label, **dot))
        handles += failed_keys(_failed(table))
        figure.legend(handles=handles, loc="outside lower center", ncols=legend_columns(_labels(handles)))
        figure.suptitle("F1 on a cell line that was left out of training")
    return figure


def _draw(
    figure_of: Callable[[pd.DataFrame, Mapping[str, str]], Figure],
    table: pd.DataFrame,
    models: Sequence[str],
    png: str | Path,
) -> None:
    save(figure_of(table, model_colours(models)), Path(png).with_suffix(""))


def _band(axes: Axes, points: pd.DataFrame, colour: str) -> None:
    axes.fill_between(points["train_groups"], points["low"], points["high"], color=colour, alpha=0.15, linewidth=0)


def _line(axes: Axes, points: pd.DataFrame, colour: str, marker: str, dashes: _Dashes) -> None:
    axes.plot(
        points["train_groups"],
        points["value"],
        color=colour,
        marker=marker,
        markersize=4.5,
        markeredgecolor="white",
        markeredgewidth=0.5,
        linestyle=dashes,
        linewidth=1.3,
    )


def _axis_of_groups(axes: Axes, table: pd.DataFrame) -> None:
    counts = sorted(set(table["train_groups"]))
    axes.set_xscale("log", base=2)
    axes.set_xticks(counts, [*(f"{count:d}" for count in counts[:-1]), f"{counts[-1]:d}\n(all)"])
    axes.xaxis.set_minor_locator(NullLocator())
    axes.set_xlabel("groups trained on\n(logarithmic scale)")
    axes.grid(color="0.9", linewidth=0.6)


def _pair(axes: Axes, place: float, dot: Mapping, colour: str, marker: str) -> None:
    if not dot["images"]:
        beside(axes, place, "no scored image")
        return
    axes.plot([dot["without"], dot["with"]], [place, place], color=colour, linewidth=1, zorder=2)
    for value, face in ((dot["with"], colour), (dot["without"], "white")):
        axes.plot(value, place, marker=marker, markersize=5.5, markerfacecolor=face, markeredgecolor=colour, zorder=3)
    # The derived model, which was trained without the cell line, has a name that goes on.
    failed = [end for end, name in (("with", f"{dot['model']} "), ("without", f"{dot['model']}_"))
              if tells_failure(dot["note"]) and f" of {name}" in dot["note"]]  # fmt: skip
    mark_failed(axes, [dot[end] for end in failed], [place] * len(failed))
    told = f"{dot['difference']:+.3f} {dot['verdict']}".replace("-", "\N{MINUS SIGN}", 1)
    if failed:
        told = f"{told.split()[0]} failed training"
    beside(axes, place, told, colour=FAILED_COLOUR if failed else "black")


def _failed(table: pd.DataFrame) -> set[tuple[str, str]]:
    """Modality and model of rows that tell of a failed training."""
    rows = table[table["note"].map(tells_failure)]
    return set(rows[["modality", "model"]].itertuples(index=False, name=None))


def _labels(handles: Sequence[Artist]) -> list[str]:
    return [str(handle.get_label()) for handle in handles]
