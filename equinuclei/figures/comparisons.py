"""Models compared: declared contrasts, thresholds, cell lines, cost, and the f1-score_difference against plain twins.

Each function takes tables of one data set, as they are on disk, and returns a matplotlib Figure.
"""

from collections.abc import Collection, Mapping
from itertools import cycle, product

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch, Rectangle
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullLocator

from equinuclei.analysis.contrasts import DIFFERENCES, MARGIN, MEASURE_NAMES, SCORES, ZEROS
from equinuclei.analysis.failures import failed_seeds, tells_failure
from equinuclei.analysis.statistics import net_name, signed
from equinuclei.figures.style import (
    DASHES,
    FAILED_COLOUR,
    LEVEL_NAMES,
    MARKERS,
    MODE_COLOURS,
    OTSU_COLOUR,
    ROW,
    WIDTH,
    beside,
    failed_keys,
    legend_columns,
    mark_failed,
    mark_places,
    mode_keys,
    model_colours,
    one_dataset,
    places_of_modes,
    style,
)
from equinuclei.specs import INFERENCES, OTSU

# Told apart by form and by colour.
_VERDICTS = {
    "better": ("o", "#009E73", "#009E73"),
    "worse": ("X", "#D55E00", "#D55E00"),
    "equivalent": ("s", "#0072B2", "#0072B2"),
    "not decided": ("o", "white", "#4A4A4A"),
}
_OPEN = "open: the same under test-time augmentation"
_KINDS = {
    "difference of scores (a \N{MINUS SIGN} b): right is better": SCORES,
    "difference of absolute f1-score_differences (a \N{MINUS SIGN} b): left is better": DIFFERENCES,
    "difference of shares of exact zeros (a \N{MINUS SIGN} b): right is better": ZEROS,
}


def contrast_intervals(contrasts: pd.DataFrame) -> Figure:
    """The declared contrasts with their 95 % intervals and verdicts: a panel per modality and kind of measure.

    contrasts: table of `contrasts.contrast_table` for one dataset; exploratory ones are left out. In the panels of
    scores the band is what counts as equivalent.
    """
    declared = contrasts[contrasts["kind"] == "declared"]
    if declared.empty:
        return _message_figure("No contrast was declared in the configuration.")
    one_dataset(declared)
    panels = [
        (f"{modality}: {title}", part)
        for (modality, of_modality), (title, measures) in product(
            declared.groupby("modality", sort=False), _KINDS.items()
        )
        if len(part := of_modality[of_modality["measure"].isin(measures)])
    ]
    with style():
        heights = [0.36 * len(part) + 0.75 for _, part in panels]
        figure = Figure(figsize=(WIDTH, sum(heights) + 0.75), layout="constrained")
        for axes, (title, part) in zip(
            figure.subplots(len(panels), 1, squeeze=False, height_ratios=heights)[:, 0], panels, strict=True
        ):
            _contrast_panel(axes, part)
            axes.set_title(title, loc="left")
        handles = [
            Line2D([], [], linestyle="", marker=marker, color=edge, markerfacecolor=face, markersize=6, label=verdict)
            for verdict, (marker, face, edge) in _VERDICTS.items()
        ]
        figure.legend(handles=handles, loc="outside lower center", ncols=len(handles), title="model a is")
        figure.suptitle("Declared contrasts, with 95 % intervals")
    return figure


def f1_by_threshold_lines(
    table: pd.DataFrame, colours: Mapping[str, str] | None = None, failed: Collection[tuple[str, str]] = ()
) -> Figure:
    """Object-wise F1 of every model as deployed against the threshold on the IoU: a panel per modality.

    table: of `statistics.f1_by_threshold` for one dataset. colours: from `model_colours`. failed: modality and model of
    failed trainings, whose lines are marked in red.
    """
    one_dataset(table)
    table = table[table["inference"] == "deployed"]
    models, colours, markers = _looks(table, colours)
    modalities = list(dict.fromkeys(table["modality"]))
    with style():
        columns = legend_columns(models)
        legend = 0.17 * -(-len(models) // columns) + 0.35
        figure = Figure(figsize=(WIDTH, 2.9 + legend), layout="constrained")
        panels = figure.subplots(1, len(modalities), sharey=True, squeeze=False)[0]
        for axes, modality in zip(panels, modalities, strict=True):
            for model in models:
                here = table[(table["modality"] == modality) & (table["model"] == model)].sort_values("threshold")
                axes.plot(here["threshold"], here["F1"], **_line(model, colours, markers))
                if (modality, model) in failed:
                    mark_failed(axes, here["threshold"][:1].to_list(), here["F1"][:1].to_list())
            axes.set(title=modality, xlabel="threshold on the IoU", ylim=(0, 1))
            axes.grid(color="0.9", linewidth=0.6)
        panels[0].set_ylabel("F1 by objects (mean over images)")
        handles = [Line2D([], [], **_line(model, colours, markers), label=model) for model in models]
        handles += failed_keys(failed)
        figure.legend(handles=handles, loc="outside lower center", ncols=columns)
        figure.suptitle("F1 by objects against the overlap that a match needs")
    return figure


def f1_by_cell_line_map(table: pd.DataFrame, failed: Collection[tuple[str, str]] = ()) -> Figure:
    """F1 of every model as deployed in every cell line, as numbers on colours: a row per modality, a column per level.

    table: of `statistics.f1_by_cell_line` for one dataset. Darker is better, on one scale for all panels.
    failed: modality and model of failed trainings, whose numbers are marked in red.
    """
    one_dataset(table)
    table = table[table["inference"] == "deployed"]
    modalities, lines = (list(dict.fromkeys(table[name])) for name in ("modality", "cell_line"))
    models = list(dict.fromkeys(table["model"]))
    # A number needs 0.3 inches: with many cell lines, or long names, the levels stand below each other.
    wide = len(lines) > 8 or max(map(len, models)) > 32
    many = len(lines) > 16  # numbers stand upright
    shape = (len(modalities) * 2, 1) if wide else (len(modalities), 2)
    with style():
        height = (0.34 if many else ROW + 0.03) * len(models) + 1.1
        figure = Figure(figsize=(WIDTH, height * shape[0] + 0.5), layout="constrained")
        panels = figure.subplots(*shape, squeeze=False).flat
        for axes, (modality, level) in zip(panels, product(modalities, LEVEL_NAMES), strict=True):
            here = table[table["modality"] == modality].set_index(["model", "cell_line"])[f"{level}_F1"]
            here = here.reindex(pd.MultiIndex.from_product([models, lines])).to_numpy().reshape(len(models), -1)
            axes.imshow(here, cmap="Blues", vmin=0, vmax=1, aspect="auto")
            for (y, x), value in np.ndenumerate(here):
                text = "-" if np.isnan(value) else f"{value:.2f}"
                colour = "white" if value > 0.6 else "black"
                axes.text(x, y, text, ha="center", va="center", fontsize=8, color=colour, rotation=90 if many else 0)
                if (modality, models[y]) in failed:
                    frame = (x - 0.46, y - 0.42), 0.92, 0.84
                    axes.add_patch(Rectangle(*frame, edgecolor=FAILED_COLOUR, facecolor="none", linewidth=1.4))
            axes.set_xticks(range(len(lines)), lines, rotation=90 if len(lines) > 4 else 0)
            first = wide or level == next(iter(LEVEL_NAMES))
            axes.set_yticks(range(len(models)), models if first else [""] * len(models))
            axes.tick_params(length=0)
            axes.spines[:].set_visible(False)
            axes.set_title(f"{modality}:\n{LEVEL_NAMES[level]}")
        if failed:
            key = Patch(edgecolor=FAILED_COLOUR, facecolor="none", label="failed training: no evidence")
            figure.legend(handles=[key], loc="outside lower center")
        figure.suptitle("F1 in every cell line (mean over images)")
    return figure


def cost_against_score(f1: pd.DataFrame, colours: Mapping[str, str] | None = None) -> Figure:
    """F1 against computing cost of every model and inference mode: a row per modality, a column per level, each panel
    with its own axis of F1. The axis of cost is logarithmic to base 2.

    f1: table of `statistics.f1_table` for one dataset. Filled: as deployed; open: the other modes of the model, each at
    its own cost, on a line with it. "exact" and "canonical", which cost and score nearly what "deployed" does, are left
    out. Otsu's threshold costs nothing beside a network, and is a dashed line.
    """
    one_dataset(f1)
    f1 = f1[~f1["inference"].isin(["exact", "canonical"])]
    nets, failed = f1[f1["model"] != OTSU], failed_seeds(f1)
    models, colours, markers = _looks(nets, colours)
    modalities = list(dict.fromkeys(f1["modality"]))
    parameters = nets.groupby("model")["parameters"].first()
    labels = {model: f"{model} ({parameters[model] / 1e6:.3g} M parameters)" for model in models}
    columns = min(2, legend_columns([*labels.values(), _OPEN]))
    few = nets["gflops"].max() < 8 * nets["gflops"].min()  # powers of 2 alone would be too few ticks
    with style():
        legend = 0.17 * -(-(len(models) + 2) // columns) + 0.35
        figure = Figure(figsize=(WIDTH, 2.3 * len(modalities) + legend + 0.4), layout="constrained")
        panels = figure.subplots(len(modalities), 2, sharex=True, squeeze=False)
        for axes, (modality, level) in zip(panels.flat, product(modalities, LEVEL_NAMES), strict=True):
            for model in models:
                here = nets[(nets["modality"] == modality) & (nets["model"] == model)].sort_values("gflops")
                axes.plot(here["gflops"], here[f"{level}_F1"], color=colours[model], linewidth=0.7, zorder=1)
                if (modality, model) in failed:
                    mark_failed(axes, here["gflops"].to_list(), here[f"{level}_F1"].to_list())
                for deployed, face in ((True, colours[model]), (False, "white")):
                    shown = here[(here["inference"] == "deployed") == deployed]
                    axes.plot(
                        shown["gflops"], shown[f"{level}_F1"], linestyle="", marker=markers[model], markersize=6,
                        color=colours[model], markerfacecolor=face, markeredgewidth=1.0, alpha=0.9,
                    )  # fmt: skip
            floor = f1.loc[(f1["modality"] == modality) & (f1["model"] == OTSU), f"{level}_F1"]
            for value in floor:
                axes.axhline(value, color="black", linestyle=DASHES, linewidth=1.0, zorder=0)
            axes.set_xscale("log", base=2)
            axes.set_xlim(nets["gflops"].min() / 1.5, nets["gflops"].max() * 1.5)
            axes.xaxis.set_major_locator(LogLocator(base=2, subs=(1, 1.5) if few else (1,)))
            axes.xaxis.set_minor_locator(NullLocator())
            axes.xaxis.set_major_formatter(FuncFormatter(_plain))
            axes.set(title=f"{modality}: {LEVEL_NAMES[level]}", ylabel="F1 (mean over images)")
            axes.grid(color="0.9", linewidth=0.6)
        for axes in panels[-1]:
            axes.set_xlabel("GFLOP per image of 256 x 256 pixels\n(logarithmic scale)")
        handles = [
            Line2D([], [], linestyle="", marker=markers[model], color=colours[model], markersize=6, label=labels[model])
            for model in models
        ]
        if (nets["inference"] != "deployed").any():
            handles.append(
                Line2D(
                    [], [], linestyle="", marker="o", color="black", markerfacecolor="white", markersize=6, label=_OPEN
                )
            )
        handles.append(Line2D([], [], color="black", linestyle=DASHES, linewidth=1.0, label="Otsu threshold"))
        handles += failed_keys(failed)
        figure.legend(handles=handles, loc="outside lower center", ncols=columns)
        figure.suptitle("What a score costs")
    return figure


def difference_reduction_bars(table: pd.DataFrame, failed: Collection[tuple[str, str]] = ()) -> Figure:
    """How much smaller the mean absolute f1-score_difference is than that of the plain twin: a row per modality.

    table: of `statistics.difference_reduction` for one dataset. 100 % is no difference left; bars to the left of 0,
    which end at -100 %, are of models whose difference is larger than their twin's. failed: modality and model of
    failed trainings; they, and models whose twin failed, are marked in red.
    """
    if table.empty:
        return _message_figure("No model of this study has a plain twin to compare with.")
    one_dataset(table)
    rows, places = places_of_modes(table)
    modes = [mode for mode in INFERENCES if any(mode == inference for _, inference in rows)]
    modalities = list(dict.fromkeys(table["modality"]))
    twins = table.groupby("model", sort=False)["twin"].first()
    with style():
        length = max(rows.values()) + 1
        figure = Figure(figsize=(WIDTH, (ROW * max(length, 4) + 0.55) * len(modalities) + 1.0), layout="constrained")
        panels = figure.subplots(len(modalities), 2, sharex=True, squeeze=False)
        for axes, (modality, level) in zip(panels.flat, product(modalities, LEVEL_NAMES), strict=True):
            here = table[(table["modality"] == modality) & (table["level"] == level)]
            for row in here.itertuples():
                place = rows[row.model, row.inference]
                if (modality, row.model) in failed or (modality, row.twin) in failed:
                    mark_failed(axes, [0], [place])
                if np.isnan(row.reduction):
                    beside(axes, place, "-")
                    continue
                share = 100 * max(row.reduction, -1)
                axes.barh(
                    place, share, height=0.75, color=MODE_COLOURS[row.inference], edgecolor="black", linewidth=0.5
                )
                beside(axes, place, f"{100 * row.reduction + 0.0:.0f} %".replace("-0 %", "0 %"))
            axes.set(xlim=(min(0, 110 * max(table["reduction"].min(), -1)), 100), ylim=(length - 0.3, -0.7))
            first = level == next(iter(LEVEL_NAMES))
            mark_places(axes, {_against(name, twins[name]): place for name, place in places.items()}, named=first)
            axes.axvline(0, color="black", linewidth=0.8)
            axes.xaxis.set_major_locator(MaxNLocator(5))
            axes.set_title(f"{modality}: {LEVEL_NAMES[level]}")
        for axes in panels[-1]:
            axes.set_xlabel("reduction in %")
        title = "Mean absolute f1-score_difference, reduced against that of the plain twin (in brackets)"
        figure.legend(handles=mode_keys(modes), loc="outside upper center", ncols=len(modes), title=title,
                      title_fontsize=10.5)  # fmt: skip
        if failed:
            figure.legend(handles=failed_keys(failed), loc="outside lower center")
    return figure


def _contrast_panel(axes: Axes, contrasts: pd.DataFrame) -> None:
    names = []
    axes.axvline(0, color="0.3", linewidth=0.8, zorder=1)
    if set(contrasts["measure"]) <= set(SCORES):
        axes.axvspan(-MARGIN, MARGIN, color="0.9", linewidth=0, zorder=0)
    for place, row in enumerate(contrasts.itertuples()):
        marker, face, edge = _VERDICTS[row.verdict]
        if np.isfinite(row.low):
            axes.plot([row.low, row.high], [place, place], color=edge, linewidth=1.6, solid_capstyle="butt", zorder=2)
        axes.plot(row.difference, place, marker=marker, markersize=6, color=edge, markerfacecolor=face, zorder=3)
        a, b = net_name(row.a, row.a_inference), net_name(row.b, row.b_inference)
        names.append(f"{a}\nagainst {b}")
        failed = tells_failure(row.note)
        why = ": failed training" if failed else ", zero on every image" if row.note else ""
        told = f"{MEASURE_NAMES[row.measure]}\n{signed(row.difference)}: {row.verdict}{why}"
        beside(axes, place, told, colour=FAILED_COLOUR if failed else "black")
    axes.set_yticks(range(len(names)), names)
    axes.set_ylim(len(names) - 0.4, -0.6)
    axes.tick_params(axis="y", length=0)
    axes.xaxis.set_major_locator(MaxNLocator(5))
    axes.margins(x=0.08)
    axes.grid(axis="x", color="0.88", linewidth=0.6)
    axes.set_axisbelow(True)


def _looks(table: pd.DataFrame, colours: Mapping[str, str] | None) -> tuple[list[str], Mapping, Mapping]:
    """Models in the order of the table, with colours and markers."""
    models = list(dict.fromkeys(table["model"]))
    return models, colours or model_colours(models), dict(zip(models, cycle(MARKERS), strict=False))


def _line(model: str, colours: Mapping[str, str], markers: Mapping[str, str]) -> dict:
    if model == OTSU:
        return {"color": OTSU_COLOUR, "linestyle": DASHES, "linewidth": 1.2}
    return {"color": colours[model], "marker": markers[model], "markersize": 3.5, "linewidth": 1.2}


def _plain(value: float, _place: int) -> str:
    return f"{value:g}"


def _against(model: str, twin: str) -> str:
    return model if model == twin else f"{model} ({twin})"


def _message_figure(text: str) -> Figure:
    """A figure with one sentence, for where there is nothing to draw."""
    with style():
        figure = Figure(figsize=(WIDTH, 0.6))
        figure.text(0.5, 0.5, text, ha="center", va="center")
    return figure
