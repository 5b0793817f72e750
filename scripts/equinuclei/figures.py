"""Tables and examples to figures.

Each function returns a matplotlib Figure; `save` writes it as PDF and PNG. Figures are built without pyplot, so
they need no display and nothing has to be closed. All share one style and one colour per model, or one per inference
mode where a model has several.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import cycle, product
from pathlib import Path

import matplotlib as mpl
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import MaxNLocator

from equinuclei.files import replacing
from equinuclei.models import INFERENCES, OTSU
from equinuclei.statistics import f1_by_seed

LEVEL_NAMES = {"pixel": "pixels", "object50": "objects (IoU ≥ 0.5)"}
_OTSU_COLOUR = "#6E6E6E"
_TRUTH_COLOUR, _PREDICTION_COLOUR = "#FF9500", "#00DCFF"
# Okabe and Ito's palette (2008) without its black and yellow, then Tol's "muted" (2021) and darker neighbours:
# told apart with any colour vision, and dark enough on white paper.
_PALETTE = (
    "#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#332288", "#882255",
    "#999933", "#117733", "#661100", "#44AA99", "#AA4499", "#6699CC", "#CC6677", "#000000",
)  # fmt: skip
_MODE_COLOURS = dict(zip(INFERENCES, ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#882255"), strict=True))
_ROW_INCHES = 0.165  # of one box: the text beside it is as high
MARKERS = "os^DvPX"
_DASHES = (0, (4, 2))


@contextmanager
def style() -> Iterator[None]:
    """Context in which every figure is drawn and saved: fonts, sizes, spines and embedded fonts."""
    rc = sns.axes_style("ticks") | sns.plotting_context("paper")
    rc |= {
        "font.family": "sans-serif",
        "font.sans-serif": ["DejaVu Sans"],  # ships with matplotlib: the same everywhere
        "font.size": 9,
        "axes.titlesize": 9.5,
        "axes.labelsize": 9,
        "xtick.labelsize": 8.5,
        "ytick.labelsize": 8.5,
        "legend.fontsize": 8.5,
        "legend.title_fontsize": 8.5,
        "figure.titlesize": 11,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "legend.frameon": False,
        "image.interpolation": "nearest",
        "pdf.fonttype": 42,  # real fonts: text in the PDF can be searched and edited
        "text.parse_math": False,  # a name with dollar signs is a name
        "savefig.dpi": 200,
    }
    with mpl.rc_context(rc):
        yield


def model_colours(models: Sequence[str]) -> dict[str, str]:
    """A colour per model (hexadecimal), by its place in `models`; Otsu is always grey.

    Figures of one study keep a model's colour when all of them get the result for the study's whole list of models.
    Beyond 16 models colours repeat; names and markers still tell the models apart.
    """
    names = [name for name in dict.fromkeys(models) if name != OTSU]
    return dict(zip(names, cycle(_PALETTE), strict=False)) | {OTSU: _OTSU_COLOUR}


def save(figure: Figure, path_without_suffix: str | Path) -> None:
    """Write `<path>.pdf` and `<path>.png` (200 dots per inch), each atomically.

    No date or version goes into the metadata: equal figures give equal bytes with one version of matplotlib.
    """
    for suffix, metadata in ((".pdf", {"CreationDate": None}), (".png", {"Software": None})):
        # The name may hold dots, which with_suffix would cut at.
        path = Path(f"{path_without_suffix}{suffix}")
        with style(), replacing(path) as temporary:
            figure.savefig(temporary, metadata=metadata)


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
    standard deviation over seeds and dots are the seeds. The dashed line is Otsu's threshold on the same images.
    """
    _one_dataset(f1)
    f1, scores = (table[table["inference"] == "deployed"] for table in (f1, scores))
    models = [name for name in dict.fromkeys(f1["model"]) if name != OTSU]
    colours = colours or model_colours(models)
    modalities = list(dict.fromkeys(f1["modality"]))
    seeds = f1_by_seed(scores)
    with style():
        height = 0.27 * max(len(models), 3) + 0.75
        figure = Figure(figsize=(8.2, height * len(modalities) + 0.75), layout="constrained")
        panels = figure.subplots(len(modalities), 2, sharex=True, squeeze=False)
        for row, modality in zip(panels, modalities, strict=True):
            here = f1[f1["modality"] == modality].set_index("model")
            shown = [name for name in models if name in here.index]
            for axes, level in zip(row, LEVEL_NAMES, strict=True):
                column = f"{level}_F1"
                nets = seeds[seeds["modality"] == modality]
                for place, name in enumerate(shown):
                    by_seed = nets.loc[nets["model"] == name, column]
                    _bar(axes, place, here.loc[name, column], by_seed.to_numpy(), colours[name])
                floor = here[f"{OTSU}_{column}"].mean()
                if np.isfinite(floor):
                    axes.axvline(floor, color="black", linestyle=_DASHES, linewidth=1.2, zorder=3)
                axes.set_yticks(range(len(shown)), shown if axes is row[0] else [""] * len(shown))
                axes.set(ylim=(len(shown) - 0.4, -0.6), xlim=(0, 1), title=f"{modality}: F1 by {LEVEL_NAMES[level]}")
                axes.tick_params(axis="y", length=0)
                axes.grid(axis="x", color="0.88", linewidth=0.6)
                axes.set_axisbelow(True)
        for axes in panels[-1]:
            axes.set_xlabel("F1 (mean over images)")
        figure.suptitle("F1 of the models on the scored images")
        handles = [Line2D([], [], color="black", linestyle=_DASHES, linewidth=1.2, label="Otsu threshold")]
        if (f1["seeds"] > 1).any():
            handles.append(Line2D([], [], color="black", linewidth=1.2, label="± SD over seeds"))
            handles.append(_dot("single seed", "white", "black"))
        figure.legend(handles=handles, loc="outside lower center", ncols=len(handles))
    return figure


def f1_difference_boxes(differences: pd.DataFrame, summary: pd.DataFrame) -> Figure:
    """The f1-score difference of every image, rotation and seed, per model and inference mode: a panel per modality
    and level, side by side.

    Parameters
    ----------
    differences: table of `statistics.f1_difference` for one dataset; mirrored comparisons are left out.
    summary: table of `statistics.f1_difference_table` of the same scores; gives the order of models, their modes and
        the share of exact zeros beside each box.

    Returns
    -------
    Figure with 2 panels per modality. Models stand from the top down, each with a box per mode, told apart by colour.
    Boxes are quartiles with the median, whiskers reach the 5th and 95th percentile, and every comparison is a dot. The
    axis of differences is symmetric about 0 and the same for one level.
    """
    _one_dataset(summary)
    rows, places = _places_of_modes(summary)
    modes = [mode for mode in INFERENCES if any(mode == inference for _, inference in rows)]
    rotated = differences[~differences["mirrored"].astype(bool)]
    shares = summary.set_index(["modality", "level", "model", "inference"])["exact_zeros"]
    panels = list(product(dict.fromkeys(summary["modality"]), LEVEL_NAMES))
    with style():
        length = max(rows.values()) + 1
        size = (2.0 + 3.1 * len(panels), _ROW_INCHES * max(length, 4) + 1.35)
        figure = Figure(figsize=size, layout="constrained")
        for axes, (modality, level) in zip(figure.subplots(1, len(panels), squeeze=False)[0], panels, strict=True):
            of_level = rotated[rotated["level"] == level]
            largest = of_level["f1_difference"].abs().max()
            limit = 1.08 * largest if largest > 0 else 0.01
            _boxes(axes, of_level[of_level["modality"] == modality], rows)
            axes.set(xlim=(-limit, limit), ylim=(length - 0.3, -0.7))
            names = list(places) if (modality, level) == panels[0] else [""] * len(places)
            axes.set_yticks([(first + last) / 2 for first, last in places.values()], names)
            axes.tick_params(axis="y", length=0)
            for first, last in list(places.values())[::2]:
                axes.axhspan(first - 0.7, last + 0.7, color="0.95", linewidth=0, zorder=0)
            axes.xaxis.set_major_locator(MaxNLocator(5, symmetric=True))
            axes.grid(axis="x", color="0.85", linewidth=0.6)
            axes.set_axisbelow(True)
            axes.set(title=f"{modality}: {LEVEL_NAMES[level]}", xlabel="F1(image) \N{MINUS SIGN} F1(rotated image)")
            beside(axes, -0.7, "exact\nzeros", va="bottom")
            for (model, inference), place in rows.items():
                share = shares.get((modality, level, model, inference))
                if share is not None:
                    beside(axes, place, _percent(share))
        # The legend's title is that of the figure: room is made for a legend or a title at the top, not for both.
        title = "f1-score difference under rotation by 90°, 180° and 270°, by inference mode"
        keys = [Patch(facecolor=_MODE_COLOURS[mode], label=mode) for mode in modes]
        figure.legend(handles=keys, loc="outside upper center", ncols=len(keys), title=title, title_fontsize=11)
        handles = [
            _dot("one image, rotation and seed", "0.5", "none"),
            Patch(facecolor="white", edgecolor="black", label="quartiles and median; whiskers: 5th to 95th percentile"),
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
        figure = Figure(figsize=(8.2, 2.1 * len(rows) + 0.75), layout="constrained")
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
            handles = [
                Line2D([], [], color=colours[name], marker=markers[name], markersize=4, label=name) for name in names
            ]
            row[1].legend(handles=handles, loc="upper left", bbox_to_anchor=(1.02, 1.0), borderaxespad=0)
        for axes in panels[-1]:
            axes.set_xlabel("epoch")
        figure.suptitle("Training of the models")
        handles = [Line2D([], [], color="black", label="training part")]
        if any(name in histories and histories[name].notna().any() for name in ("val_loss", "val_F1")):
            handles.append(Line2D([], [], color="black", linestyle=_DASHES, label="validation part"))
        if len(set(histories["seed"])) > 1:
            handles.append(Patch(color="0.8", label="lowest to highest seed (training)"))
        figure.legend(handles=handles, loc="outside lower center", ncols=3)
    return figure


def contours(examples: Sequence[Mapping]) -> Figure:
    """Examples: the image, the true and predicted contours over it, and the probability of nucleus.

    Parameters
    ----------
    examples: up to 7 mappings of image, (y, x) of any real dtype; truth, bool (y, x); probability, float (y, x) from 0
        to 1; title, str, such as the cell line. The prediction is probability > 0.5.

    Returns
    -------
    Figure with a row per example and 3 columns. Grey values run from the 1st to the 99.8th percentile of the image.

    Raises ValueError without examples, with more than 7, or if the arrays of one differ in shape.
    """
    if not 1 <= len(examples) <= 7:
        raise ValueError(f"1 to 7 examples fit into the figure, not {len(examples)}")
    arrays = []
    for example in examples:
        image, truth, probability = (np.asarray(example[key]) for key in ("image", "truth", "probability"))
        if not image.shape == truth.shape == probability.shape or image.ndim != 2:
            raise ValueError(f"example {example['title']}: image, truth and probability differ in shape")
        arrays.append((image, truth.astype(bool), probability))
    with style():
        heights = [image.shape[0] / image.shape[1] for image, _, _ in arrays]
        figure = Figure(figsize=(8.2, 2.45 * sum(heights) + 1.0), layout="constrained")
        panels = figure.subplots(len(examples), 3, squeeze=False, height_ratios=heights)
        for row, example, (image, truth, probability) in zip(panels, examples, arrays, strict=True):
            low, high = np.percentile(image, (1, 99.8))
            for axes in row[:2]:
                axes.imshow(image, cmap="gray", vmin=low, vmax=high if high > low else low + 1)
            # Truth is wide and below, so that it stays in sight where the contours coincide.
            _outline(row[1], truth, _TRUTH_COLOUR, 2.0)
            _outline(row[1], probability > 0.5, _PREDICTION_COLOUR, 0.9)
            shown = row[2].imshow(probability, cmap="viridis", vmin=0, vmax=1)
            for axes in row:
                axes.set(xticks=[], yticks=[])
                axes.spines[:].set_visible(False)
            row[0].set_ylabel(str(example["title"]))
        for axes, title in zip(panels[0], ("image", "contours", "probability of nucleus"), strict=True):
            axes.set_title(title)
        figure.colorbar(shown, ax=panels[:, 2], shrink=min(1.0, 2.0 / len(examples)), aspect=25, label="probability")
        handles = [
            Line2D([], [], color=_TRUTH_COLOUR, linewidth=2.5, label="truth"),
            Line2D([], [], color=_PREDICTION_COLOUR, linewidth=1.5, label="prediction (probability > 0.5)"),
        ]
        figure.legend(handles=handles, loc="outside lower center", ncols=2)
        figure.suptitle("Predicted nuclei on images of the scored part")
    return figure


def _one_dataset(table: pd.DataFrame) -> None:
    names = sorted(set(table["dataset"]))
    if len(names) != 1:
        raise ValueError(f"a figure shows one dataset, not {len(names)}: {', '.join(map(str, names))}")


def _bar(axes: Axes, place: int, mean: float, by_seed: np.ndarray, colour: str) -> None:
    axes.barh(place, mean, height=0.72, color=colour, edgecolor="black", linewidth=0.5)
    text = f"{mean:.3f}" if np.isfinite(mean) else "-"
    if len(by_seed) > 1:
        sd = np.std(by_seed, ddof=1)
        axes.errorbar(mean, place, xerr=sd, color="black", linewidth=1.2, capsize=2.5, zorder=4)
        offsets = np.linspace(-0.2, 0.2, len(by_seed))
        axes.scatter(
            by_seed, place + offsets, s=7, facecolor="white", edgecolor="black", linewidth=0.6, zorder=5, clip_on=False
        )
        text += f" ± {sd:.3f}"
    beside(axes, place, text)


def beside(axes: Axes, place: float, text: str, va: str = "center") -> None:
    """Text to the right of a panel at the height `place` of its y axis."""
    axes.annotate(
        text,
        (1, place),
        xycoords=("axes fraction", "data"),
        xytext=(4, 0),
        textcoords="offset points",
        va=va,
        fontsize=8,
        annotation_clip=False,
    )


def _places_of_modes(
    summary: pd.DataFrame,
) -> tuple[dict[tuple[str, str], float], dict[str, tuple[float, float]]]:
    """Places on a y axis: of every (model, inference), and of the first and last one of every model.

    A row is 1 high; models, in the order of `summary` with Otsu last, have a gap of 0.4 between them.
    """
    pairs = summary[["model", "inference"]].drop_duplicates()
    rows, places = {}, {}
    start = 0.0
    for model in sorted(dict.fromkeys(pairs["model"]), key=lambda name: name == OTSU):
        modes = pairs.loc[pairs["model"] == model, "inference"]
        rows |= {(model, mode): start + number for number, mode in enumerate(modes)}
        places[model] = (start, start + len(modes) - 1)
        start += len(modes) + 0.4
    return rows, places


def _boxes(axes: Axes, data: pd.DataFrame, rows: Mapping[tuple[str, str], float]) -> None:
    axes.axvline(0, color="0.45", linewidth=0.8, zorder=1)
    jitter = np.random.default_rng(0)
    values = dict(list(data.groupby(["model", "inference"])["f1_difference"]))
    for (model, inference), place in rows.items():
        if (model, inference) not in values:
            continue
        here = values[model, inference].to_numpy()
        colour = _OTSU_COLOUR if model == OTSU else _MODE_COLOURS[inference]
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
        linestyle="-" if training else _DASHES,
        linewidth=1.2,
        marker=marker,
        markersize=3.5,
        markevery=max(1, len(epochs) // 6),
    )


def _outline(axes: Axes, mask: np.ndarray, colour: str, width: float) -> None:
    # A margin of background closes the contours of nuclei at the edge of the image.
    padded = np.pad(mask, 1).astype(float)
    y, x = (np.arange(-1, length + 1) for length in mask.shape)
    if mask.any():
        axes.contour(x, y, padded, levels=[0.5], colors=[colour], linewidths=width)
    height, length = mask.shape
    axes.set(xlim=(-0.5, length - 0.5), ylim=(height - 0.5, -0.5))


def _dot(label: str, face: str, edge: str) -> Line2D:
    return Line2D(
        [], [], linestyle="", marker="o", markersize=4, markerfacecolor=face, markeredgecolor=edge, label=label
    )


def _percent(share: float) -> str:
    """A share as a percentage. Only none reads 0 %, and only all of them 100 %."""
    if share in (0, 1):
        return f"{100 * share:.0f} %"
    return f"{min(max(100 * share, 0.1), 99.9):.1f} %"
