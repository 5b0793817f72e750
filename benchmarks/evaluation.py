"""Seconds of evaluation: folded equivariant networks against the folded plain one of equal total channels, and against
themselves unfolded and in exact mode. And the seconds that building the largest network takes.

All of them take turns in one process, in random order, so that a slow moment of the machine falls on all. Printed are
median seconds and the median ratios within a round.

    python -m benchmarks.evaluation [--architecture unet] [--size 256] [--rounds 15] [--exact]
"""

import argparse
import statistics
import time
from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor

from benchmarks.rounds import measure, ratio
from equinuclei.networks.build import build_model
from equinuclei.networks.folding import fold
from equinuclei.networks.layers import use_channels_last
from equinuclei.specs import PRESETS, ModelSpec
from equinuclei.symmetry import Group


def equal_totals(architecture: str) -> dict[Group, ModelSpec]:
    """Per group a spec of the same total channels, which every group order divides."""
    totals = [8 * max(1, round(width / 8)) for width in PRESETS[architecture].widths]
    return {group: ModelSpec(architecture, group, [total // group.order for total in totals]) for group in Group}


def evaluations(architecture: str, size: int, exact: bool) -> dict[tuple[Group, str], Callable[[], Tensor]]:
    """A function per group and way of evaluation that predicts one image."""
    image = torch.randn(1, 1, size, size)
    ways: dict[tuple[Group, str], Callable[[], Tensor]] = {}
    for group, spec in equal_totals(architecture).items():
        network = build_model(spec).eval()
        use_channels_last(network)
        ways[group, "folded"] = partial(fold(network), image)
        ways[group, "unfolded"] = partial(network, image)
        if exact:
            ways[group, "exact mode"] = partial(network.exact, image)
    return ways


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--architecture", default="unet", choices=["unet", "simplified", "gdensenet", "gunet"])
    parser.add_argument("--size", type=int, default=256)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--exact", action="store_true", help="measure exact mode too")
    arguments = parser.parse_args()
    torch.manual_seed(0)
    torch.set_num_threads(arguments.threads)
    with torch.inference_mode():
        seconds = measure(evaluations(arguments.architecture, arguments.size, arguments.exact), arguments.rounds)
    plain = seconds[Group.TRIVIAL, "folded"]
    print(f"{arguments.architecture}, {arguments.size} x {arguments.size} pixels, {arguments.threads} thread(s)")
    for (group, way), times in seconds.items():
        itself = seconds[group, "unfolded"]
        print(
            f"{group:8s} {way:10s} {statistics.median(times):7.3f} s   {ratio(times, plain):5.2f} x plain folded"
            f"   {ratio(times, itself):5.2f} x unfolded"
        )
    for name in ("unet-p4m", "gdensenet-p4m", "gunet-p4m"):
        start = time.perf_counter()
        build_model(name)
        print(f"building {name}: {time.perf_counter() - start:.2f} s")


if __name__ == "__main__":
    main()
