"""Intervals and tests of contrasts against scipy's bootstrap and permutation test, and against the textbook's sums."""

import numpy as np
import pytest
from scipy import stats

from equinuclei.analysis.resampling import estimates, sign_flip_p

GROUPS, SEEDS, IMAGES = 16, 4, 2
A = np.array([0])


def study(number, *, seed_spread=0.01):
    """Scores (1, seeds, images), and the group of every image."""
    random = np.random.default_rng(number)
    by_group = random.normal(0.6, 0.03, GROUPS) + random.normal(0, seed_spread, (SEEDS, 1))
    by_group = by_group + random.normal(0, 0.02, (SEEDS, GROUPS))
    values = np.repeat(by_group, IMAGES, axis=1) + random.normal(0, 0.02, (SEEDS, GROUPS * IMAGES))
    return values[np.newaxis], np.repeat(np.arange(GROUPS), IMAGES).astype(str)


def test_the_variance_is_that_of_the_crossed_analysis_of_variance():
    """Mean squares by sums over every cell (Searle, Casella and McCulloch 1992, table 4.4), of group means."""
    values, groups = study(0)
    cells = values[0].reshape(SEEDS, GROUPS, IMAGES).mean(axis=2)
    grand = cells.mean()
    of_groups = SEEDS * sum((cells[:, g].mean() - grand) ** 2 for g in range(GROUPS)) / (GROUPS - 1)
    of_seeds = GROUPS * sum((cells[s].mean() - grand) ** 2 for s in range(SEEDS)) / (SEEDS - 1)
    rest = sum(
        (cells[s, g] - cells[s].mean() - cells[:, g].mean() + grand) ** 2 for s in range(SEEDS) for g in range(GROUPS)
    ) / ((GROUPS - 1) * (SEEDS - 1))
    found = estimates(values, np.ones_like(values), groups, np.full(len(groups), "HeLa"))
    half = (found.interval(A)[2] - found.interval(A)[1])[0] / 2
    # Generalised inference by draws of its own, not those of the library.
    random = np.random.default_rng(1)
    allowed = [
        square / random.chisquare(n, 400_000) * n / (GROUPS * SEEDS)
        for square, n in ((of_groups, GROUPS - 1), (of_seeds, SEEDS - 1), (rest, (GROUPS - 1) * (SEEDS - 1)))
    ]
    effects = random.normal(0, np.sqrt(np.maximum(allowed[0] + allowed[1] - allowed[2], 0)))
    assert found.interval(A)[0][0] == pytest.approx(grand)
    assert half == pytest.approx(np.quantile(np.abs(effects), 0.95), rel=0.02)


def test_with_one_seed_the_standard_error_is_that_of_the_bootstrap_over_groups():
    values, groups = study(2)
    nuclei = np.random.default_rng(3).poisson(40, values.shape[-1]) + 1.0
    top, bottom = values[:, :1] * nuclei, np.broadcast_to(nuclei, (1, 1, len(nuclei)))
    _, low, high, _ = estimates(top, bottom, groups, np.full(len(groups), "HeLa")).interval(A)
    sums = [array[0, 0].reshape(GROUPS, IMAGES).sum(axis=1) for array in (top, bottom)]

    def ratio(numerator, denominator, axis):
        return numerator.sum(axis=axis) / denominator.sum(axis=axis)

    drawn = stats.bootstrap(sums, ratio, paired=True, vectorized=True, n_resamples=20_000, rng=4, method="basic")
    error = drawn.standard_error * np.sqrt(GROUPS / (GROUPS - 1))  # the bootstrap divides by n
    assert (high - low)[0] / 2 == pytest.approx(stats.t.ppf(0.975, GROUPS - 1) * error, rel=0.03)


def test_with_equal_seeds_the_interval_is_that_of_a_t_test_of_groups():
    values, groups = study(5)
    values = np.repeat(values[:, :1], SEEDS, axis=1)
    _, low, high, _ = estimates(values, np.ones_like(values), groups, np.full(len(groups), "HeLa")).interval(A)
    expected = stats.ttest_1samp(values[0, 0].reshape(GROUPS, IMAGES).mean(axis=1), 0).confidence_interval(0.95)
    assert [low[0], high[0]] == pytest.approx([expected.low, expected.high], abs=2e-4)


@pytest.mark.parametrize("groups", [8, 12, 40])
def test_sign_flips_agree_with_the_permutation_test_of_scipy(groups):
    values = np.random.default_rng(groups).normal(0.5, 1, groups)
    expected = stats.permutation_test(
        (values,), lambda x, axis: x.sum(axis=axis), permutation_type="samples", vectorized=True, rng=6
    )
    assert sign_flip_p(values[:, np.newaxis])[0] == pytest.approx(expected.pvalue, abs=1e-12 if groups <= 12 else 0.01)
