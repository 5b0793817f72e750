"""How well nuclei are found where their size is estimated, against where it is told; and what the estimate costs.

    python -m benchmarks.sizes ../shared/data/dsb2018_fluo --part val

magnifies the images of a part of a folder data set (images, masks, split.csv), crops them around their nuclei, and
segments each with its true typical diameter told and with an estimated one, as `equinuclei segment` does: reading,
measuring and writing count. Per magnification a line tells the mean AP at an intersection over union of 0.5, 0.7 and
0.9, the share of images whose estimate lies within 25 % of the true diameter, CPU seconds with the estimate divided by
those without (of all images), and the share whose labels turn with the image. `--mosaic 6000` then segments a mosaic
of so many pixels squared, made of fields of the first image at one magnification, and the fields one by one.
"""

import argparse
import logging
import math
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import tifffile
import torch

from equinuclei.cli.segment import DEFAULT_MODEL
from equinuclei.evaluation.accuracy import labels_of_rotations
from equinuclei.images.interpolation import Interpolation
from equinuclei.images.metrics import object_scores
from equinuclei.images.rescaling import magnified_shape, typical_diameter
from equinuclei.inference.image_folder import segment_folder
from equinuclei.inference.nuclei import segment_image
from equinuclei.library.names import SHIPPED, find_weights
from equinuclei.networks.checkpoint import load_model
from equinuclei.networks.folding import fold
from equinuclei.networks.network import SegmentationNetwork

THRESHOLDS = (0.5, 0.7, 0.9)
FIELD = 1000
"""Height and width of the fields of a mosaic."""


def magnified(image: np.ndarray, truth: np.ndarray, factor: float, crop: int) -> tuple[np.ndarray, np.ndarray]:
    """An image and its labels, magnified, and cropped to `crop` pixels around the median pixel of its nuclei."""
    shape = magnified_shape(image.shape, factor)
    if shape != image.shape:
        window = Interpolation(image.shape, shape).window(lambda y, x: image[y, x], slice(None), slice(None))
        image = np.rint(window).astype(image.dtype)
        nearest = [(2 * np.arange(new) + 1) * old // (2 * new) for old, new in zip(truth.shape, shape, strict=True)]
        truth = truth[np.ix_(*nearest)]
    places = np.nonzero(truth)
    middles = [int(np.median(place)) if place.size else size // 2 for place, size in zip(places, shape, strict=True)]
    starts = [max(0, min(m - crop // 2, size - crop)) for m, size in zip(middles, shape, strict=True)]
    part = tuple(slice(start, start + crop) for start in starts)
    return np.ascontiguousarray(image[part]), np.ascontiguousarray(truth[part])


def seconds_of(image: np.ndarray, model: str, diameter: float | str | None) -> float:
    """CPU seconds of segmenting an image as a folder of its own; loading the model is not counted."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for place in ("images", "none"):
            (folder / place).mkdir()
        tifffile.imwrite(folder / "images" / "a.tif", image)
        tifffile.imwrite(folder / "none" / "a.tif", np.zeros((16, 16), np.uint8))
        spent = []
        for place in ("none", "images"):
            start = time.process_time()
            segment_folder(model, folder / place, folder / f"of {place}", models=SHIPPED, diameter=diameter)
            spent.append(time.process_time() - start)
    return spent[1] - spent[0]


def rows_of(
    pairs: Iterator[tuple[np.ndarray, np.ndarray]], network: SegmentationNetwork, model: str, turns: bool
) -> Iterator[dict[str, float]]:
    """A row per image: AP told and estimated, estimated / true diameter, CPU seconds, and whether labels turn."""
    for image, truth in pairs:
        true = typical_diameter(truth)
        told: float | None = None if math.isnan(true) else float(true)
        row: dict[str, float] = {"pixels": image.size}
        for way, diameter in (("told", told), ("estimated", "estimated")):
            found = segment_image(network, image, diameter=diameter)
            scores = object_scores(truth, found.labels, THRESHOLDS)
            row |= {f"{way}{100 * s.threshold:g}": s.AP for s in scores.itertuples()}
            row[f"seconds {way}"] = seconds_of(image, model, diameter)
            if found.estimate is not None:
                row["relative"] = found.estimate.diameter / true
        if turns:
            row["turns"] = labels_of_rotations(network, image)[1]
        yield row


def mosaic_ratio(image: np.ndarray, size: int, model: str) -> float:
    """CPU seconds of a mosaic of `size` pixels squared, divided by those of its fields one by one."""
    field = np.pad(image, [(0, max(0, FIELD - length)) for length in image.shape], "symmetric")[:FIELD, :FIELD]
    count = size // FIELD
    fields = count**2 * seconds_of(field, model, None)
    return seconds_of(np.tile(field, (count, count)), model, None) / fields


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--part", default="val")
    parser.add_argument("--images", type=int, help="so many of the part, drawn with a fixed seed (default: all)")
    parser.add_argument("--model", default=DEFAULT_MODEL)
    parser.add_argument("--magnifications", type=float, nargs="*", default=[0.5, 1, 2, 4, 8])
    parser.add_argument("--crop", type=int, default=1000)
    parser.add_argument("--turns", action="store_true", help="also whether labels turn with the image")
    parser.add_argument("--mosaic", type=int, help="pixels along a side")
    arguments = parser.parse_args()
    logging.getLogger("equinuclei").setLevel(logging.ERROR)  # what is flagged in magnified images is not asked here
    torch.set_num_threads(1)
    network = fold(load_model(find_weights(arguments.model, SHIPPED)))
    table = pd.read_csv(arguments.data / "split.csv").query("split == @arguments.part")
    if arguments.images is not None and arguments.images < len(table):
        table = table.sample(arguments.images, random_state=1)
    images = [
        tuple(tifffile.imread(arguments.data / kind / f"{name}.tif") for kind in ("images", "masks"))
        for name in table["name"]
    ]
    for factor in arguments.magnifications:
        pairs = (magnified(image, truth.astype(np.int64), factor, arguments.crop) for image, truth in images)
        rows = pd.DataFrame(rows_of(pairs, network, arguments.model, arguments.turns))
        means = rows.mean()
        aps = {
            way: " / ".join(f"{means[f'{way}{100 * t:g}']:.3f}" for t in THRESHOLDS) for way in ("told", "estimated")
        }
        told, estimated = rows["seconds told"].sum(), rows["seconds estimated"].sum()
        print(
            f"{factor:4g} x: AP told {aps['told']}, estimated {aps['estimated']};"
            f" within 25 %: {rows['relative'].between(0.8, 1.25).mean():.3f};"
            f" CPU {1e6 * estimated / rows['pixels'].sum():.3f} s per megapixel, {estimated / told:.3f} of told"
            + (f"; turn with the image: {means['turns']:.3f}" if arguments.turns else ""),
            flush=True,
        )
    if arguments.mosaic:
        print(f"mosaic of {arguments.mosaic}: {mosaic_ratio(images[0][0], arguments.mosaic, arguments.model):.3f}")


if __name__ == "__main__":
    main()
