"""Examples of the scored part to figures: images, their truth, and predictions.

Examples are mappings with `title`, such as the name of the image, and arrays (y, x), as `examples.read_examples` gives
them. Each function returns a matplotlib Figure; grey values run from the 1st to the 99.8th percentile of an image.
"""

import textwrap
from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from equinuclei.figures.style import PALETTE, WIDTH, outline, style

_TRUTH_COLOUR, _PREDICTION_COLOUR = "#FF9500", "#00DCFF"
_CLASSES = {"background": "#111111", "border": "#E69F00", "nucleus": "#F2F2F2"}
_INSTANCES = ListedColormap(["#111111", *PALETTE[:6]])
_MOST = 7


def contours(examples: Sequence[Mapping], predicted_by: str) -> Figure:
    """The image, its truth, both contours over the image, and the probability of nucleus: a row per example.

    Parameters
    ----------
    examples: up to 7, with image, truth (bool), classes (0 background, 1 border, 2 nucleus), and probability (0 to 1).
        The prediction is probability > 0.5.
    predicted_by: which training, for the title: model, modality and seed.

    Raises ValueError without examples, with more than 7, or if the arrays of one differ in shape.
    """
    _check(examples, ("image", "truth", "classes", "probability"))
    with style():
        figure, panels = _grid([example["image"].shape for example in examples], 4, beside=1.2)
        for row, example in zip(panels, examples, strict=True):
            _grey(row[0], example["image"])
            _classes(row[1], example["classes"])
            _grey(row[2], example["image"])
            # Truth is wide and below, so that it stays in sight where the contours coincide.
            outline(row[2], example["truth"], _TRUTH_COLOUR, 1.8)
            outline(row[2], example["probability"] > 0.5, _PREDICTION_COLOUR, 0.8)
            shown = row[3].imshow(example["probability"], cmap="viridis", vmin=0, vmax=1)
            row[0].set_ylabel(str(example["title"]))
        for axes, title in zip(panels[0], ("image", "truth", "truth and prediction", "probability"), strict=True):
            axes.set_title(title)
        bar = figure.colorbar(shown, ax=panels[:, 3], shrink=min(1.0, 1.6 / len(examples)), aspect=20)
        bar.set_label("probability of nucleus")
        handles = [
            Line2D([], [], color=_TRUTH_COLOUR, linewidth=2.5, label="truth"),
            Line2D([], [], color=_PREDICTION_COLOUR, linewidth=1.5, label="prediction (probability > 0.5)"),
        ]
        figure.legend(handles=[*handles, *_class_keys()], loc="outside lower center", ncols=5)
        figure.suptitle(_title("Predicted nuclei on images of the scored part", predicted_by))
    return figure


def masks(examples: Sequence[Mapping]) -> Figure:
    """Images beside their masks: the three classes and the nuclei one by one; a row per example.

    examples: up to 7, with images (a mapping of modality to image, the same modalities in all), classes and instances.

    Raises ValueError as `contours` does.
    """
    modalities = list(examples[0]["images"]) if examples else []
    flat = [{**example, **example["images"]} for example in examples]
    _check(flat, (*modalities, "classes", "instances"))
    with style():
        figure, panels = _grid([example["classes"].shape for example in flat], len(modalities) + 2, beside=0.6)
        for row, example in zip(panels, flat, strict=True):
            for axes, modality in zip(row, modalities, strict=False):
                _grey(axes, example[modality])
            _classes(row[-2], example["classes"])
            labels = example["instances"]
            row[-1].imshow(np.where(labels > 0, 1 + labels % 6, 0), cmap=_INSTANCES, vmin=0, vmax=6)
            between = (labels > 0) & _borders(labels)
            row[-1].imshow(np.ma.masked_where(~between, between), cmap=ListedColormap(["white"]))
            row[0].set_ylabel(str(example["title"]))
        for axes, title in zip(panels[0], (*modalities, "classes", "nuclei"), strict=True):
            axes.set_title(title)
        figure.legend(handles=_class_keys(), loc="outside lower center", ncols=3)
        figure.suptitle("Images of the scored part and their masks")
    return figure


def rotations(example: Mapping, predictions: Mapping[str, Mapping], predicted_by: str) -> Figure:
    """One image, its truth, and what every model makes of it: the probability of nucleus predicted from the image as it
    is, and the sum of those from its four rotations, turned back.

    example: with image, truth and classes. predictions: per model, probability (0 to 1) and probability_sum (0 to 4).
    predicted_by: which trainings of these models, for the title: modality and seed.
    A model that is equivariant adds up to four times the single prediction; elsewhere the sum is blurred where its
    predictions disagree.

    Raises ValueError without predictions, or if an array differs in shape from the image.
    """
    if not predictions:
        raise ValueError("no prediction to show")
    for model, found in predictions.items():
        _check([{**example, **found, "title": model}], ("image", "truth", "probability", "probability_sum"))
    shape = example["image"].shape
    with style():
        # Two models beside each other; the image and its truth take the place of the first.
        pairs = [None, *predictions]
        rows = -(-len(pairs) // 2)
        names = {model: textwrap.fill(model, 22) for model in predictions}
        lines = 1 + max(1 + name.count("\n") for name in names.values())
        figure, panels = _grid([shape] * rows, 4, beside=0.4, above=0.15 * lines + 0.1, around=1.6)
        cells = panels.reshape(2 * rows, 2)
        for (left, right), shown_model in zip(cells, pairs, strict=False):
            if shown_model is None:
                _grey(left, example["image"])
                _classes(right, example["classes"])
                left.set_title(f"image: {example['title']}")
                right.set_title("truth")
                continue
            single = left.imshow(predictions[shown_model]["probability"], cmap="viridis", vmin=0, vmax=1)
            total = right.imshow(predictions[shown_model]["probability_sum"], cmap="magma", vmin=0, vmax=4)
            for axes, what in ((left, "single"), (right, "sum of 4 rotations")):
                outline(axes, example["truth"], "white", 0.5)
                axes.set_title(f"{names[shown_model]}\n{what}", fontsize=8)
        for axes in cells[len(pairs) :].flat:
            axes.set_visible(False)
        for shown, label in ((single, "single prediction"), (total, "sum over four rotations")):
            figure.colorbar(shown, ax=panels, location="bottom", shrink=0.45, aspect=40, pad=0.02, label=label)
        what = "Probability of nucleus: one prediction, and the sum over four rotations of the image"
        figure.suptitle(_title(what, predicted_by))
    return figure


def _title(what: str, predicted_by: str) -> str:
    """The title of a figure, and who predicted it on lines of their own, however long the name of the model is."""
    return "\n".join([what, *textwrap.wrap(predicted_by, 85)])


def _check(examples: Sequence[Mapping], names: Sequence[str]) -> None:
    if not 1 <= len(examples) <= _MOST:
        raise ValueError(f"1 to {_MOST} examples fit into the figure, not {len(examples)}")
    for example in examples:
        shapes = {np.shape(example[name]) for name in names}
        if len(shapes) != 1 or len(next(iter(shapes))) != 2:
            raise ValueError(f"example {example['title']}: {', '.join(names)} differ in shape")


def _grid(
    shapes: Sequence[tuple[int, int]], columns: int, beside: float, above: float = 0.08, around: float = 0.9
) -> tuple[Figure, np.ndarray]:
    """A figure with a row of panels, without ticks, per image shape (y, x).

    Room in inches: `beside` all columns, `above` every row, `around` all rows.
    """
    heights = [height / width for height, width in shapes]
    size = (WIDTH, (WIDTH - beside) / columns * sum(heights) + above * len(shapes) + around)
    figure = Figure(figsize=size, layout="constrained")
    panels = figure.subplots(len(shapes), columns, squeeze=False, height_ratios=heights)
    for axes in panels.flat:
        axes.set(xticks=[], yticks=[])
        axes.spines[:].set_visible(False)
    return figure, panels


def _grey(axes: Axes, image: np.ndarray) -> None:
    low, high = np.percentile(image, (1, 99.8))
    axes.imshow(image, cmap="gray", vmin=low, vmax=high if high > low else low + 1)


def _classes(axes: Axes, classes: np.ndarray) -> None:
    axes.imshow(classes, cmap=ListedColormap(list(_CLASSES.values())), vmin=0, vmax=2)


def _class_keys() -> list[Patch]:
    return [Patch(facecolor=colour, edgecolor="black", label=name) for name, colour in _CLASSES.items()]


def _borders(labels: np.ndarray) -> np.ndarray:
    """Pixels (bool) beside another nucleus, one side of it."""
    found = np.zeros(labels.shape, bool)
    for one, other in (((slice(1, None), slice(None)), (slice(None, -1), slice(None))),
                       ((slice(None), slice(1, None)), (slice(None), slice(None, -1)))):  # fmt: skip
        found[one] |= (labels[one] != labels[other]) & (labels[other] > 0)
    return found
