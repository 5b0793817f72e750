"""How sure an estimate is: bootstrap intervals over groups of images and seeds, and tests by flipped signs.

**Unit.** What is resampled is the `group` (the fields of a well, the tiles of a field) within its cell line, never an
image, crop or rotation: images of a group resemble each other, and an interval that takes them for independent is too
narrow. Seeds are crossed with groups, as every net is scored on every image, and are resampled too.

**Interval.** Estimate +- t * SE, 95 %. SE is the standard deviation over `REPLICATES` bootstrap samples, which draw
groups within cell lines, and seeds, with replacement and independently of each other (the pigeonhole bootstrap: Owen,
Annals of Applied Statistics 1, 2007, 386-411; of models and seeds: Sellam et al., The MultiBERTs, ICLR 2022). Of n
units n - 1 are drawn, each with weight n / (n - 1), so that the variance is right for few units too (Rao and Wu, J. Am.
Stat. Assoc. 83, 1988, 231-241). t is Student's, with the degrees of freedom of Welch and Satterthwaite: groups less
strata, and seeds less one, weighed by the variance that each has when resampled alone. There are two to five seeds and
sometimes a dozen groups, and percentile intervals are too narrow then (Hesterberg, The American Statistician 69, 2015,
371-386). In simulations with 78 % of the variance between groups, of 12 groups and one seed, these intervals covered
the truth in 95 %, percentiles of the same samples in 91 %; of 40 groups and two seeds that differ more than the groups
do, in 91 and 84 %.

A cell line with one group cannot be resampled by itself: such lines form a stratum together, and if there is one of
them, it joins the line with the most groups. With one group in all there is no interval.

**Test.** Scores: Student's t of estimate / SE. For differences that are far from normal and full of ties, a permutation
test that flips the signs of the groups' differences (Fisher, The Design of Experiments, 1935), exact for up to
`EXACT_GROUPS` groups that differ, else from `FLIPS` random flips with p = (k + 1) / (n + 1) (Phipson and Smyth, Stat.
Appl. Genet. Mol. Biol. 9, 2010, 39).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy.special import stdtr, stdtrit

ALPHA = 0.05
"""Level of tests, and 1 less the coverage of intervals."""

REPLICATES = 4000
FLIPS = 9999
EXACT_GROUPS = 12
SEED = 0
"""Seed of the bootstrap and the random flips: the same scores give the same tables."""


@dataclass(frozen=True)
class Resampled:
    """Estimates of several nets, and of the bootstrap samples.

    value: (nets,). both, groups, seeds: (REPLICATES, nets), where groups and seeds, groups alone, or seeds alone were
    resampled; NaN with one group. freedom: degrees of freedom of groups and of seeds. sizes: numbers of images, groups
    and seeds.
    """

    value: np.ndarray
    both: np.ndarray
    groups: np.ndarray
    seeds: np.ndarray
    freedom: tuple[int, int]
    sizes: Mapping[str, int]

    def interval(
        self, a: np.ndarray, b: np.ndarray | None = None
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """Estimate, lower and upper end of its 95 % interval, and p, of the nets a, or of the differences a - b."""

        def of(values: np.ndarray) -> np.ndarray:
            return values[..., a] if b is None else values[..., a] - values[..., b]

        estimate, error = of(self.value), of(self.both).std(axis=0, ddof=1)
        parts = [of(part).var(axis=0, ddof=1) for part in (self.groups, self.seeds)]
        # Sums in another order, of equal numbers, are no variance.
        error = np.where(error < 1e-12, 0.0, error)
        with np.errstate(invalid="ignore", divide="ignore"):
            terms = [part**2 / max(n, 1) for part, n in zip(parts, self.freedom, strict=True)]
            freedom = np.where(error > 0, sum(parts) ** 2 / sum(terms), 1.0)
            t = np.where(estimate == 0, 0.0, np.abs(estimate) / error)
        half = np.where(error > 0, stdtrit(freedom, 1 - ALPHA / 2) * error, error)
        p = np.where(np.isnan(error), np.nan, 2 * stdtr(freedom, -t))
        return estimate, estimate - half, estimate + half, p


def resample(numerator: np.ndarray, denominator: np.ndarray, groups: Sequence[str], lines: Sequence[str]) -> Resampled:
    """Estimates of ratios of sums over images, mean over seeds, with their bootstrap samples; see the module.

    Parameters
    ----------
    numerator, denominator: (nets, seeds, images) of numbers. The estimate of a net and seed is the sum of one divided
        by the sum of the other: of a mean over images the denominator is 1, and 0 for images that do not count.
    groups, lines: group and cell line of every image.
    """
    counted = (denominator > 0).any(axis=(0, 1))
    numerator, denominator = numerator[..., counted], denominator[..., counted]
    table = pd.MultiIndex.from_arrays([np.asarray(lines)[counted], np.asarray(groups)[counted]])
    of_image, units = table.factorize(sort=True)
    strata = _strata(units.get_level_values(0))
    sums = [group_sums(array, of_image, len(units)) for array in (numerator, denominator)]
    seeds = numerator.shape[1]
    by_seed = sums[0].sum(axis=-1) / sums[1].sum(axis=-1)
    random = np.random.default_rng(SEED)
    draws = np.empty((REPLICATES, len(units)))
    for stratum in np.unique(strata):
        draws[:, strata == stratum] = _draws(int((strata == stratum).sum()), random)
    seed_draws = _draws(seeds, random) if seeds > 1 else np.ones((REPLICATES, 1))
    tops, bottoms = (np.moveaxis(np.tensordot(draws, array, axes=(1, 2)), 1, -1) for array in sums)
    with np.errstate(invalid="ignore"):  # a sample may hold no object at all; then there is no interval
        resampled = tops / bottoms  # (replicates, seeds, nets)
    return Resampled(
        value=by_seed.mean(axis=1),
        both=(resampled * seed_draws[:, :, np.newaxis]).mean(axis=1),
        groups=resampled.mean(axis=1),
        seeds=seed_draws @ by_seed.T / seeds,
        freedom=(len(units) - len(np.unique(strata)), seeds - 1),
        sizes={"images": int(counted.sum()), "groups": len(units), "seeds": seeds},
    )


def sign_flip_p(differences: np.ndarray) -> np.ndarray:
    """Two-sided p of the hypothesis that the sign of every group's difference is as likely + as -.

    differences: (groups, contrasts), the sums over each group. The statistic is the absolute sum over groups. Exact for
    contrasts with up to EXACT_GROUPS groups that are not 0, else from FLIPS random flips.
    """
    observed = np.abs(differences.sum(axis=0))
    # Equal sums in another order differ by rounding.
    least = observed - 1e-9 * np.abs(differences).sum(axis=0)
    p = np.empty(differences.shape[1])
    many = np.count_nonzero(differences, axis=0) > EXACT_GROUPS
    if many.any():
        flips = np.random.default_rng(SEED).choice([-1.0, 1.0], size=(FLIPS, len(differences)))
        reached = np.abs(flips @ differences[:, many]) >= least[many]
        p[many] = (reached.sum(axis=0) + 1) / (FLIPS + 1)
    for contrast in np.flatnonzero(~many):
        column = differences[:, contrast]
        column = column[column != 0]
        flips = 1 - 2 * (np.arange(2**column.size)[:, np.newaxis] >> np.arange(column.size) & 1)
        p[contrast] = (np.abs(flips @ column) >= least[contrast]).mean()
    return p


def holm(p: np.ndarray) -> np.ndarray:
    """p corrected for all that are tested together (Holm 1979); NaN are not tested, and stay NaN."""
    p = np.asarray(p, dtype=float)
    corrected = np.full(p.shape, np.nan)
    tested = np.flatnonzero(~np.isnan(p))
    ordered = tested[np.argsort(p[tested], kind="stable")]
    steps = p[ordered] * np.arange(len(ordered), 0, -1)
    corrected[ordered] = np.minimum(np.maximum.accumulate(steps), 1)
    return corrected


def _strata(lines: Sequence[str]) -> np.ndarray:
    """Stratum of every group (a number), from its cell line; lines of one group are put together."""
    codes, _ = pd.factorize(np.asarray(lines))
    counts = np.bincount(codes)
    single = counts == 1
    if single.all() or not single.any():
        return np.zeros_like(codes) if single.all() else codes
    together = int(np.argmax(counts)) if single.sum() == 1 else len(counts)
    return np.where(single[codes], together, codes)


def _draws(units: int, random: np.random.Generator) -> np.ndarray:
    """Weights of `units` in every bootstrap sample, (REPLICATES, units); NaN for a single unit."""
    if units == 1:
        return np.full((REPLICATES, 1), np.nan)
    return random.multinomial(units - 1, np.full(units, 1 / units), size=REPLICATES) * (units / (units - 1))


def group_sums(values: np.ndarray, of_image: np.ndarray, groups: int) -> np.ndarray:
    """Sums over the images of each group: (..., images) to (..., groups)."""
    sums = np.zeros((*values.shape[:-1], groups))
    np.add.at(np.moveaxis(sums, -1, 0), of_image, np.moveaxis(values, -1, 0))
    return sums
