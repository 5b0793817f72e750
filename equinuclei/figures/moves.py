"""Figure of how much turns between the quarter turns, and shifts, change the scores of models.

In the style of `equinuclei.figures.style`; the table is that of `equinuclei.analysis.moves`.
"""

from collections.abc import Mapping, Sequence
from itertools import cycle
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from equinuclei.figures.style import DASHES, LEVEL_NAMES, MARKERS, WIDTH, legend_columns, model_colours, save, style
from equinuclei.specs import OTSU
from equinuclei.tables.files import read_table

_QUARTER = 90
_LABELS = {"turn": "turned by (degrees)", "shift": "shifted by (pixels)"}
_SPREAD = 0.36
"""How far apart the models of one move are drawn, of the step to the next move."""


def draw_moves(table: str | Path, *, models: Sequence[str], figure: str | Path) -> None:
    """`move_lines` of a TSV as PDF and PNG. models : all of the study; figure : path of the PNG."""
    drawn = move_lines(read_table(table, "study/turns_and_shifts.tsv"), model_colours(models))
    save(drawn, Path(figure).with_suffix(""))


def move_lines(table: pd.DataFrame, colours: Mapping[str, str] | None = None) -> Figure:
    """Mean absolute f1-score difference against the angle of a turn and the length of a shift.

    Parameters
    ----------
    table: from `analysis.moves.moves_table`, of one data set.
    colours: from `style.model_colours`; by default from the models in `table`.

    Returns
    -------
    Figure with two rows of panels per modality, turns and (where images are large enough) shifts, by pixels and by
    objects. A line per model, that of Otsu's threshold dashed, with 95 % intervals. The quarter turn stands apart.
    """
    models = list(dict.fromkeys(table["model"]))
    colours = colours or model_colours(models)
    markers = dict(zip(models, cycle(MARKERS), strict=False))
    rows = list(table[["modality", "move"]].drop_duplicates().itertuples(index=False, name=None))
    with style():
        figure = Figure(figsize=(WIDTH, 2.1 * len(rows) + 0.3 * len(models) / 3 + 0.5), layout="constrained")
        panels = figure.subplots(len(rows), len(LEVEL_NAMES), squeeze=False)
        for row, (modality, kind) in zip(panels, rows, strict=True):
            here = table[(table["modality"] == modality) & (table["move"] == kind)]
            amounts = sorted(set(here["amount"]))
            for axes, (level, name) in zip(row, LEVEL_NAMES.items(), strict=True):
                for number, model in enumerate(models):
                    points = here[(here["level"] == level) & (here["model"] == model)].set_index("amount")
                    aside = _SPREAD * ((number + 0.5) / len(models) - 0.5)
                    _line(axes, points.reindex(amounts), aside, _look(model, colours, markers))
                axes.set(title=f"{modality}: {name}", xlabel=_LABELS[kind], ylim=(0, None))
                axes.set_xticks(range(len(amounts)), [str(amount) for amount in amounts])
                axes.grid(axis="y", color="0.88", linewidth=0.6)
                axes.set_axisbelow(True)
            row[0].set_ylabel("mean absolute difference")
        handles: list[Artist] = [Line2D([], [], label=model, **_look(model, colours, markers)) for model in models]
        figure.legend(handles=handles, loc="outside lower center", ncols=legend_columns(models))
        figure.suptitle("F1 of an image and of the same image, moved")
    return figure


def _look(model: str, colours: Mapping[str, str], markers: Mapping[str, str]) -> dict[str, Any]:
    return {
        "color": colours[model],
        "marker": markers[model],
        "markersize": 4.5,
        "markeredgecolor": "white",
        "markeredgewidth": 0.5,
        "linestyle": DASHES if model == OTSU else "-",
        "linewidth": 1.3,
    }


def _line(axes: Axes, points: pd.DataFrame, aside: float, look: Mapping[str, Any]) -> None:
    """A model's points at 0, 1, ... and `aside`, joined up to the quarter turn, and their intervals."""
    places = np.arange(len(points)) + aside
    joined = (points.index != _QUARTER) | (points["move"] != "turn").to_numpy()
    axes.plot(places[joined], points["mean_absolute"][joined], **look)
    axes.plot(places[~joined], points["mean_absolute"][~joined], **look)
    # What never differs has no variance, and an interval for groups not seen that would fill the panel.
    drawn = (points["mean_absolute"] > 0).to_numpy()
    axes.vlines(places[drawn], points["low"][drawn], points["high"][drawn], color=look["color"], linewidth=0.9)
