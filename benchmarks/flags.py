"""How often sound images are flagged, and made faults are not.

    python -m benchmarks.flags ../shared/data [--part val] [--faulty 30] [--table flags.tsv]

segments images of `dsb2018_fluo` and `brifiseg_brightfield` as `equinuclei segment` does: whole, as they come, where
every flag is a false alarm; and around a nucleus with a fault of each kind, where every image without a flag is missed.
"No nucleus found" is no alarm where the truth has at most two. The models learnt from the part train; thresholds were
chosen on one image of each of its groups (`--part train`), and val was looked at once.
"""

import argparse
import csv
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import tifffile
from scipy import ndimage
from skimage.transform import rescale

from equinuclei.images.flags import EMPTY, ModelKnows
from equinuclei.images.measure import measure_nuclei
from equinuclei.images.metrics import object_scores
from equinuclei.images.quality import inverted
from equinuclei.images.rescaling import LEAST, MOST, typical_diameter
from equinuclei.inference.judgement import JudgedImage, judge_image
from equinuclei.inference.nuclei import ESTIMATED, segment_image
from equinuclei.library.names import SHIPPED, modality_of
from equinuclei.networks.checkpoint import load_model
from equinuclei.networks.device import prepare_torch
from equinuclei.networks.folding import fold
from equinuclei.networks.network import SegmentationNetwork

DATA = {"fluorescence": "dsb2018_fluo", "brightfield": "brifiseg_brightfield"}
MODELS = {"fluorescence": "fluorescence-fast-v1", "brightfield": "brightfield-v1"}
NONE, OTHER_MODEL, EDGE = "none", "the other model", 224  # pixels around a nucleus
NEARLY_EMPTY = 2


@dataclass(frozen=True)
class Case:
    """An image (y, x) with a fault or none, the diameter that is told, and the model that it is given to."""

    fault: str
    image: np.ndarray
    model: str
    told: float | str = ESTIMATED


def with_faults(image: np.ndarray, truth: np.ndarray, modality: str, magnified: float | None) -> Iterator[Case]:
    """An image around a nucleus with every fault. magnified : the diameter (pixels) that the model knows."""
    diameter = typical_diameter(truth)
    image = around(image, truth, EDGE)
    truth = around(truth, truth, EDGE)
    other = next(name for name in MODELS if name != modality)
    random = np.random.default_rng(0)
    yield Case("inverted", inverted(image), modality)
    yield Case(OTHER_MODEL, image, other)
    yield Case(f"inverted, {OTHER_MODEL}", inverted(image), other)
    for part in (4, 3):
        blurred = ndimage.gaussian_filter(image.astype(np.float32), diameter / part)
        yield Case(f"blurred by 1/{part} of a nucleus", stored(blurred, image.dtype), modality)
    for share in (2, 5):
        top, limit = max(float(np.percentile(image, 100 - share)), 1), np.iinfo(image.dtype).max
        yield Case(f"{share} % saturated", stored(image * (limit / top), image.dtype), modality)
    even, rough = random.standard_normal(image.shape), rough_noise(random, image.shape)
    for name, noise in (("noise", even), ("rough noise", rough)):
        yield Case(f"{name} alone", stored(100 + 20 * noise, image.dtype), modality)
    if magnified is None:
        return
    for factor in (1 / 5, 1 / 3, 3, 5):
        told = "3, 5 times too large" if factor > 1 else "3, 5 times too small"
        yield Case(f"diameter told {told}", image, modality, told=diameter * factor)
    for name, wanted in (("large", 1.6 * magnified / LEAST), ("small", magnified / MOST / 1.6)):
        part = around(image, truth, int(600 * diameter / wanted))
        scaled = rescale(part.astype(np.float32), wanted / diameter, anti_aliasing=wanted < diameter)
        if min(scaled.shape) >= 24:
            yield Case(f"1.6 times too {name} to be magnified", stored(scaled, image.dtype), modality)


def rough_noise(random: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    """Noise whose neighbouring pixels are alike, as after binning or compression: mean 0, standard deviation 1."""
    noise = ndimage.gaussian_filter(random.standard_normal(shape), 2)
    return noise / noise.std()


def stored(image: np.ndarray, dtype: np.dtype) -> np.ndarray:
    """An image of numbers as a camera of that dtype stores it."""
    return np.clip(np.rint(image), 0, np.iinfo(dtype).max).astype(dtype)


def around(image: np.ndarray, truth: np.ndarray, edge: int) -> np.ndarray:
    """At most edge x edge pixels of an image around one of its nuclei."""
    places = np.argwhere(truth > 0)
    starts = [
        max(0, min(at - edge // 2, size - edge)) for at, size in zip(places[len(places) // 2], image.shape, strict=True)
    ]
    return image[tuple(slice(start, start + edge) for start in starts)]


def judged(network: SegmentationNetwork, case: Case, modality: str) -> tuple[JudgedImage, np.ndarray]:
    """The flags of a case, and its labels."""
    told = None if network.diameter is None and case.told != ESTIMATED else case.told
    found = segment_image(network, case.image, diameter=told)
    nuclei = measure_nuclei(found.labels, [case.image], channels=["intensity"], probability=found.probability)
    return judge_image(case.image, found, nuclei, model=ModelKnows(modality, network.diameter), told=told), found.labels


def chosen(folder: Path, part: str, images: int | None) -> list[str]:
    """Names of the images of val, or of one of each group of train; the first so many of them in random order."""
    with (folder / "split.csv").open(encoding="utf-8", newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["split"] == part]
    groups = {row.get("group", row["name"]) if part == "train" else row["name"]: row["name"] for row in rows}
    return [str(name) for name in np.random.default_rng(0).permutation(sorted(groups.values()))[:images]]


def cases(
    image: np.ndarray, truth: np.ndarray, modality: str, network: SegmentationNetwork, faults: bool
) -> Iterator[Case]:
    """An image as it comes; and with every fault, if these are wanted and it holds nuclei."""
    yield Case(NONE, image, modality)
    if faults and truth.any():
        yield from with_faults(image, truth, modality, network.diameter)


def measure(data: Path, part: str, images: int | None, faulty: int | None) -> Iterator[dict[str, object]]:
    """A row per image and fault: what was measured, flags, whether it is an alarm, and the F1 of a whole image."""
    files = {modality: SHIPPED / name / "weights.safetensors" for modality, name in MODELS.items()}
    networks = {modality: fold(load_model(path)).eval() for modality, path in files.items()}
    for modality, folder in DATA.items():
        for number, name in enumerate(chosen(data / folder, part, images)):
            image, mask = (tifffile.imread(data / folder / kind / f"{name}.tif") for kind in ("images", "masks"))
            truth = mask.astype(np.int64) if mask.dtype != np.uint8 else ndimage.label(mask)[0].astype(np.int64)
            faults = faulty is None or number < faulty
            for case in cases(image, truth, modality, networks[modality], faults):
                result, labels = judged(networks[case.model], case, modality_of(files[case.model]))
                kinds = {flag.kind for flag in result.flags}
                nearly_empty = case.fault == NONE and len(np.unique(truth)) - 1 <= NEARLY_EMPTY
                scores = object_scores(truth, labels, [0.5]).iloc[0] if case.fault == NONE else None
                yield {
                    "modality": modality, "fault": case.fault, "image": name, **result.row(),
                    "alarm": bool(kinds - ({EMPTY} if nearly_empty else set())),
                    "F1": np.nan if scores is None else float(scores.F1),
                }  # fmt: skip


def summarize(table: pd.DataFrame) -> Iterator[str]:
    """Lines of Markdown: a row per modality and fault."""
    yield "| images | fault | cases | false alarms or misses | flags |"
    yield "|---|---|---|---|---|"
    for (modality, fault), rows in table.groupby(["modality", "fault"], sort=False):
        wrong = rows["alarm"] if fault == NONE else ~rows["alarm"]
        kinds = rows["flags"].replace("", "-").str.split("; ").explode().value_counts()
        told = ", ".join(f"{kind} {count}" for kind, count in kinds.items() if kind != "-")
        yield f"| {modality} | {fault} | {len(rows)} | {wrong.sum()} ({wrong.mean():.1%}) | {told} |"
    none = table["fault"] == NONE
    yield f"false alarms {table.loc[none, 'alarm'].mean():.1%}, misses {(~table.loc[~none, 'alarm']).mean():.1%}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--part", choices=["train", "val"], default="val")
    parser.add_argument("--images", type=int, help="of each modality (default: all)")
    parser.add_argument("--faulty", type=int, help="how many of them are given faults too (default: all)")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--table", type=Path, help="file for what was measured of every case, TSV")
    arguments = parser.parse_args()
    prepare_torch("cpu", arguments.threads, deterministic=True)
    rows = []
    for row in measure(arguments.data, arguments.part, arguments.images, arguments.faulty):
        rows.append(row)
        if arguments.table and row["fault"] == NONE:
            pd.DataFrame(rows).to_csv(arguments.table, sep="\t", index=False)
    table = pd.DataFrame(rows)
    if arguments.table:
        table.to_csv(arguments.table, sep="\t", index=False)
    print(*summarize(table), sep="\n")


if __name__ == "__main__":
    main()
