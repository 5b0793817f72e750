"""Models compared with each other: which is better, by how much, and how sure that is.

`scores` is the table that `equinuclei.analysis.statistics` describes. Every comparison is paired: the same images and
seeds. Intervals and tests are those of `equinuclei.analysis.resampling`: groups of images and seeds are random.

**With one seed** the interval says how sure the difference between *these trained nets* is, over other images of these
cell lines. It does not cover what another seed would give. No interval here covers other cell lines, microscopes or
annotators.

**Test.** Scores: the p that goes with the interval, over other groups and other seeds (one seed: over other groups).
Magnitudes of the f1-score_difference and shares of exact zeros, which are far from normal and full of ties: flipped
signs of the groups' differences. Seeds are averaged, and fixed: that p is over other groups only. A net that is zero by
construction, and was zero on every image, needs no test.

**Equivalent** scores are tested too: two one-sided tests (Schuirmann) of the hypothesis that a and b differ by `MARGIN`
or more, at a level of `ALPHA` / 2 each.

**Declared** contrasts were written into the configuration before the run. Their p are corrected together, within a
modality (Holm, Scand. J. Stat. 6, 1979, 65-70): those of a difference, and likewise those of equivalence. Either
correction keeps the chance of a single wrong verdict of its kind below `ALPHA`. All other pairs are **exploratory**,
and nothing is corrected: of twenty that are equal, one is "better" or "worse" by chance.

**Failed** trainings (`equinuclei.analysis.failures`) say nothing about a model: a contrast that one of them takes part
in is "not decided", and its p are left out. In the correction of the others it counts as a test that found nothing, so
that a failure makes no other contrast surer.

**Verdict**, on model a: "equivalent" if the p of equivalence (of declared contrasts the corrected one) is below
`ALPHA`, for which the whole interval lies within +-`MARGIN`; else "better" or "worse" if p (the corrected one) is below
`ALPHA` and the interval leaves out 0; else "not decided".
"""

from collections.abc import Collection, Mapping, Sequence
from itertools import combinations, product

import numpy as np
import pandas as pd

from equinuclei.analysis.resampling import ALPHA, Estimates, estimates, group_sums, holm, sign_flip_p
from equinuclei.analysis.statistics import LEVELS, f1_difference, in_order
from equinuclei.specs import OTSU

MARGIN = 0.005
"""Differences between two scores that are smaller than this do not matter."""

DECIDED = 0.01
"""Difference between two scores that a study should be able to decide; seeds_needed tells how many seeds do."""

SCORES = ("pixel_F1", "pixel_F1_pooled", "object50_F1", "object50_F1_pooled", "object50_AP", "object50_PQ")
DIFFERENCES = ("pixel_difference", "object50_difference")
ZEROS = ("pixel_zeros", "object50_zeros")
MEASURES = (*SCORES, *DIFFERENCES, *ZEROS)
"""What is compared. Scores per image (mean over images), or `_pooled` (one F1 from summed counts); `_difference`, the
absolute f1-score_difference, mean over the rotations of an image, then over images; `_zeros`, the share of rotations
whose difference is exactly 0. Of differences less is better."""

MEASURE_NAMES = {
    "pixel_F1": "F1 by pixels",
    "pixel_F1_pooled": "pooled F1 by pixels",
    "object50_F1": "F1 by objects",
    "object50_F1_pooled": "pooled F1 by objects",
    "object50_AP": "AP by objects",
    "object50_PQ": "panoptic quality",
    "pixel_difference": "absolute f1-score_difference by pixels",
    "object50_difference": "absolute f1-score_difference by objects",
    "pixel_zeros": "share of exact zeros by pixels",
    "object50_zeros": "share of exact zeros by objects",
}
"""The measures of contrasts and intervals in words; objects are matched at an IoU of 0.5."""

FailedTraining = tuple[str, str, int]
"""Model, modality and seed of a training that failed."""

_NET = ["model", "inference"]
_IMAGE = ["cell_line", "group", "image_id"]
_COUNTS = [f"{level}_{count}" for level in LEVELS for count in ("TP", "FP", "FN")]
_COLUMNS = ["a", "a_inference", "b", "b_inference", "measure", "kind", "images", "groups", "seeds"]
_COLUMNS += ["a_value", "b_value", "difference", "low", "high", "p", "p_holm"]
_COLUMNS += ["p_equivalent", "p_equivalent_holm", "seeds_needed", "verdict", "note"]
# Modes that make any net exact under rotations.
_EXACT_MODES = ("canonical", "tta4", "tta8")


def image_values(scores: pd.DataFrame) -> pd.DataFrame:
    """What the comparisons are made from, a row per dataset, modality, model, inference, seed and image.

    Columns: those names, cell_line, group; TP, FP, FN of the LEVELS; pixel_F1, object50_F1, object50_AP, object50_PQ,
    `DIFFERENCES` and `ZEROS` of the image. These are NaN where the truth of that level has no nucleus: which images
    count does not depend on what was predicted. (Pooled scores count the false positives of those images too.) Without
    rotations `DIFFERENCES` and `ZEROS` are NaN.

    Raises ValueError as `statistics.f1_difference` does.
    """
    turned = scores[~scores["mirrored"].astype(bool)]
    keys = ["dataset", "modality", *_NET, "seed", *_IMAGE]
    columns = [column for column in SCORES if not column.endswith("_pooled")]
    values = turned[turned["rotation"] == 0].set_index(keys)[[*_COUNTS, *columns]]
    comparisons = f1_difference(turned)
    for level in LEVELS:
        found = comparisons[comparisons["level"] == level]
        found = found.assign(absolute=found["f1_difference"].abs(), zero=found["f1_difference"] == 0)
        means = found.groupby(keys, observed=True)[["absolute", "zero"]].mean()
        values[[f"{level}_difference", f"{level}_zeros"]] = means
        of_level = [column for column in (*columns, *DIFFERENCES, *ZEROS) if column.startswith(level)]
        empty = values[f"{level}_TP"] + values[f"{level}_FN"] == 0
        values[of_level] = values[of_level].mask(empty)
    return values.reset_index()


def contrast_table(
    values: pd.DataFrame,
    declared: Sequence[Mapping[str, str]] = (),
    equivariant: Collection[str] = (),
    order: Sequence[str] | None = None,
    failed: Collection[FailedTraining] = (),
) -> pd.DataFrame:
    """Every pair of models under every measure: the declared contrasts first, in their order, then the others.

    Parameters
    ----------
    values: from `image_values`.
    declared: mappings with a, a_inference, b, b_inference and measure (one of MEASURES).
    equivariant: names of the models whose architecture is equivariant under quarter turns.
    order: names of the models in the order wanted.
    failed: trainings that no verdict may rest on.

    Returns
    -------
    dataset, modality, a, a_inference, b, b_inference, measure; kind, "declared" or "exploratory"; images and groups
    (numbers of, under this measure) and seeds; a_value, b_value; difference, a - b; low and high, its 95 % interval
    (NaN with one group); p and p_equivalent; p_holm and p_equivalent_holm (NaN for exploratory ones); seeds_needed, how
    many seeds would make the interval of a declared contrast on scores as narrow as +-`DECIDED`
    (`Estimates.seeds_needed`), else NaN; verdict and note, see the module. Every p is NaN where nothing is tested. The
    inference mode "exact" is that of the deployed net to rounding, and stands in declared contrasts alone.

    Raises ValueError if a declared contrast names what was not scored, or models were scored on different images or
    seeds.
    """
    tables = []
    for (dataset, modality), part in values.groupby(["dataset", "modality"], observed=True):
        design = _Design(part, order, _seeds_of(failed, modality))
        pairs = dict.fromkeys(design.pairs(declared), "declared")
        # Pairs that are declared under one measure are seen from the same side under the others.
        sides = {frozenset((a, b)): (a, b) for a, b, _ in reversed(pairs)}
        shown = [number for number, (_, inference) in enumerate(design.nets) if inference != "exact"]
        for (a, b), measure in product(combinations(shown, 2), MEASURES):
            if not {(a, b, measure), (b, a, measure)} & pairs.keys():
                pairs[(*sides.get(frozenset((a, b)), (a, b)), measure)] = "exploratory"
        tables.append(_contrasts(design, pairs, equivariant).assign(dataset=dataset, modality=modality))
    return _joined(tables, ["dataset", "modality", *_COLUMNS])


def contrasts_by_cell_line(
    values: pd.DataFrame,
    declared: Sequence[Mapping[str, str]] = (),
    equivariant: Collection[str] = (),
    order: Sequence[str] | None = None,
    failed: Collection[FailedTraining] = (),
) -> pd.DataFrame:
    """The declared contrasts in each cell line: `contrast_table` with the column cell_line, all of them exploratory."""
    tables = []
    keys = ["dataset", "modality", "cell_line"]
    for (dataset, modality, line), part in values.groupby(keys, observed=True):
        design = _Design(part, order, _seeds_of(failed, modality))
        table = _contrasts(design, dict.fromkeys(design.pairs(declared), "exploratory"), equivariant)
        tables.append(table.assign(dataset=dataset, modality=modality, cell_line=line))
    return _joined(tables, [*keys, *_COLUMNS])


def interval_table(
    values: pd.DataFrame, order: Sequence[str] | None = None, failed: Collection[FailedTraining] = ()
) -> pd.DataFrame:
    """Every model by itself: a row per dataset, modality, model, inference and measure.

    Returns dataset, modality, model, inference, measure, images, groups, seeds, value; low and high, the 95 %
    interval (NaN with one group); note, which trainings of the model `failed`: its value and interval hold them too.
    """
    tables = []
    for (dataset, modality), of_modality in values.groupby(["dataset", "modality"], observed=True):
        design = _Design(of_modality, order, _seeds_of(failed, modality))
        for measure in MEASURES:
            found = design.estimates(measure)
            if found is None:
                continue
            value, low, high, _ = found.interval(np.arange(len(design.nets)))
            table = pd.DataFrame(design.nets, columns=_NET).assign(measure=measure, **found.sizes, value=value)
            table["note"] = [design.failures(model) for model, _ in design.nets]
            tables.append(table.assign(low=low, high=high, dataset=dataset, modality=modality))
    columns = ["dataset", "modality", *_NET, "measure", "images", "groups", "seeds", "value", "low", "high", "note"]
    return in_order(_joined(tables, columns), [], order)


def verdict(measure: str, interval: tuple[float, float], p: float, p_equivalent: float) -> str:
    """What can be said of model a against model b: "better", "worse", "equivalent" or "not decided"; see the module.

    interval: of a - b under `measure`; p, p_equivalent: of declared contrasts the corrected ones. NaN decide nothing.
    """
    low, high = interval
    if p_equivalent < ALPHA:
        return "equivalent"
    if p < ALPHA and (low > 0 or high < 0):
        return "better" if (low > 0) != (measure in DIFFERENCES) else "worse"
    return "not decided"


class _Design:
    """The values of one data set and modality as arrays: nets (model and inference mode) x seeds x images."""

    def __init__(
        self, values: pd.DataFrame, order: Sequence[str] | None, failed: Collection[tuple[str, int]] = ()
    ) -> None:
        nets = in_order(values[["dataset", "modality", *_NET]].drop_duplicates(), [], order)
        self.nets: list[tuple[str, str]] = list(nets[_NET].itertuples(index=False, name=None))
        images = values[_IMAGE].drop_duplicates().sort_values(_IMAGE, ignore_index=True)
        self._lines, self._groups = images["cell_line"].to_numpy(), images["group"].to_numpy()
        scored = {key: part.set_index("image_id") for key, part in values.groupby([*_NET, "seed"], observed=True)}
        otsu = [key for key in scored if key[0] == OTSU]
        seeds = sorted({seed for model, _, seed in scored if model != OTSU or len(otsu) == len(scored)})
        self._seeds, self._failed = seeds, failed
        columns = [*_COUNTS, *(measure for measure in MEASURES if measure in values)]
        stacked = np.empty((len(self.nets), len(seeds), len(images), len(columns)))
        for number, (model, inference) in enumerate(self.nets):
            for place, seed in enumerate(seeds):
                # Otsu's threshold has no seed: it is the same beside every seed of the nets.
                part = scored.get(otsu[0] if model == OTSU else (model, inference, seed))
                if part is None or sorted(part.index) != sorted(images["image_id"]):
                    raise ValueError(f"{model} ({inference}): not scored with seed {seed} on the images of the others")
                stacked[number, place] = part.loc[images["image_id"], columns].to_numpy(float)
        self._arrays = {column: stacked[..., number] for number, column in enumerate(columns)}

    def pairs(self, declared: Sequence[Mapping[str, str]]) -> list[tuple[int, int, str]]:
        """Declared contrasts as (place of a in `nets`, place of b, measure)."""
        place = {net: number for number, net in enumerate(self.nets)}
        pairs = []
        for contrast in declared:
            ends = [(contrast[end], contrast[f"{end}_inference"]) for end in "ab"]
            for model, inference in ends:
                if (model, inference) not in place:
                    raise ValueError(f"a declared contrast names {model} ({inference}), which was not scored")
            pairs.append((place[ends[0]], place[ends[1]], contrast["measure"]))
        return pairs

    def failures(self, model: str) -> str:
        """Which share of the trainings of a model failed, in words; empty if none did."""
        count = sum((model, seed) in self._failed for seed in self._seeds)
        return f"{count} of {len(self._seeds)} training{'s' * (len(self._seeds) > 1)} of {model} failed" * (count > 0)

    def parts(self, measure: str) -> tuple[np.ndarray, np.ndarray]:
        """Numerator and denominator of a measure, for `estimates`."""
        if measure.endswith("_F1_pooled"):
            TP, FP, FN = (self._arrays[f"{measure.removesuffix('_F1_pooled')}_{count}"] for count in ("TP", "FP", "FN"))
            return 2 * TP, 2 * TP + FP + FN
        values = self._arrays[measure]
        return np.nan_to_num(values, nan=0.0), (~np.isnan(values)).astype(float)

    def estimates(self, measure: str) -> Estimates | None:
        """The nets under a measure; None where no image has it."""
        numerator, denominator = self.parts(measure)
        if not (denominator.sum(axis=-1) > 0).all():
            return None
        return estimates(numerator, denominator, self._groups, self._lines)

    def sign_flip_p(self, measure: str, a: np.ndarray, b: np.ndarray) -> np.ndarray:
        """p of the permutation test for pairs of nets, seeds averaged."""
        of_image, units = pd.MultiIndex.from_arrays([self._lines, self._groups]).factorize()
        sums = group_sums(self.parts(measure)[0].mean(axis=1), of_image, len(units))
        return sign_flip_p((sums[a] - sums[b]).T)


def _contrasts(
    design: _Design, pairs: Mapping[tuple[int, int, str], str], equivariant: Collection[str]
) -> pd.DataFrame:
    """Contrasts of one data set and modality. pairs: (place of a, place of b, measure) to declared or exploratory."""
    tables = [_of_measure(design, pairs, measure, equivariant) for measure in MEASURES]
    table = pd.concat([part for part in tables if part is not None] or [pd.DataFrame(columns=_COLUMNS)])
    if table.empty:
        return table
    table = table.sort_values("number", ignore_index=True)
    declared = (table["kind"] == "declared").to_numpy()
    failed = (table["failures"] != "").to_numpy()
    for column in ("p", "p_equivalent"):
        # What failed is counted in the correction of the others, as a test that found nothing.
        p = table[column].mask(failed & table[column].notna(), 1.0).mask(table["a_zero"] | table["b_zero"])
        corrected = np.full(len(table), np.nan)
        corrected[declared] = holm(p.to_numpy(float)[declared])
        table[column], table[f"{column}_holm"] = p.mask(failed), pd.Series(corrected).mask(failed)
    rows = table.to_dict("records")
    return table.assign(verdict=[_verdict(row) for row in rows], note=[_note(row) for row in rows])


def _of_measure(
    design: _Design, pairs: Mapping[tuple[int, int, str], str], measure: str, equivariant: Collection[str]
) -> pd.DataFrame | None:
    """Estimates, intervals and tests of the pairs under a measure; number is a pair's place. None if there are none."""
    chosen = [(number, *pair) for number, pair in enumerate(pairs) if pair[2] == measure]
    found = design.estimates(measure) if chosen else None
    if found is None:
        return None
    number, a, b = (np.array([pair[place] for pair in chosen]) for place in range(3))
    difference, low, high, p = found.interval(a, b)
    p_equivalent, seeds_needed = np.full((2, len(chosen)), np.nan)
    kinds = np.array(list(pairs.values()))[number]
    if measure in SCORES:
        p_equivalent = found.equivalence_p(a, b, MARGIN)
        declared = kinds == "declared"
        seeds_needed[declared] = found.seeds_needed(a[declared], b[declared], DECIDED)
        # Two nets that score the same on every image, as the exact and the deployed one, are the same for any use.
        same = found.alike(a, b) & (difference == 0)
        low[same] = high[same] = 0
    else:
        p = design.sign_flip_p(measure, a, b)
    table = pd.DataFrame({"number": number, "kind": kinds, "measure": measure, **found.sizes})
    nets = pd.DataFrame(design.nets, columns=_NET)
    for end, place in (("a", a), ("b", b)):
        table[[end, f"{end}_inference"]] = nets.iloc[place].to_numpy()
        table[f"{end}_value"] = found.value[place]
        table[f"{end}_zero"] = [
            zero_by_construction(design.nets[net], measure, found.value[net], equivariant) for net in place
        ]
    table["failures"] = [
        "; ".join(dict.fromkeys(filter(None, (design.failures(design.nets[net][0]) for net in pair[1:3]))))
        for pair in chosen
    ]
    table = table.assign(difference=difference, low=low, high=high, p=p)
    return table.assign(p_equivalent=p_equivalent, seeds_needed=seeds_needed)


def _verdict(row: Mapping) -> str:
    if row["failures"]:
        return "not decided"
    if row["a_zero"] and row["b_zero"]:
        return "equivalent"
    if row["a_zero"] or row["b_zero"]:
        # The other net is not zero by construction: whether it ever differs, only a difference can tell.
        return "not decided" if row["difference"] == 0 else "better" if row["a_zero"] else "worse"
    p, p_equivalent = (
        row[f"{column}_holm" if row["kind"] == "declared" else column] for column in ("p", "p_equivalent")
    )
    return verdict(row["measure"], (row["low"], row["high"]), p, p_equivalent)


def _note(row: Mapping) -> str:
    if row["failures"]:
        return row["failures"]
    zero = [end for end in "ab" if row[f"{end}_zero"]]
    return f"{' and '.join(zero)}: zero by construction" if zero else ""


def _seeds_of(failed: Collection[FailedTraining], modality: str) -> set[tuple[str, int]]:
    """Model and seed of the trainings of a modality that failed."""
    return {(model, seed) for model, of_modality, seed in failed if of_modality == modality}


def zero_by_construction(net: tuple[str, str], measure: str, value: float, equivariant: Collection[str]) -> bool:
    """Whether a net's f1-score_difference is zero by construction, and was on every image.

    net : model and inference mode. measure : one of DIFFERENCES or ZEROS, whose value of the net is `value`; others are
    never.
    """
    model, inference = net
    by_construction = model in equivariant or model == OTSU or inference in _EXACT_MODES
    return by_construction and ((measure in DIFFERENCES and value == 0) or (measure in ZEROS and value == 1))


def _joined(tables: Sequence[pd.DataFrame], columns: list[str]) -> pd.DataFrame:
    """The tables one below the other; those without rows, whose columns have no types, are left out."""
    filled = [table for table in tables if len(table)]
    return pd.concat(filled, ignore_index=True)[columns] if filled else pd.DataFrame(columns=columns)
