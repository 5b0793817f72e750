"""Seconds of a training step: equivariant networks against the plain one of equal total channels, side by side.

The networks take turns in one process, so that a slow moment of the machine falls on all of them. Printed are median
seconds and the median ratio to the plain network of the same round.

    python benchmarks/training_step.py [--architecture simplified] [--size 128] [--batch 8] [--rounds 7]
"""

import argparse
import statistics
import sys
import time
from pathlib import Path

import torch
from torch.nn import functional

sys.path.insert(0, str(Path(__file__).parents[1] / "scripts"))

from equinuclei.models import PRESETS, ModelSpec, build_model
from equinuclei.symmetry import Group


def training_step(spec: ModelSpec, size: int, batch: int):
    """A function that makes one step of Adam on random crops."""
    network = build_model(spec)
    optimizer = torch.optim.Adam(network.parameters())
    images = torch.randn(batch, 1, size, size)
    targets = (images > 1).float()

    def step() -> None:
        optimizer.zero_grad()
        functional.binary_cross_entropy_with_logits(network(images), targets).backward()
        optimizer.step()

    return step


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--architecture", default="simplified", choices=["simplified", "unet"])
    parser.add_argument("--size", type=int, default=128)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=7)
    arguments = parser.parse_args()
    torch.manual_seed(0)
    # Total channels that every group order divides.
    totals = [8 * round(width / 8 * 2) for width in PRESETS[arguments.architecture].widths]
    steps = {
        group: training_step(
            ModelSpec(arguments.architecture, group, [total // group.order for total in totals]),
            arguments.size,
            arguments.batch,
        )
        for group in Group
    }
    for step in steps.values():
        step()
    seconds: dict[Group, list[float]] = {group: [] for group in steps}
    for _ in range(arguments.rounds):
        for group, step in steps.items():
            start = time.perf_counter()
            step()
            seconds[group].append(time.perf_counter() - start)
    print(f"{arguments.architecture}, {sum(totals)} channels in all levels, {torch.get_num_threads()} threads")
    for group, times in seconds.items():
        ratios = [time_ / plain for time_, plain in zip(times, seconds[Group.TRIVIAL], strict=True)]
        print(f"{group:8s} {statistics.median(times):7.3f} s   {statistics.median(ratios):5.2f} x plain")


if __name__ == "__main__":
    main()
