"""How sure an estimate is: intervals over groups of images and seeds, and tests by flipped signs.

**Unit.** What counts as independent is the `group` (the fields of a well, the tiles of a field) within its cell line,
never an image, crop or rotation: images of a group resemble each other, and an interval that takes them for independent
is too narrow. Seeds are crossed with groups, as every net is scored on every image, and are random too.

**Variances.** With I groups and J seeds, what a group adds to the estimate of a seed is linearised, u = (numerator -
ratio * denominator) / sum of denominators, as in the infinitesimal jackknife (Efron, The Jackknife, the Bootstrap and
Other Resampling Plans, 1982, chapter 6; Davison and Hinkley, Bootstrap Methods and their Application, 1997, section
2.7): the variance that a bootstrap over groups has when its samples are without number. The mean squares of the crossed
random effects (Searle, Casella and McCulloch, Variance Components, 1992, chapter 4) are then

    Vg, of groups, seeds averaged: sum over strata of n / (n - 1) * sum((u - mean of the stratum)^2)
    Vs, of seeds: variance of the J estimates / J
    Ve, of what a seed does to a group by itself: as Vg, of u less its means over groups and over seeds, / (J (J - 1))

Each expects its own effect and that of Ve, so that the estimate's variance is Vg + Vs - Ve. Adding Vg and Vs alone, as
the pigeonhole bootstrap does (Owen, Annals of Applied Statistics 1, 2007, 386-411), counts Ve twice or more.

**Interval.** 95 %, by generalised inference (Weerahandi, J. Am. Stat. Assoc. 88, 1993, 899-905; for variances of
crossed designs: Burdick, Borror and Montgomery, Design and Analysis of Gauge R&R Studies, 2005, appendix B). Vg / c, Vs
/ c and Ve / c, where each c is drawn from the chi-squared distribution by its degrees of freedom (groups less strata; J
- 1; their product), are the variances that the data allow. The p of an effect is the mean over the draws of the normal
p under Vg / c + Vs / c - Ve / c; the interval holds the effects whose p is at least 0.05. With one seed it is Student's
t. The degrees of freedom of Welch and Satterthwaite are not used: with two or three seeds the estimated weights of the
variances are too uncertain, and such intervals cover 89 to 93 %. `python -m benchmarks.coverage` simulates what these
cover (docs/results.md, Intervals).

All measures lie within 0 and 1, and differences within -1 and 1: intervals are cut there. Where all groups are alike
there is no variance to estimate. That n of n groups are so says that at least (0.025)^(1/n) of all groups are (Clopper
and Pearson, Biometrika 26, 1934, 404-413); the interval lets the others be anything. Seeds are fixed in this bound.

A cell line with one group has no variance by itself: such lines form a stratum together, and if there is one of them,
it joins the line with the most groups. With one group in all there is no interval.

**Test.** Scores: the p above. For differences that are far from normal and full of ties, a permutation test that flips
the signs of the groups' differences (Fisher, The Design of Experiments, 1935), exact for up to `EXACT_GROUPS` groups
that differ, else from `FLIPS` random flips with p = (k + 1) / (n + 1) (Phipson and Smyth, Stat. Appl. Genet. Mol. Biol.
9, 2010, 39). It averages seeds, which are fixed: it speaks of these trained nets on other groups.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
import pandas as pd
from scipy.optimize import elementwise
from scipy.special import chdtri, ndtr, stdtr, stdtrit

ALPHA = 0.05
"""Level of tests, and 1 less the coverage of intervals."""

DRAWS = 2000
FLIPS = 9999
EXACT_GROUPS = 12
SEED = 0
"""Seed of the draws and the random flips: the same scores give the same tables."""

MOST_SEEDS = 50
"""Nobody trains more: `Estimates.seeds_needed` looks no further."""


@dataclass(frozen=True)
class Estimates:
    """Estimates of several nets, and what their variances follow from.

    by_seed: (nets, seeds), the estimates. shares: (nets, seeds, groups), what every group adds to them, linearised.
    strata: (groups,). sizes: numbers of images, groups and seeds.
    """

    by_seed: np.ndarray
    shares: np.ndarray
    strata: np.ndarray
    sizes: Mapping[str, int]

    @property
    def value(self) -> np.ndarray:
        """Estimates of the nets (nets,): means over seeds."""
        return self.by_seed.mean(axis=1)

    def interval(
        self, a: np.ndarray, b: np.ndarray | None = None
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """Estimate, lower and upper end of its 95 % interval, and p, of the nets a, or of the differences a - b."""
        estimate, variances = self._of(a, b)
        half, p = _half_width(variances, self._freedom), _p(np.abs(estimate), variances, self._freedom)
        low, high = estimate - half, estimate + half
        least, groups = 0.0 if b is None else -1.0, self.sizes["groups"]
        alike = ~variances.any(axis=0)
        share = (ALPHA / 2) ** (1 / groups)
        low[alike] = share * estimate[alike] + (1 - share) * least
        high[alike] = share * estimate[alike] + (1 - share)
        p[alike] = np.where(estimate[alike] == 0, 1.0, 0.5 ** (groups - 1))
        return estimate, np.clip(low, least, 1), np.clip(high, least, 1), p

    def alike(self, a: np.ndarray, b: np.ndarray) -> np.ndarray:
        """Whether the difference a - b is the same in all groups and for all seeds."""
        return np.logical_not(self._of(a, b)[1].any(axis=0))

    def equivalence_p(self, a: np.ndarray, b: np.ndarray, margin: float) -> np.ndarray:
        """p of the hypothesis that a and b differ by `margin` or more: that of two one-sided tests, twice.

        Twice the larger of both (Schuirmann, J. Pharmacokinet. Biopharm. 15, 1987, 657-680), so that it is below ALPHA
        if and only if the 95 % interval lies within +-margin.
        """
        estimate, variances = self._of(a, b)
        room = margin - np.abs(estimate)
        p = _p(np.maximum(room, 0), variances, self._freedom)
        return np.where(np.isnan(p), np.nan, np.where(room <= 0, 1.0, p))

    def seeds_needed(self, a: np.ndarray, b: np.ndarray, difference: float) -> np.ndarray:
        """How many seeds would make the interval of a - b as narrow as +-difference, with these groups and variances.

        inf where MOST_SEEDS would not: more groups are needed. NaN with one seed or group, which tell no variance.
        """
        seeds = self.sizes["seeds"]
        _, (of_groups, of_seeds, both) = self._of(a, b)
        needed = np.full(len(of_groups), np.nan)
        if seeds == 1 or self.sizes["groups"] == 1:
            return needed
        group, seed = np.maximum(of_groups - both, 0), seeds * np.maximum(of_seeds - both, 0)
        needed[:] = np.inf
        for number in range(2, MOST_SEEDS + 1):
            rest = seeds * both / number
            expected = np.stack([group + rest, seed / number + rest, rest])
            wide = _half_width(expected, _freedom(self._freedom[0], number)) > difference
            needed = np.where(np.isinf(needed) & ~wide, number, needed)
            if np.isfinite(needed).all():
                break
        return needed

    @property
    def _freedom(self) -> tuple[int, int, int]:
        return _freedom(len(self.strata) - len(np.unique(self.strata)), self.sizes["seeds"])

    def _of(self, a: np.ndarray, b: np.ndarray | None) -> tuple[np.ndarray, np.ndarray]:
        """Estimates (n,) of a, or a - b, and their Vg, Vs and Ve (3, n); see the module."""

        def of(values: np.ndarray) -> np.ndarray:
            return values[a] if b is None else values[a] - values[b]

        by_seed, shares, seeds = of(self.by_seed), of(self.shares), self.sizes["seeds"]
        if self.sizes["groups"] == 1:
            return of(self.value), np.full((3, len(by_seed)), np.nan)
        mean = shares.mean(axis=1, keepdims=True)
        variances = np.zeros((3, len(by_seed)))
        variances[0] = self._between_groups(mean)
        if seeds > 1:
            variances[1] = by_seed.var(axis=1, ddof=1) / seeds
            variances[2] = self._between_groups(shares - mean) / (seeds * (seeds - 1))
        # Sums in another order, of equal numbers, are no variance.
        variances[variances < 1e-24] = 0
        return of(self.value), variances

    def _between_groups(self, shares: np.ndarray) -> np.ndarray:
        """Sum over seeds of the variance between groups of a sum over groups: (n, seeds, groups) to (n,)."""
        total = np.zeros(len(shares))
        for stratum in np.unique(self.strata):
            part = shares[..., self.strata == stratum]
            total += part.var(axis=-1, ddof=1).sum(axis=1) * part.shape[-1]
        return total


def estimates(numerator: np.ndarray, denominator: np.ndarray, groups: Sequence[str], lines: Sequence[str]) -> Estimates:
    """Estimates of ratios of sums over images, mean over seeds, with their variances; see the module.

    Parameters
    ----------
    numerator, denominator: (nets, seeds, images) of numbers. The estimate of a net and seed is the sum of one divided
        by the sum of the other, within 0 and 1: of a mean over images the denominator is 1, and 0 for images that do
        not count.
    groups, lines: group and cell line of every image.
    """
    counted = (denominator > 0).any(axis=(0, 1))
    numerator, denominator = numerator[..., counted], denominator[..., counted]
    table = pd.MultiIndex.from_arrays([np.asarray(lines)[counted], np.asarray(groups)[counted]])
    of_image, units = table.factorize(sort=True)
    tops, bottoms = (group_sums(array, of_image, len(units)) for array in (numerator, denominator))
    total = bottoms.sum(axis=-1, keepdims=True)
    by_seed = tops.sum(axis=-1, keepdims=True) / total
    return Estimates(
        by_seed=by_seed[..., 0],
        shares=(tops - by_seed * bottoms) / total,
        strata=_strata(units.get_level_values(0)),
        sizes={"images": int(counted.sum()), "groups": len(units), "seeds": numerator.shape[1]},
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


def _freedom(groups: int, seeds: int) -> tuple[int, int, int]:
    """Degrees of freedom of Vg, Vs and Ve, of groups with as many themselves."""
    return groups, seeds - 1, groups * (seeds - 1)


@cache
def _chi_squared(freedom: tuple[int, int, int]) -> np.ndarray:
    """Draws of Vg, Vs and Ve by what they expect, (3, DRAWS): a Latin hypercube, even in each."""
    random = np.random.default_rng(SEED)
    upper = (np.stack([random.permutation(DRAWS) for _ in freedom]) + 0.5) / DRAWS
    n = np.array(freedom)[:, np.newaxis]
    return chdtri(n, upper) / n


def _allowed(variances: np.ndarray, freedom: tuple[int, int, int]) -> np.ndarray:
    """Standard errors that the variances (3, n) allow: (n, DRAWS)."""
    of_groups, of_seeds, both = variances[:, :, np.newaxis] / _chi_squared(freedom)[:, np.newaxis]
    return np.sqrt(np.maximum(of_groups + of_seeds - both, 0))


def _p(effect: np.ndarray, variances: np.ndarray, freedom: tuple[int, int, int]) -> np.ndarray:
    """Two-sided p (n,) of effects (n,) >= 0; without variance 0, but 1 of no effect."""
    with np.errstate(invalid="ignore", divide="ignore"):
        if freedom[1] == 0:
            p = 2 * stdtr(freedom[0], -effect / np.sqrt(variances[0]))
        else:
            p = _mean_p(effect[:, np.newaxis], _allowed(variances, freedom))
    return np.where(np.isnan(variances[0]), np.nan, np.where(effect == 0, 1.0, p))


def _mean_p(effect: np.ndarray, errors: np.ndarray) -> np.ndarray:
    """Mean of the normal p of an effect (..., 1) over its standard errors (..., DRAWS)."""
    return (2 * ndtr(-effect / np.maximum(errors, 1e-300))).mean(axis=-1)


def _half_width(variances: np.ndarray, freedom: tuple[int, int, int]) -> np.ndarray:
    """Half the width of the 95 % interval (n,): the effect whose p is ALPHA."""
    if freedom[1] == 0:
        return stdtrit(freedom[0], 1 - ALPHA / 2) * np.sqrt(variances[0])
    half = np.where(np.isnan(variances[0]), np.nan, 0.0)
    some = np.flatnonzero(variances.any(axis=0) & ~np.isnan(variances[0]))
    if some.size:
        errors = _allowed(variances[:, some], freedom)

        def beyond(effect: np.ndarray, row: np.ndarray) -> np.ndarray:
            return _mean_p(effect[..., np.newaxis], errors[row]) - ALPHA

        bracket = (np.zeros(some.size), 4 * errors.max(axis=1))
        half[some] = elementwise.find_root(beyond, bracket, args=(np.arange(some.size),), tolerances={"xrtol": 1e-6}).x
    return half


def group_sums(values: np.ndarray, of_image: np.ndarray, groups: int) -> np.ndarray:
    """Sums over the images of each group: (..., images) to (..., groups)."""
    sums = np.zeros((*values.shape[:-1], groups))
    np.add.at(np.moveaxis(sums, -1, 0), of_image, np.moveaxis(values, -1, 0))
    return sums
