"""`equinuclei segment`: a folder of images to label images, overlays and one table of nuclei."""

import argparse
import logging
import sys
from pathlib import Path

from equinuclei.cli.values import at_least, available_cores, diameter, positive
from equinuclei.library.names import LAB_MODELS
from equinuclei.runtime.printable import PrintableFormatter, printable

DEFAULT_MODEL = "fluorescence-fast-v1"

DESCRIPTION = """\
Find the nuclei of every TIFF and PNG image of a folder, and measure them.

OUTPUT_FOLDER gets
  labels/NAME.tif      one label image per image: 0 is background, 1, 2, ... are the nuclei
  overlays/NAME.png    the image with the outlines of the nuclei, to check them by eye
  nuclei.tsv           one row per nucleus: place, area, shape, intensity, mean probability
  images.tsv           one row per image: nuclei, their size and contrast, and flags: what to doubt, and why
Files of an earlier run are replaced. The images are only read.
"""

EPILOG = """\
examples:
  equinuclei segment my_images results
  equinuclei segment --model fluorescence-v2 my_images results
  equinuclei segment --model brightfield-v1 my_images results
  equinuclei segment --model results/demo/models/simplified-p4/fluorescence/seed1 my_images results
  equinuclei segment --diameter 40 my_images results
  equinuclei segment --invert my_images results
  equinuclei segment --page 0 --pixel-size 0.65 --min-area 40 my_images results

An image that looks wrong (inverted, brightfield, blurred, saturated, a size that does not fit) is done all the same,
and flagged: in what is printed, and in images.tsv.

exit status: 0, all images are done, flagged or not; 1, at least one could not be segmented (it is named, the others are
done) or nothing could be done at all; 2, the command line is wrong.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command line."""
    parser.add_argument("images", metavar="INPUT_FOLDER", type=Path, help="its images; subfolders are not searched")
    parser.add_argument("output", metavar="OUTPUT_FOLDER", type=Path, help="made if it does not exist")
    parser.add_argument(
        "--model",
        default=DEFAULT_MODEL,
        metavar="NAME_OR_PATH",
        help="name of a model, or a file weights.safetensors or its folder (default: %(default)s)",
    )
    parser.add_argument(
        "--models",
        type=Path,
        default=LAB_MODELS,
        metavar="FOLDER",
        help="of your own named models, beside those that come with the package (default: %(default)s)",
    )
    parser.add_argument(
        "--page",
        "--channel",
        type=at_least(0),
        metavar="N",
        help="page of TIFF files with several (channels, planes), counted from 0",
    )
    parser.add_argument("--invert", action="store_true", help="exchange dark and bright before anything else")
    parser.add_argument(
        "--pixel-size", type=positive, metavar="UM", help="micrometres per pixel; adds columns in micrometres"
    )
    parser.add_argument(
        "--diameter",
        type=diameter,
        default="estimated",
        metavar="PX",
        help="of a typical nucleus, in pixels: images are magnified to the size that the model knows best; estimated: "
        "read from reduced images; none: images are taken as they are (default: %(default)s)",
    )
    parser.add_argument(
        "--min-area", type=at_least(0), default=0, metavar="N", help="leave out nuclei of fewer pixels (default: 0)"
    )
    parser.add_argument("--fill-holes", action="store_true", help="fill the holes of nuclei")
    parser.add_argument(
        "--exclude-border", action="store_true", help="leave out nuclei that the border of the image cuts"
    )
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu", help="cuda: a GPU (default: cpu)")
    parser.add_argument(
        "--tile",
        type=at_least(1),
        metavar="N",
        help="pixels per side that are predicted at a time; fewer need less memory, and more time (default: as many as "
        "some 3 GB allow)",
    )
    parser.add_argument(
        "--threads",
        type=at_least(1),
        default=available_cores(),
        metavar="N",
        help="cores to use (default: all, %(default)s)",
    )


def run(arguments: argparse.Namespace) -> int:
    """Segment a folder. Returns the exit status."""
    # Not at the top: `--help` and a mistyped option need not wait for PyTorch.
    from equinuclei.inference.image_folder import segment_folder

    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(PrintableFormatter("%(message)s"))
    logging.basicConfig(level=logging.WARNING, handlers=[handler])
    logging.getLogger("equinuclei").setLevel(logging.INFO)
    try:
        failed = segment_folder(
            arguments.model,
            arguments.images,
            arguments.output,
            models=arguments.models,
            page=arguments.page,
            invert=arguments.invert,
            pixel_size=arguments.pixel_size,
            diameter=arguments.diameter,
            min_area=arguments.min_area,
            fill_holes=arguments.fill_holes,
            exclude_border=arguments.exclude_border,
            tile=arguments.tile,
            device=arguments.device,
            torch_threads=arguments.threads,
        )
    except OSError as error:
        print(printable(f"Error: {error.filename or arguments.output}: {error.strerror or error}"), file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("Interrupted; the images named above are done", file=sys.stderr)
        return 130
    return 1 if failed else 0
