"""Scores of all models to figures: F1, the f1-score_difference, and how training went.

Each function returns a matplotlib Figure. Colours tell models apart, or inference modes where a model has several.
"""

from collections.abc import Collection, Mapping, Sequence
from itertools import cycle, product

import numpy as np
import pandas as pd
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import MaxNLocator

from equinuclei.analysis.failures import failed_seeds
from equinuclei.analysis.statistics import f1_by_seed
from equinuclei.figures.style import (
    DASHES,
    LEVEL_NAMES,
    MARKERS,
    MODE_COLOURS,
    OTSU_COLOUR,
    ROW,
    WIDTH,
    beside,
    dot,
    failed_keys,
    mark_failed,
    mark_places,
    mode_keys,
    model_colours,
    one_dataset,
    percent,
    places_of_modes,
    style,
)
from equinuclei.specs import INFERENCES, OTSU


def f1_bars(f1: pd.DataFrame, scores: pd.DataFrame, colours: Mapping[str, str] | None = None) -> Figure:
    """Pixel and object F1 of every model as deployed: a row of panels per modality, a column per level.

    Parameters
    ----------
    f1: table of `statistics.f1_table` for one dataset; its order of models is kept, from the top down. Other inference
        modes than "deployed" are left out.
    scores: the scores that it was made from; they give the F1 of each seed.
    colours: from `model_colours`; by default from the models in `f1`.

    Returns
    -------
    Figure with 2 panels per modality. Bars are means over images and seeds; with several seeds, a line is the
    standard deviation over seeds and dots are the seeds; failed ones are marked in red. The dashed line is Otsu's
    threshold on the same images.
    """
    one_dataset(f1)
    f1, scores = (table[table["inference"] == "deployed"] for table in (f1, scores))
    models = [name for name in dict.fromkeys(f1["model"]) if name != OTSU]
    colours = colours or model_colours(models)
    modalities = list(dict.fromkeys(f1["modality"]))
    seeds, failed = f1_by_seed(scores), failed_seeds(f1)
    with style():
        height = 0.27 * max(len(models), 3) + 0.75
        figure = Figure(figsize=(WIDTH, height * len(modalities) + 0.75), layout="constrained")
        panels = figure.subplots(len(modalities), 2, sharex=True, squeeze=False)
        for row, modality in zip(panels, modalities, strict=True):
            here = f1[f1["modality"] == modality].set_index("model")
            shown = [name for name in models if name in here.index]
            for axes, level in zip(row, LEVEL_NAMES, strict=True):
                column = f"{level}_F1"
                nets = seeds[seeds["modality"] == modality]
                for place, name in enumerate(shown):
                    by_seed = nets[nets["model"] == name].set_index("seed")[column]
                    _bar(axes, place, here.loc[name, column], by_seed, colours[name])
                    _mark_seeds(axes, place, by_seed, failed.get((modality, name), []))
                floor = here[f"{OTSU}_{column}"].mean()
                if np.isfinite(floor):
                    axes.axvline(floor, color="black", linestyle=DASHES, linewidth=1.2, zorder=3)
                axes.set_yticks(range(len(shown)), shown if axes is row[0] else [""] * len(shown))
                axes.set(ylim=(len(shown) - 0.4, -0.6), xlim=(0, 1), title=f"{modality}: F1 by {LEVEL_NAMES[level]}")
                axes.tick_params(axis="y", length=0)
                axes.grid(axis="x", color="0.88", linewidth=0.6)
                axes.set_axisbelow(True)
        for axes in panels[-1]:
            axes.set_xlabel("F1 (mean over images)")
        figure.suptitle("F1 of the models on the scored images")
        handles = [Line2D([], [], color="black", linestyle=DASHES, linewidth=1.2, label="Otsu threshold")]
        if (f1["seeds"] > 1).any():
            handles.append(Line2D([], [], color="black", linewidth=1.2, label="± SD over seeds"))
            handles.append(dot("single seed", "white", "black"))
        handles += failed_keys(failed)
        figure.legend(handles=handles, loc="outside lower center", ncols=len(handles))
    return figure


def f1_difference_boxes(
    differences: pd.DataFrame,
    summary: pd.DataFrame,
    scored: str = "image",
    failed: Collection[tuple[str, str]] = (),
) -> Figure:
    """The f1-score_difference of every image, rotation and seed, per model and inference mode: a row of panels per
    modality, a column per level.

    Parameters
    ----------
    differences: table of `statistics.f1_difference` for one dataset; mirrored comparisons are left out, and those that
        say nothing.
    summary: table of `statistics.f1_difference_table` of the same scores; gives the order of models, their modes and
        the share of exact zeros beside each box.
    scored: what a row of the scores is of, such as "image".
    failed: modality and model of failed trainings.

    Returns
    -------
    Figure with 2 panels per modality. Models stand from the top down, each with a box per mode, told apart by colour.
    Boxes are quartiles with the median, whiskers reach the 5th and 95th percentile, and every comparison is a dot. The
    axis of differences is symmetric about 0 and the same for one level.
    """
    one_dataset(summary)
    rows, places = places_of_modes(summary)
    modes = [mode for mode in INFERENCES if any(mode == inference for _, inference in rows)]
    rotated = differences[~(differences["mirrored"] | differences["left_out"]).astype(bool)]
    modalities = list(dict.fromkeys(summary["modality"]))
    with style():
        length = max(rows.values()) + 1
        size = (WIDTH, (ROW * max(length, 4) + 0.62) * len(modalities) + 0.95)
        figure = Figure(figsize=size, layout="constrained")
        panels = figure.subplots(len(modalities), len(LEVEL_NAMES), squeeze=False)
        for axes, (modality, level) in zip(panels.flat, product(modalities, LEVEL_NAMES), strict=True):
            of_level = rotated[rotated["level"] == level]
            largest = of_level["f1_difference"].abs().max()
            limit = 1.08 * largest if largest > 0 else 0.01
            _boxes(axes, of_level[of_level["modality"] == modality], rows)
            axes.set(xlim=(-limit, limit), ylim=(length - 0.3, -0.7))
            mark_places(axes, places, named=level == next(iter(LEVEL_NAMES)))
            axes.xaxis.set_major_locator(MaxNLocator(5, symmetric=True))
            axes.set_title(f"{modality}:\n{LEVEL_NAMES[level]}")  # beside it stands the head of the shares
            _tell_zeros(axes, rows, summary[(summary["modality"] == modality) & (summary["level"] == level)])
            marked = [place for (model, _), place in rows.items() if (modality, model) in failed]
            mark_failed(axes, [0] * len(marked), marked)
        for axes in panels[-1]:
            axes.set_xlabel(f"F1({scored}) \N{MINUS SIGN} F1(rotated {scored})")
        # The legend's title is that of the figure: room is made for a legend or a title at the top, not for both.
        title = f"f1-score_difference of every {scored} under rotation by 90°, 180° and 270°, by inference mode"
        figure.legend(handles=mode_keys(modes), loc="outside upper center", ncols=len(modes), title=title,
                      title_fontsize=10.5)  # fmt: skip
        handles = [
            dot(f"one {scored}, rotation and seed", "0.5", "none"),
            Patch(facecolor="white", edgecolor="black", label="quartiles and median; whiskers: 5th to 95th percentile"),
            *failed_keys(failed),
        ]
        figure.legend(handles=handles, loc="outside lower center", ncols=2)
    return figure


def training_curves(histories: pd.DataFrame, colours: Mapping[str, str] | None = None) -> Figure:
    """Loss and F1 over epochs: a column each, and per modality a row of panels for every five models.

    Parameters
    ----------
    histories: a row per model, modality, seed and epoch: train_loss, train_F1, and where there are, val_loss, val_F1.
    colours: from `model_colours`; by default from the models in `histories`.

    Returns
    -------
    Figure. Lines are means over seeds, training solid and validation dashed; with several seeds, a band from the lowest
    to the highest seed is drawn about the training line.
    """
    models = list(dict.fromkeys(histories["model"]))
    colours = colours or model_colours(models)
    markers = dict(zip(models, cycle(MARKERS), strict=False))
    rows = []
    for modality in dict.fromkeys(histories["modality"]):
        here = histories[histories["modality"] == modality]
        names = list(dict.fromkeys(here["model"]))
        rows += [(modality, here, names[first : first + 5]) for first in range(0, len(names), 5)]
    with style():
        figure = Figure(figsize=(WIDTH, 2.1 * len(rows) + 0.75), layout="constrained")
        panels = figure.subplots(len(rows), 2, sharex=True, sharey="col", squeeze=False)
        for row, (modality, here, names) in zip(panels, rows, strict=True):
            for axes, quantity in zip(row, ("loss", "F1"), strict=True):
                for name in names:
                    of_model = here[here["model"] == name]
                    for part in ("train", "val"):
                        _curve(axes, of_model, f"{part}_{quantity}", colours[name], markers[name])
                axes.grid(color="0.9", linewidth=0.6)
                axes.set(title=f"{modality}: {'loss' if quantity == 'loss' else 'F1 by pixels'}", ylabel=quantity)
            row[1].set_ylim(0, 1)
            of_models = [
                Line2D([], [], color=colours[name], marker=markers[name], markersize=4, label=name) for name in names
            ]
            row[1].legend(handles=of_models, loc="upper left", bbox_to_anchor=(1.02, 1.0), borderaxespad=0)
        for axes in panels[-1]:
            axes.set_xlabel("epoch")
            axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        figure.suptitle("Training of the models")
        handles: list[Artist] = [Line2D([], [], color="black", label="training part")]
        if any(name in histories and histories[name].notna().any() for name in ("val_loss", "val_F1")):
            handles.append(Line2D([], [], color="black", linestyle=DASHES, label="validation part"))
        if len(set(histories["seed"])) > 1:
            handles.append(Patch(color="0.8", label="lowest to highest seed (training)"))
        figure.legend(handles=handles, loc="outside lower center", ncols=3)
    return figure


def _bar(axes: Axes, place: int, mean: float, by_seed: pd.Series, colour: str) -> None:
    axes.barh(place, mean, height=0.72, color=colour, edgecolor="black", linewidth=0.5)
    text = f"{mean:.3f}" if np.isfinite(mean) else "-"
    if len(by_seed) > 1:
        sd = np.std(by_seed, ddof=1)
        axes.errorbar(mean, place, xerr=sd, color="black", linewidth=1.2, capsize=2.5, zorder=4)
        axes.scatter(
            by_seed,
            _beside_each_other(place, by_seed),
            s=7,
            facecolor="white",
            edgecolor="black",
            linewidth=0.6,
            zorder=5,
            clip_on=False,
        )
        text += f" ± {sd:.3f}"
    beside(axes, place, text)


def _beside_each_other(place: int, by_seed: pd.Series) -> np.ndarray:
    """Where the seeds of a bar stand on the y axis."""
    return place + (np.linspace(-0.2, 0.2, len(by_seed)) if len(by_seed) > 1 else np.zeros(1))


def _mark_seeds(axes: Axes, place: int, by_seed: pd.Series, failed: Sequence[int]) -> None:
    """Mark the failed seeds of a bar. by_seed: F1 by seed."""
    chosen = by_seed.index.isin(failed)
    if chosen.any():
        mark_failed(axes, by_seed[chosen].to_list(), _beside_each_other(place, by_seed)[chosen].tolist())


def _boxes(axes: Axes, data: pd.DataFrame, rows: Mapping[tuple[str, str], float]) -> None:
    axes.axvline(0, color="0.45", linewidth=0.8, zorder=1)
    jitter = np.random.default_rng(0)
    values = dict(list(data.groupby(["model", "inference"])["f1_difference"]))
    for (model, inference), place in rows.items():
        if (model, inference) not in values:
            continue
        here = values[model, inference].to_numpy()
        colour = OTSU_COLOUR if model == OTSU else MODE_COLOURS[inference]
        # As pixels: tens of thousands of vector dots make a PDF that no viewer opens quickly.
        spread = place + jitter.uniform(-0.35, 0.35, len(here))
        axes.scatter(here, spread, s=4, color=colour, alpha=0.6, linewidth=0, zorder=2, rasterized=True)
        parts = axes.boxplot(
            here,
            positions=[place],
            orientation="horizontal",
            whis=(5, 95),
            showfliers=False,
            widths=0.7,
            manage_ticks=False,
            zorder=3,
        )
        for lines in parts.values():
            for line in lines:
                line.set(color="black", linewidth=0.8)


def _tell_zeros(axes: Axes, rows: Mapping[tuple[str, str], float], summary: pd.DataFrame) -> None:
    """The share of exact zeros beside every box. summary: its rows of the panel."""
    beside(axes, -0.7, "exact\nzeros", va="bottom")
    shares = summary.set_index(["model", "inference"])["exact_zeros"]
    for net, place in rows.items():
        if net in shares.index:
            beside(axes, place, percent(shares[net]))


def _curve(axes: Axes, history: pd.DataFrame, column: str, colour: str, marker: str) -> None:
    if column not in history or not history[column].notna().any():
        return
    over_seeds = history.groupby("epoch")[column].agg(["mean", "min", "max"]).dropna()
    epochs = over_seeds.index.to_numpy()
    training = column.startswith("train")
    if training and len(set(history["seed"])) > 1:
        axes.fill_between(epochs, over_seeds["min"], over_seeds["max"], color=colour, alpha=0.15, linewidth=0)
    axes.plot(
        epochs,
        over_seeds["mean"],
        color=colour,
        linestyle="-" if training else DASHES,
        linewidth=1.2,
        marker=marker,
        markersize=3.5,
        markevery=max(1, len(epochs) // 6),
    )
