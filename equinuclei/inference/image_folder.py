"""A folder of images to labelled and measured nuclei: label images, a table, and pictures to check them by."""

import errno
import logging
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import imageio.v3 as iio
import numpy as np
import pandas as pd
import tifffile
import torch
from skimage.segmentation import find_boundaries

from equinuclei.errors import InputError
from equinuclei.images.measure import measure_nuclei
from equinuclei.images.rescaling import magnification
from equinuclei.inference.nuclei import ESTIMATED, segment_image
from equinuclei.inference.tiling import TILE
from equinuclei.library.names import find_weights
from equinuclei.networks.checkpoint import load_model
from equinuclei.networks.device import prepare_torch
from equinuclei.networks.folding import fold
from equinuclei.runtime.files import replacing
from equinuclei.sources.images import SUFFIXES, read_image

logger = logging.getLogger("equinuclei.inference.image_folder")

CONTOUR = (255, 80, 0)
"""Red, green, blue of the contours of an overlay."""

_PER_MICROMETRE = ("y_um", "x_um", "area_um2", "perimeter_um")


def segment_folder(
    model: str,
    images: str | Path,
    output: str | Path,
    *,
    models: str | Path,
    page: int | None = None,
    pixel_size: float | None = None,
    diameter: float | str | None = ESTIMATED,
    min_area: int = 0,
    fill_holes: bool = False,
    exclude_border: bool = False,
    tile: int = TILE,
    device: str = "cpu",
    torch_threads: int = 1,
) -> int:
    """Segment every TIFF and PNG image that lies directly in a folder.

    model : path of a weights file or of its folder, or a name: the weights in `models`/NAME/weights.safetensors.
    images : the folder; hidden files, other files and subfolders are passed over.
    output : gets labels/NAME.tif (uint16, uint32 above 65535 nuclei; 0 is background), overlays/NAME.png (the image
        with the nuclei's outlines) and nuclei.tsv (`measure.measure_nuclei`, a row per nucleus, `image` first;
        columns in micrometres only where the pixel size is known). NAME is that of the image without its ending, or
        with it where several would share a name. Files of an earlier run are replaced. Nothing is written elsewhere.
    page : page of every image, counted from 0; see `sources.images.read_image`.
    pixel_size : micrometres per pixel. diameter : of `segment_image`.
    min_area, fill_holes, exclude_border : of `instances.nuclei`.
    tile : see `tiling.predict_mosaic`. device : cpu or cuda.

    An image that cannot be read is told, and the others go on. Returns the number of those.

    Raises InputError for a model or folder that cannot be used, and for an output that would replace an input.
    """
    found = find_images(images)
    places = _output_places(found, Path(images), Path(output))
    weights = find_weights(model, models)
    if device == "cuda" and not torch.cuda.is_available():
        raise InputError("--device cuda: there is no GPU that PyTorch can use here; take --device cpu")
    on = prepare_torch(device, torch_threads, deterministic=True)
    network = fold(load_model(weights, on))
    if isinstance(diameter, float | int):
        magnification(diameter, network.diameter)  # raises now, not at the first image
    cleaning = {"min_area": min_area, "fill_holes": fill_holes, "exclude_border": exclude_border}
    tables, failed = [], 0
    table = Path(output) / "nuclei.tsv"
    table.unlink(missing_ok=True)  # an earlier run's, which would not go with the labels of this one
    for number, (path, (labels_file, overlay_file)) in enumerate(zip(found, places, strict=True), start=1):
        # A file name may hold what a terminal would obey.
        name = path.name if path.name.isprintable() else ascii(path.name)
        progress = f"[{number}/{len(found)}] {name}"
        try:
            image = read_image(path, page)
            labels, probability = segment_image(network, image, diameter=diameter, tile=tile, device=on, **cleaning)
            write_labels(labels_file, labels)
            _write_overlay(overlay_file, image, labels)
        except (InputError, OSError) as error:
            if isinstance(error, OSError) and error.errno != errno.ENAMETOOLONG:
                raise
            failed += 1
            logger.error("%s: FAILED. %s", progress, error)
            for stale in (labels_file, overlay_file):
                with suppress(OSError):
                    stale.unlink(missing_ok=True)
            continue
        measured = measure_nuclei(
            labels, [image], channels=["intensity"], pixel_size=pixel_size, probability=probability
        )
        measured.insert(0, "image", path.name)
        tables.append(measured)
        logger.info("%s: %d nuclei", progress, len(measured))
    if tables:
        _write_table(table, pd.concat(tables, ignore_index=True), pixel_size)
    total = sum(map(len, tables))
    logger.info("%d nuclei in %d images, in %s", total, len(tables), output)
    if failed:
        logger.error("%d of %d images could not be segmented: see above", failed, len(found))
    return failed


def find_images(folder: str | Path) -> list[Path]:
    """TIFF and PNG files directly in a folder, by name; hidden ones are none of them.

    Raises InputError if the folder does not exist, cannot be read, or holds no image.
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
        raise InputError(f"{folder}: no image in it; the names of images end in {', '.join(SUFFIXES)}")
    return found


def write_labels(path: str | Path, labels: np.ndarray) -> None:
    """Write labels (y, x) as a TIFF, uint16 or, above 65535, uint32; atomically, and the same bytes every time."""
    dtype = np.uint16 if labels.max(initial=0) <= np.iinfo(np.uint16).max else np.uint32
    with replacing(path) as temporary:
        tifffile.imwrite(
            temporary,
            labels.astype(dtype),
            photometric="minisblack",
            compression="zlib",
            metadata=None,
            datetime=None,
            software=False,
        )


def draw_overlay(image: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """The image in grey with the nuclei's outlines, uint8 (y, x, 3).

    Grey runs from the darkest 0.1 % of the pixels to the brightest. Outlines lie inside the nuclei.
    """
    low, high = np.percentile(image, [0.1, 99.9])
    grey = np.clip((image.astype(np.float32) - low) / max(high - low, 1e-12), 0, 1)
    picture = np.repeat(np.rint(255 * grey).astype(np.uint8)[..., np.newaxis], 3, axis=-1)
    picture[find_boundaries(labels, connectivity=1, mode="inner")] = CONTOUR
    return picture


def _write_overlay(path: Path, image: np.ndarray, labels: np.ndarray) -> None:
    with replacing(path) as temporary:
        iio.imwrite(temporary, draw_overlay(image, labels), plugin="pillow")


def _write_table(path: Path, nuclei: pd.DataFrame, pixel_size: float | None) -> None:
    unknown = ["field", *(_PER_MICROMETRE if pixel_size is None else ())]
    with replacing(path) as temporary:
        # A file name need not be text; what is not is written as \xNN.
        nuclei.drop(columns=unknown).to_csv(
            temporary, sep="\t", index=False, lineterminator="\n", float_format="%.10g", errors="backslashreplace"
        )


def _output_places(found: list[Path], images: Path, output: Path) -> list[tuple[Path, Path]]:
    """Label image and overlay per image. Raises InputError where an output would replace an input or lie elsewhere."""
    if output.exists() and not output.is_dir():
        raise InputError(f"{output}: a file, not a folder; name a folder for the results")
    if output.resolve() == images.resolve():
        raise InputError(f"{output}: the folder of the images; name another one for the results, it may lie inside it")
    for folder in (output / "labels", output / "overlays"):
        # A link would lead the files out of the output folder.
        if folder.resolve() != output.resolve() / folder.name or (folder.exists() and not folder.is_dir()):
            raise InputError(f"{folder}: a link or a file; remove it, or choose another output folder")
        if folder.resolve() == images.resolve():
            raise InputError(f"{folder}: the folder of the images; name another output folder")
    names = list(_output_names(found))
    return [(output / "labels" / f"{name}.tif", output / "overlays" / f"{name}.png") for name in names]


def _output_names(found: list[Path]) -> Iterator[str]:
    # Some file systems hold a.tif and A.tif for one name.
    shared = Counter(path.stem.casefold() for path in found)
    taken = {path.stem.casefold() for path in found if shared[path.stem.casefold()] == 1}
    for path in found:
        name = path.stem if shared[path.stem.casefold()] == 1 else path.name
        while name != path.stem and name.casefold() in taken:
            name += "_"
        taken.add(name.casefold())
        yield name
