"""Segmenting a folder of images: label images, tables of nuclei and images, and overlays to check them by eye."""

import errno
import logging
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple, Unpack

import imageio.v3 as iio
import numpy as np
import pandas as pd
import torch
from skimage.segmentation import find_boundaries

from equinuclei.errors import InputError, UnavailableError
from equinuclei.images.flags import ModelKnows
from equinuclei.images.instances import Cleaning
from equinuclei.images.measure import measure_nuclei
from equinuclei.images.quality import inverted
from equinuclei.images.rescaling import magnification
from equinuclei.images.tiff import write_tiff
from equinuclei.inference.judgement import IMAGE_COLUMNS, JudgedImage, judge_image
from equinuclei.inference.nuclei import ESTIMATED, Segmentation, segment_image
from equinuclei.library.names import find_weights, modality_of
from equinuclei.networks.checkpoint import load_model
from equinuclei.networks.device import prepare_torch
from equinuclei.networks.folding import fold
from equinuclei.networks.network import SegmentationNetwork
from equinuclei.runtime.files import replacing
from equinuclei.sources.images import SUFFIXES, read_image
from equinuclei.tables.files import without_formulas

logger = logging.getLogger("equinuclei.inference.image_folder")

CONTOUR = (255, 80, 0)
"""Colour of the contours in overlays (red, green, blue)."""

NUCLEI, IMAGES = TABLES = ("nuclei.tsv", "images.tsv")

FAILED = "failed"
"""Stands in the column flags of an image that could not be segmented."""

_PER_MICROMETRE = ("y_um", "x_um", "area_um2", "perimeter_um")


def segment_folder(
    model: str,
    images: str | Path,
    output: str | Path,
    *,
    models: str | Path,
    page: int | None = None,
    invert: bool = False,
    pixel_size: float | None = None,
    diameter: float | str | None = ESTIMATED,
    tile: int | None = None,
    device: str = "cpu",
    torch_threads: int = 1,
    **cleaning: Unpack[Cleaning],
) -> int:
    """Segment every TIFF and PNG image that lies directly in a folder.

    model : path of a weights file or of its folder, or a name that refers to `models`/NAME/weights.safetensors.
    images : the folder; hidden files, other files and subfolders are ignored.
    output : receives labels/NAME.tif (uint16, or uint32 for more than 65535 nuclei; 0 is background), overlays/NAME.png
        (the image with the outlines of nuclei), nuclei.tsv (the table of `measure.measure_nuclei` after a column
        `image`; columns in micrometres only if the pixel size is known) and images.tsv (a row per image: what was
        measured of it, its flags, and why; see `IMAGE_COLUMNS`). NAME is the image's name without its ending, or with
        it if several images would share a name. Files of an earlier run are replaced. Nothing is written elsewhere.
    page : page of every image, counted from 0; see `sources.images.read_image`.
    invert : whether dark and bright are exchanged before anything else; intensities are those of the inverted image.
    pixel_size : micrometres per pixel. diameter : see `segment_image`.
    tile : see `tiling.predict_mosaic`. device : cpu or cuda.
    cleaning : settings of `instances.nuclei`.

    Images that cannot be read are reported and skipped. Returns their number.

    Raises InputError if the model or a folder cannot be used, or an output would replace an input.
    """
    found = find_images(images)
    outputs = _output_files(found, Path(images), Path(output))
    weights = find_weights(model, models)
    network, on = _load_network(weights, device, torch_threads)
    if isinstance(diameter, float | int):
        magnification(diameter, network.diameter)  # raises now rather than at the first image
    segment = partial(segment_image, network, diameter=diameter, tile=tile, device=on, **cleaning)
    judge = partial(judge_image, model=ModelKnows(modality_of(weights), network.diameter), told=diameter)
    of_nuclei, of_images = [], []
    for name in TABLES:  # tables of an earlier run would not match the labels of this one
        Path(output, name).unlink(missing_ok=True)
    for number, (path, files) in enumerate(zip(found, outputs, strict=True), start=1):
        progress = f"[{number}/{len(found)}] {' '.join(path.name.splitlines())}"
        try:
            nuclei, judged = _segment_file(_Opened(path, page, invert), files, segment, judge, pixel_size)
        except (InputError, UnavailableError, OSError) as error:
            if isinstance(error, OSError) and error.errno != errno.ENAMETOOLONG:
                raise
            logger.error("%s: FAILED. %s", progress, error)
            of_images.append({"image": path.name, "flags": FAILED, "reasons": " ".join(str(error).split())})
            _remove_stale(files)
            continue
        of_nuclei.append(nuclei)
        of_images.append({"image": path.name} | judged.row())
        logger.log(logging.WARNING if judged.flags else logging.INFO, "%s: %s", progress, judged.told())
    return _finish(Path(output), of_nuclei, of_images, pixel_size)


def _finish(output: Path, nuclei: list[pd.DataFrame], images: list[dict[str, Any]], pixel_size: float | None) -> int:
    """Write the tables, and log how many images are flagged and how many failed; return the latter."""
    if nuclei:
        unknown = ["field", *(_PER_MICROMETRE if pixel_size is None else ())]
        _write_table(output / NUCLEI, pd.concat(nuclei, ignore_index=True).drop(columns=unknown))
    table = output / IMAGES
    _write_table(table, pd.DataFrame(images, columns=["image", *IMAGE_COLUMNS]))
    logger.info("%d nuclei in %d images, in %s", sum(map(len, nuclei)), len(nuclei), output)
    failed = [row["image"] for row in images if row["flags"] == FAILED]
    flagged = [row for row in images if row["flags"] not in ("", FAILED)]
    if flagged:
        first = f"{' '.join(flagged[0]['image'].splitlines())} ({flagged[0]['flags']})"
        logger.warning(
            "%d of %d images are flagged, %s %s: see %s and the overlays",
            len(flagged), len(images), "first" if len(flagged) > 1 else "it is", first, table,
        )  # fmt: skip
    if failed:
        logger.error("%d of %d images could not be segmented: see above", len(failed), len(images))
    return len(failed)


def _load_network(weights: Path, device: str, threads: int) -> tuple[SegmentationNetwork, torch.device]:
    if device == "cuda" and not torch.cuda.is_available():
        raise InputError("--device cuda: PyTorch finds no GPU here; use --device cpu")
    on = prepare_torch(device, threads, deterministic=True)
    return fold(load_model(weights, on)), on


def _remove_stale(files: Iterable[Path]) -> None:
    """Remove the outputs of an earlier run for an image that cannot be segmented now."""
    for stale in files:
        with suppress(OSError):
            stale.unlink(missing_ok=True)


class _Opened(NamedTuple):
    """An image file, and how it is read."""

    path: Path
    page: int | None
    invert: bool

    def read(self) -> np.ndarray:
        """Pixels (y, x)."""
        image = read_image(self.path, self.page)
        return inverted(image) if self.invert else image


def _segment_file(
    file: _Opened,
    outputs: tuple[Path, Path],
    segment: Callable[[np.ndarray], Segmentation],
    judge: Callable[..., JudgedImage],
    pixel_size: float | None,
) -> tuple[pd.DataFrame, JudgedImage]:
    """Segment one image and write its label image and overlay; return the table of its nuclei, and what to doubt."""
    labels_file, overlay_file = outputs
    image = file.read()
    found = segment(image)
    write_labels(labels_file, found.labels)
    _write_overlay(overlay_file, image, found.labels)
    measured = measure_nuclei(
        found.labels, [image], channels=["intensity"], pixel_size=pixel_size, probability=found.probability
    )
    measured.insert(0, "image", file.path.name)
    return measured, judge(image, found, measured)


def find_images(folder: str | Path) -> list[Path]:
    """TIFF and PNG files that lie directly in a folder, sorted by name, without hidden ones.

    Raises InputError if the folder does not exist, cannot be read, or contains no image.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise InputError(f"{folder}: {'a file, not a folder' if folder.exists() else 'there is no such folder'}")
    try:
        paths = sorted(folder.iterdir())
    except OSError as error:
        raise InputError(f"{folder}: the folder cannot be read ({error.strerror})") from error
    found = [p for p in paths if p.suffix.lower() in SUFFIXES and not p.name.startswith(".") and not p.is_dir()]
    if not found:
        raise InputError(f"{folder}: no image in it; the names of images must end in {', '.join(SUFFIXES)}")
    return found


def write_labels(path: str | Path, labels: np.ndarray) -> None:
    """Write labels (y, x) as a compressed TIFF: uint16, or uint32 if there are labels above 65535."""
    dtype = np.uint16 if labels.max(initial=0) <= np.iinfo(np.uint16).max else np.uint32
    write_tiff(path, labels.astype(dtype), compression="zlib")


def draw_overlay(image: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """The image in grey with the outlines of nuclei, uint8 (y, x, 3).

    The grey scale ranges from the 0.1st to the 99.9th percentile. Outlines lie inside the nuclei.
    """
    low, high = np.percentile(image, [0.1, 99.9])
    grey = np.clip((image.astype(np.float32) - low) / max(high - low, 1e-12), 0, 1)
    picture = np.repeat(np.rint(255 * grey).astype(np.uint8)[..., np.newaxis], 3, axis=-1)
    picture[find_boundaries(labels, connectivity=1, mode="inner")] = CONTOUR
    return picture


def _write_overlay(path: Path, image: np.ndarray, labels: np.ndarray) -> None:
    with replacing(path) as temporary:
        iio.imwrite(temporary, draw_overlay(image, labels), plugin="pillow")


def _write_table(path: Path, table: pd.DataFrame) -> None:
    with replacing(path) as temporary:
        # A file name may contain bytes that are not text; they are written as \xNN.
        without_formulas(table).to_csv(
            temporary, sep="\t", index=False, lineterminator="\n", float_format="%.10g", errors="backslashreplace"
        )


def _output_files(found: list[Path], images: Path, output: Path) -> list[tuple[Path, Path]]:
    """Label image and overlay of every image. Raises InputError if one would replace an input or lie elsewhere."""
    if output.exists() and not output.is_dir():
        raise InputError(f"{output}: a file, not a folder; choose a folder for the results")
    if output.resolve() == images.resolve():
        raise InputError(
            f"{output}: the folder of the images; choose another one for the results, which may lie inside it"
        )
    for folder in (output / "labels", output / "overlays"):
        # Through a link, files would be written outside the output folder.
        if folder.resolve() != output.resolve() / folder.name or (folder.exists() and not folder.is_dir()):
            raise InputError(f"{folder}: a link or a file; remove it, or choose another output folder")
        if folder.resolve() == images.resolve():
            raise InputError(f"{folder}: the folder of the images; choose another output folder")
    names = list(_output_names(found))
    return [(output / "labels" / f"{name}.tif", output / "overlays" / f"{name}.png") for name in names]


def _output_names(found: list[Path]) -> Iterator[str]:
    # Some file systems do not distinguish a.tif from A.tif.
    shared = Counter(path.stem.casefold() for path in found)
    taken = {path.stem.casefold() for path in found if shared[path.stem.casefold()] == 1}
    for path in found:
        name = path.stem if shared[path.stem.casefold()] == 1 else path.name
        while name != path.stem and name.casefold() in taken:
            name += "_"
        taken.add(name.casefold())
        yield name
