"""What all figures share: one style, colours, and how they are written.

Figures are built without pyplot, so they need no display and nothing has to be closed. They are as wide as a page's
text, so that their letters are printed as large as they are drawn, 8 points at least.
"""

from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from itertools import cycle
from pathlib import Path

import matplotlib as mpl
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from equinuclei.runtime.files import replacing
from equinuclei.specs import INFERENCES, OTSU

WIDTH = 7.1
"""Of every figure, in inches: 180 mm, what a page of A4 or letter holds."""

ROW = 0.165
"""Height in inches of a row of a chart: the text beside it is as high."""

LEVEL_NAMES = {"pixel": "pixels", "object50": "objects (IoU ≥ 0.5)"}
OTSU_COLOUR = "#6E6E6E"
FAILED_COLOUR = "#C00020"
DASHES = (0, (4, 2))
MARKERS = "os^DvPX"
# Okabe and Ito's palette (2008) without its black and yellow, then Tol's "muted" (2021) and darker neighbours:
# distinguishable with any colour vision, and dark enough on white paper.
PALETTE = (
    "#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#332288", "#882255",
    "#999933", "#117733", "#661100", "#44AA99", "#AA4499", "#6699CC", "#CC6677", "#000000",
)  # fmt: skip
MODE_COLOURS = dict(zip(INFERENCES, ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#882255"), strict=True))


@contextmanager
def style() -> Iterator[None]:
    """Context in which every figure is drawn and saved: fonts, sizes, spines and embedded fonts."""
    rc = sns.axes_style("ticks") | sns.plotting_context("paper")
    rc |= {
        "font.family": "sans-serif",
        "font.sans-serif": ["DejaVu Sans"],  # ships with matplotlib: the same everywhere
        "font.size": 8.5,
        "axes.titlesize": 9,
        "axes.labelsize": 8.5,
        "xtick.labelsize": 8,
        "ytick.labelsize": 8,
        "legend.fontsize": 8,
        "legend.title_fontsize": 8,
        "figure.titlesize": 10.5,
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
    return dict(zip(names, cycle(PALETTE), strict=False)) | {OTSU: OTSU_COLOUR}


def save(figure: Figure, path_without_suffix: str | Path) -> None:
    """Write `<path>.pdf` and `<path>.png` (200 dots per inch), each atomically.

    No date or version goes into the metadata: equal figures give equal bytes with one version of matplotlib.
    """
    for suffix, metadata in ((".pdf", {"CreationDate": None}), (".png", {"Software": None})):
        # The name may hold dots, which with_suffix would cut at.
        path = Path(f"{path_without_suffix}{suffix}")
        with style(), replacing(path) as temporary:
            figure.savefig(temporary, metadata=metadata)


def one_dataset(table: pd.DataFrame) -> None:
    names = sorted(set(table["dataset"]))
    if len(names) != 1:
        raise ValueError(f"a figure shows one dataset, not {len(names)}: {', '.join(map(str, names))}")


def beside(axes: Axes, place: float, text: str, va: str = "center", colour: str = "black") -> None:
    """Text to the right of a panel at the height `place` of its y axis."""
    axes.annotate(
        text,
        (1, place),
        xycoords=("axes fraction", "data"),
        xytext=(4, 0),
        textcoords="offset points",
        va=va,
        fontsize=8,
        color=colour,
        annotation_clip=False,
    )


def places_of_modes(
    summary: pd.DataFrame,
) -> tuple[dict[tuple[str, str], float], dict[str, tuple[float, float]]]:
    """Places on a y axis: of every (model, inference), and of the first and last one of every model.

    A row is 1 high; models, in the order of `summary` with Otsu last, have a gap of 0.4 between them.
    """
    pairs = summary[["model", "inference"]].drop_duplicates()
    rows: dict[tuple[str, str], float] = {}
    places: dict[str, tuple[float, float]] = {}
    start = 0.0
    for model in sorted(dict.fromkeys(pairs["model"]), key=lambda name: name == OTSU):
        modes = pairs.loc[pairs["model"] == model, "inference"]
        rows |= {(model, mode): start + number for number, mode in enumerate(modes)}
        places[model] = (start, start + len(modes) - 1)
        start += len(modes) + 0.4
    return rows, places


def mark_places(axes: Axes, places: dict[str, tuple[float, float]], named: bool) -> None:
    """Names of models at their `places_of_modes`, where `named`; every other model on grey, and vertical grid lines."""
    names = list(places) if named else [""] * len(places)
    axes.set_yticks([(first + last) / 2 for first, last in places.values()], names)
    axes.tick_params(axis="y", length=0)
    for first, last in list(places.values())[::2]:
        axes.axhspan(first - 0.7, last + 0.7, color="0.95", linewidth=0, zorder=0)
    axes.grid(axis="x", color="0.85", linewidth=0.6)
    axes.set_axisbelow(True)


def legend_columns(names: Sequence[str]) -> int:
    """How many columns of a legend with these names, 1 to 3, a figure is wide enough for."""
    return min(3, max(1, int(WIDTH / (0.5 + 0.07 * max(map(len, names))))))


def mode_keys(modes: Sequence[str]) -> list[Patch]:
    """Entries of a legend of inference modes."""
    return [Patch(facecolor=MODE_COLOURS[mode], label=mode) for mode in modes]


def outline(axes: Axes, mask: np.ndarray, colour: str, width: float) -> None:
    # A margin of background closes the contours of nuclei at the edge of the image.
    padded = np.pad(mask, 1).astype(float)
    y, x = (np.arange(-1, length + 1) for length in mask.shape)
    if mask.any():
        axes.contour(x, y, padded, levels=[0.5], colors=[colour], linewidths=width)
    height, length = mask.shape
    axes.set(xlim=(-0.5, length - 0.5), ylim=(height - 0.5, -0.5))


def dot(label: str, face: str, edge: str) -> Line2D:
    return Line2D(
        [], [], linestyle="", marker="o", markersize=4, markerfacecolor=face, markeredgecolor=edge, label=label
    )


def mark_failed(axes: Axes, x: Sequence[float], y: Sequence[float]) -> None:
    """An open red mark at every place where a failed training is shown, if there is one."""
    if not len(x):
        return
    axes.plot(
        x, y, linestyle="", marker="o", markersize=9, color=FAILED_COLOUR, markerfacecolor="none", markeredgewidth=1.6,
        zorder=7, clip_on=False,
    )  # fmt: skip


def failed_keys(failed: Collection[tuple[str, str]]) -> list[Line2D]:
    """The entry of a legend for `mark_failed`, where there are failed trainings. failed: (modality, model) of them."""
    if not failed:
        return []
    label = "failed training: no evidence"
    return [
        Line2D(
            [], [], linestyle="", marker="o", markersize=8, color=FAILED_COLOUR, markerfacecolor="none",
            markeredgewidth=1.6, label=label,
        )
    ]  # fmt: skip


def percent(share: float) -> str:
    """A share as a percentage. Only none reads 0 %, and only all of them 100 %; "-" where there is none."""
    if np.isnan(share):
        return "-"
    if share in (0, 1):
        return f"{100 * share:.0f} %"
    return f"{min(max(100 * share, 0.1), 99.9):.1f} %"
