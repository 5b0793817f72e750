"""Seconds of a training step: equivariant networks against the plain one of equal total channels, side by side.

The networks take turns in one process, in random order, so that a slow moment of the machine falls on all of them.
Printed are median seconds and the median ratio to the plain network of the same round. With `--escnn` the simplified
U-Net of escnn's own layers, in an environment of its own (`make escnn`), is measured in turns with ours of the same
widths: blocks of a few steps each, compared by their fastest steps.

    python -m benchmarks.training_step [--architecture simplified] [--size 128] [--batch 8] [--rounds 9] [--escnn]
"""

import argparse
import json
import random
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch import nn
from torch.nn import functional

from equinuclei.networks.build import build_model
from equinuclei.networks.layers import use_channels_last
from equinuclei.specs import ARCHITECTURES, PRESETS, ModelSpec
from equinuclei.symmetry import Group

ROOT = Path(__file__).parents[1]
ESCNN = ROOT / ".venv-escnn/bin/python"


def training_step(spec: ModelSpec, size: int, batch: int) -> Callable[[], None]:
    """A function that makes one step of Adam on random crops, in the memory format that training chooses."""
    network = build_model(spec)
    if not any(isinstance(module, nn.BatchNorm2d) for module in network.modules()):
        use_channels_last(network)
    optimizer = torch.optim.Adam(network.parameters())
    images = torch.randn(batch, 1, size, size)
    targets = (images > 1).float()

    def step() -> None:
        optimizer.zero_grad()
        functional.binary_cross_entropy_with_logits(network(images), targets).backward()
        optimizer.step()

    return step


def seconds_of(step: Callable[[], None]) -> float:
    start = time.perf_counter()
    step()
    return time.perf_counter() - start


def compare_with_plain(arguments: argparse.Namespace) -> None:
    # Total channels that every group order divides.
    totals = [8 * max(1, round(width / 8 * 2)) for width in PRESETS[arguments.architecture.removesuffix("-bn")].widths]
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
        for group in random.sample(list(steps), len(steps)):
            seconds[group].append(seconds_of(steps[group]))
    print(f"{arguments.architecture}, {sum(totals)} channels in all levels, {torch.get_num_threads()} threads")
    for group, times in seconds.items():
        ratios = [time_ / plain for time_, plain in zip(times, seconds[Group.TRIVIAL], strict=True)]
        print(f"{group:8s} {statistics.median(times):7.3f} s   {statistics.median(ratios):5.2f} x plain")


def compare_with_escnn(arguments: argparse.Namespace) -> None:
    if not ESCNN.is_file():
        sys.exit(f"{ESCNN} is missing: build escnn's environment with `make escnn`")
    for group in (Group.P4, Group.P4M):
        spec = PRESETS[f"simplified-{group}"]
        step = training_step(spec, arguments.size, arguments.batch)
        step()
        command = [ESCNN, ROOT / "tests/oracle/escnn/training_step.py", "--group", group, "--widths", *spec.widths]
        command += ["--size", arguments.size, "--batch", arguments.batch, "--rounds", 3, "--threads", arguments.threads]
        ours, theirs = [], []
        for _ in range(max(1, arguments.rounds // 3)):
            ours += [seconds_of(step) for _ in range(3)]
            output = subprocess.run([str(part) for part in command], capture_output=True, text=True, check=True).stdout
            report = json.loads(output.splitlines()[-1])
            theirs += report["steps_s"]
        ratio = min(ours) / min(theirs)
        print(f"{group:8s} {min(ours):7.3f} s   escnn {min(theirs):7.3f} s   {ratio:5.2f} x escnn", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--architecture", default="simplified", choices=list(ARCHITECTURES))
    parser.add_argument("--size", type=int, default=128)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--escnn", action="store_true", help="compare with escnn instead of the plain network")
    arguments = parser.parse_args()
    torch.manual_seed(0)
    torch.set_num_threads(arguments.threads)
    (compare_with_escnn if arguments.escnn else compare_with_plain)(arguments)


if __name__ == "__main__":
    main()
