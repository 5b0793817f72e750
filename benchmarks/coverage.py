"""How often 95 % intervals of simulated studies hold the truth: groups of two images, crossed with seeds.

What a net scores on an image is 0.7 + effects, normal, of its group, of its seed, of both, and of the image; two nets
share most of a group's effect, as they see the same images. The truth is the mean over all groups and seeds. Of
`pooled` scores the images differ in numbers of nuclei, and the truth is that of all groups.

    python -m benchmarks.coverage [--studies 1000] [--groups 20] [--seeds 2 3 5]
"""

import argparse
from collections.abc import Iterator
from itertools import product

import numpy as np

from equinuclei.analysis.resampling import estimates

IMAGES = 2
TRUTH = (0.7, 0.72)
SPREAD = 0.02
"""Standard deviation between images of a group, and of what a seed does to a group by itself."""

SIZES = {"small": 0.005, "large": 0.03}
"""Standard deviations of the effects of groups, and of seeds."""


def simulate(
    random: np.random.Generator, studies: int, groups: int, seeds: int, spread: tuple[float, float], pooled: bool
) -> tuple[np.ndarray, np.ndarray]:
    """Numerator and denominator (2 * studies, seeds, images): net a of every study, then net b of each.

    spread : standard deviations of what differs between the nets, of groups and of seeds.
    """
    shared = random.normal(0, 0.05, (studies, 1, groups))
    of_group = shared + random.normal(0, spread[0], (2, studies, 1, groups))
    of_seed = random.normal(0, spread[1], (2, studies, seeds, 1))
    of_both = random.normal(0, SPREAD / 2, (2, studies, seeds, groups))
    by_group = np.reshape(TRUTH, (2, 1, 1, 1)) + of_group + of_seed + of_both
    scores = np.repeat(by_group, IMAGES, axis=-1)
    scores += random.normal(0, SPREAD, scores.shape)
    nuclei = random.poisson(40, (studies, 1, groups * IMAGES)) + 1.0 if pooled else np.ones(1)
    shape = (2 * studies, seeds, groups * IMAGES)
    return (scores * nuclei).reshape(shape), np.broadcast_to(nuclei, scores.shape).reshape(shape)


def coverage(
    studies: int, groups: int, seeds: int, spread: tuple[float, float], pooled: bool = False
) -> tuple[float, float, float]:
    """Shares of studies whose interval holds the truth, of a score and of a difference; median width of the latter."""
    names = np.repeat(np.arange(groups), IMAGES).astype(str)
    random = np.random.default_rng([studies, groups, seeds])
    parts = simulate(random, studies, groups, seeds, spread, pooled)
    found = estimates(*parts, names, np.full(len(names), "HeLa"))
    a, b = np.arange(studies), np.arange(studies, 2 * studies)
    _, low, high, _ = found.interval(a)
    _, lower, upper, _ = found.interval(a, b)
    difference = TRUTH[0] - TRUTH[1]
    return (
        float(np.mean((low <= TRUTH[0]) & (high >= TRUTH[0]))),
        float(np.mean((lower <= difference) & (upper >= difference))),
        float(np.median(upper - lower)),
    )


def rows(studies: int, groups: int, seeds: list[int]) -> Iterator[str]:
    """The table, lines of Markdown."""
    yield "| seeds | groups differ | seeds differ | scores | a score | a difference | its median width |"
    yield "|---|---|---|---|---|---|---|"
    for number, between, trained, pooled in product(seeds, SIZES, SIZES, (False, True)):
        score, difference, width = coverage(studies, groups, number, (SIZES[between], SIZES[trained]), pooled)
        yield (
            f"| {number} | {between} | {trained} | {'pooled' if pooled else 'per image'} | {100 * score:.1f} % "
            f"| {100 * difference:.1f} % | {width:.3f} |"
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--studies", type=int, default=1000)
    parser.add_argument("--groups", type=int, default=20)
    parser.add_argument("--seeds", type=int, nargs="+", default=[2, 3, 5])
    arguments = parser.parse_args()
    for line in rows(arguments.studies, arguments.groups, arguments.seeds):
        print(line, flush=True)


if __name__ == "__main__":
    main()
