"""Seconds of segmenting one image: the whole step against the bare network on the same pixels; and peak memory.

The whole step is what a user gets: standardise, predict in tiles, label, write a label image. Both take turns in one
process, in random order, so that a slow moment of the machine falls on both. Printed are median seconds and the median
ratio within a round. Peak memory is that of a process of its own for each.

    python -m benchmarks.inference [--model simplified-p4] [--size 1080] [--tile 1024] [--rounds 7] [--threads 1]
"""

import argparse
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch.nn import functional

from benchmarks.rounds import measure, ratio
from equinuclei.images.instances import parted_nuclei
from equinuclei.images.intensity import normalize
from equinuclei.inference.image_folder import write_labels
from equinuclei.inference.tiling import predict_mosaic
from equinuclei.inference.whole_images import pad_placements
from equinuclei.networks.build import build_model
from equinuclei.networks.folding import fold
from equinuclei.specs import PRESETS


def steps(model: str, size: int, tile: int, folder: Path) -> dict[str, Callable[[], object]]:
    """The bare network on the padded image, and the whole step and its parts, each as a function of nothing."""
    network = fold(build_model(model).eval())
    # Weights are random: what is labelled are discs, so that there is as much of it as there would be.
    truth = touching_discs(size)
    image = np.random.default_rng(0).normal(np.where(truth, 9000, 3000), 1000).clip(0, 65535).astype(np.uint16)
    codes = truth.astype(np.uint8)
    labels = parted_nuclei(codes, "binary")
    before, after = pad_placements(size, network.input_multiple)[0]
    standardized = torch.from_numpy(normalize(image))[None, None]
    padded = functional.pad(standardized, (before, after, before, after), mode="reflect")

    def whole(side: int, whole_pixels: int | None = None) -> None:
        predict_mosaic(network, image, tile=side, whole_pixels=whole_pixels)
        write_labels(folder / "labels.tif", parted_nuclei(codes, "binary"))

    return {
        "network": lambda: network(padded),
        "whole step": lambda: whole(tile),
        f"in tiles of {size // 2}": lambda: whole(size // 2, 0),
        "standardising": lambda: normalize(image),
        "labelling": lambda: parted_nuclei(codes, "binary"),
        "writing": lambda: write_labels(folder / "labels.tif", labels),
    }


def touching_discs(size: int) -> np.ndarray:
    """A mask of pairs of touching nuclei, bool (y, x): about 300 nuclei in 1080 x 1080 pixels."""
    y, x = np.ogrid[:size, :size]
    y, x = y % 60 - 30, x % 90 - 45
    return (y**2 + (x - 11) ** 2 <= 14**2) | (y**2 + (x + 11) ** 2 <= 12**2)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="simplified-p4", choices=list(PRESETS))
    parser.add_argument("--size", type=int, default=1080)
    parser.add_argument("--tile", type=int, default=1024)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--once", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    torch.manual_seed(0)
    torch.set_num_threads(arguments.threads)
    with tempfile.TemporaryDirectory() as name, torch.inference_mode():
        functions = steps(arguments.model, arguments.size, arguments.tile, Path(name))
        if arguments.once is not None:
            before = _peak()
            if arguments.once:
                functions[arguments.once]()
            print(f"{before} {_peak()}")
            return
        seconds = measure(functions, arguments.rounds)
    print(f"{arguments.model}, {arguments.size} x {arguments.size} pixels, uint16, {arguments.threads} thread(s)")
    for name, times in seconds.items():
        print(f"{name:18s} {statistics.median(times):7.3f} s   {ratio(times, seconds['network']):5.2f} x network")
    for name in list(functions)[:3]:
        command = [sys.executable, __file__, *sys.argv[1:], "--once", name]
        before, peak = subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()
        print(f"{name:18s} {int(peak):6d} MiB at most, {int(before)} MiB before")


def _peak() -> int:
    """Peak resident memory of this process, MiB; Linux. (`getrusage` counts that of the parent before exec, too.)"""
    status = Path("/proc/self/status").read_text(encoding="ascii")
    return int(next(line for line in status.splitlines() if line.startswith("VmHWM")).split()[1]) // 1024


if __name__ == "__main__":
    main()
