"""Models compared with each other: which is better, by how much, and how sure that is.

`scores` is the table that `equinuclei.analysis.statistics` describes. Every comparison is paired: the same images and
seeds. Intervals and tests are those of `equinuclei.analysis.resampling`: groups of images and seeds are resampled.

**With one seed** the interval says how sure the difference between *these trained nets* is, over other images of these
cell lines. It does not cover what another seed would give. No interval here covers other cell lines, microscopes or
annotators.

**Test.** Scores: Student's t. Magnitudes of the f1-score_difference and shares of exact zeros, which are far from
normal and full of ties: flipped signs of the groups' differences, seeds averaged. A net that is zero by construction,
and was zero on every image, needs no test.

**Declared** contrasts were written into the configuration before the run. Their p are corrected together, within a
modality (Holm, Scand. J. Stat. 6, 1979, 65-70). All other pairs are **exploratory**, and nothing is corrected: of
twenty that are equal, one is "better" or "worse" by chance.

**Verdict**, on model a: "equivalent" if the whole interval lies within +-`MARGIN` (scores only); else "better" or
"worse" if p (of declared contrasts the corrected one) is below `ALPHA` and the interval leaves out 0; else "not
decided".
"""

from collections.abc import Collection, Mapping, Sequence
from itertools import combinations, product

import numpy as np
import pandas as pd

from equinuclei.analysis.resampling import ALPHA, Resampled, group_sums, holm, resample, sign_flip_p
from equinuclei.analysis.statistics import LEVELS, f1_difference, in_order
from equinuclei.specs import OTSU

MARGIN = 0.005
"""Differences between two scores that are smaller than this do not matter."""

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

_NET = ["model", "inference"]
_IMAGE = ["cell_line", "group", "image_id"]
_COUNTS = [f"{level}_{count}" for level in LEVELS for count in ("TP", "FP", "FN")]
_COLUMNS = ["a", "a_inference", "b", "b_inference", "measure", "kind", "images", "groups", "seeds"]
_COLUMNS += ["a_value", "b_value", "difference", "low", "high", "p", "p_holm", "verdict", "note"]
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
) -> pd.DataFrame:
    """Every pair of models under every measure: the declared contrasts first, in their order, then the others.

    Parameters
    ----------
    values: from `image_values`.
    declared: mappings with a, a_inference, b, b_inference and measure (one of MEASURES).
    equivariant: names of the models whose architecture is equivariant under quarter turns.
    order: names of the models in the order wanted.

    Returns
    -------
    dataset, modality, a, a_inference, b, b_inference, measure; kind, "declared" or "exploratory"; images and groups
    (numbers of, under this measure) and seeds; a_value, b_value; difference, a - b; low and high, its 95 % interval
    (NaN with one group); p; p_holm (NaN for exploratory ones); verdict and note, see the module. p and p_holm are NaN
    where nothing is tested. The inference mode "exact" is that of the deployed net to rounding, and stands in declared
    contrasts alone.

    Raises ValueError if a declared contrast names what was not scored, or models were scored on different images or
    seeds.
    """
    tables = []
    for (dataset, modality), part in values.groupby(["dataset", "modality"], observed=True):
        design = _Design(part, order)
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
) -> pd.DataFrame:
    """The declared contrasts in each cell line: `contrast_table` with the column cell_line, all of them exploratory."""
    tables = []
    keys = ["dataset", "modality", "cell_line"]
    for (dataset, modality, line), part in values.groupby(keys, observed=True):
        design = _Design(part, order)
        table = _contrasts(design, dict.fromkeys(design.pairs(declared), "exploratory"), equivariant)
        tables.append(table.assign(dataset=dataset, modality=modality, cell_line=line))
    return _joined(tables, [*keys, *_COLUMNS])


def interval_table(values: pd.DataFrame, order: Sequence[str] | None = None) -> pd.DataFrame:
    """Every model by itself: a row per dataset, modality, model, inference and measure.

    Returns dataset, modality, model, inference, measure, images, groups, seeds, value, low and high: the 95 % interval
    as for contrasts, cut to 0 ... 1 (NaN with one group; without width where all groups have the same value).
    """
    tables = []
    for (dataset, modality), of_modality in values.groupby(["dataset", "modality"], observed=True):
        design = _Design(of_modality, order)
        for measure in MEASURES:
            resampled = design.resample(measure)
            if resampled is None:
                continue
            value, low, high, _ = resampled.interval(np.arange(len(design.nets)))
            table = pd.DataFrame(design.nets, columns=_NET).assign(measure=measure, **resampled.sizes, value=value)
            table = table.assign(low=np.maximum(low, 0), high=np.minimum(high, 1), dataset=dataset, modality=modality)
            tables.append(table)
    columns = ["dataset", "modality", *_NET, "measure", "images", "groups", "seeds", "value", "low", "high"]
    return in_order(_joined(tables, columns), [], order)


def verdict(measure: str, low: float, high: float, p: float) -> str:
    """What can be said of model a against model b: "better", "worse", "equivalent" or "not decided"; see the module.

    low, high: the interval of a - b under `measure`; p: of declared contrasts the corrected one. NaN decide nothing.
    """
    if measure in SCORES and low >= -MARGIN and high <= MARGIN:
        return "equivalent"
    if p < ALPHA and (low > 0 or high < 0):
        return "better" if (low > 0) != (measure in DIFFERENCES) else "worse"
    return "not decided"


class _Design:
    """The values of one data set and modality as arrays: nets (model and inference mode) x seeds x images."""

    def __init__(self, values: pd.DataFrame, order: Sequence[str] | None) -> None:
        nets = in_order(values[["dataset", "modality", *_NET]].drop_duplicates(), [], order)
        self.nets: list[tuple[str, str]] = list(nets[_NET].itertuples(index=False, name=None))
        images = values[_IMAGE].drop_duplicates().sort_values(_IMAGE, ignore_index=True)
        self._lines, self._groups = images["cell_line"].to_numpy(), images["group"].to_numpy()
        scored = {key: part.set_index("image_id") for key, part in values.groupby([*_NET, "seed"], observed=True)}
        otsu = [key for key in scored if key[0] == OTSU]
        seeds = sorted({seed for model, _, seed in scored if model != OTSU or len(otsu) == len(scored)})
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

    def parts(self, measure: str) -> tuple[np.ndarray, np.ndarray]:
        """Numerator and denominator of a measure, for `resample`."""
        if measure.endswith("_F1_pooled"):
            TP, FP, FN = (self._arrays[f"{measure.removesuffix('_F1_pooled')}_{count}"] for count in ("TP", "FP", "FN"))
            return 2 * TP, 2 * TP + FP + FN
        values = self._arrays[measure]
        return np.nan_to_num(values, nan=0.0), (~np.isnan(values)).astype(float)

    def resample(self, measure: str) -> Resampled | None:
        """The nets under a measure; None where no image has it."""
        numerator, denominator = self.parts(measure)
        if not (denominator.sum(axis=-1) > 0).all():
            return None
        return resample(numerator, denominator, self._groups, self._lines)

    def sign_flip_p(self, measure: str, a: np.ndarray, b: np.ndarray) -> np.ndarray:
        """p of the permutation test for pairs of nets, seeds averaged."""
        of_image, units = pd.MultiIndex.from_arrays([self._lines, self._groups]).factorize()
        sums = group_sums(self.parts(measure)[0].mean(axis=1), of_image, len(units))
        return sign_flip_p((sums[a] - sums[b]).T)


def _contrasts(
    design: _Design, pairs: Mapping[tuple[int, int, str], str], equivariant: Collection[str]
) -> pd.DataFrame:
    """Contrasts of one data set and modality. pairs: (place of a, place of b, measure) to declared or exploratory."""
    tables = []
    nets = pd.DataFrame(design.nets, columns=_NET)
    for measure in MEASURES:
        chosen = [(number, *pair) for number, pair in enumerate(pairs) if pair[2] == measure]
        resampled = design.resample(measure) if chosen else None
        if resampled is None:
            continue
        number, a, b = (np.array([pair[place] for pair in chosen]) for place in range(3))
        difference, low, high, p = resampled.interval(a, b)
        if measure not in SCORES:
            p = design.sign_flip_p(measure, a, b)
        table = pd.DataFrame({"number": number, "measure": measure, **resampled.sizes})
        for end, place in (("a", a), ("b", b)):
            table[[end, f"{end}_inference"]] = nets.iloc[place].to_numpy()
            table[f"{end}_value"] = resampled.value[place]
            table[f"{end}_zero"] = [
                zero_by_construction(design.nets[net], measure, resampled.value[net], equivariant) for net in place
            ]
        tables.append(table.assign(difference=difference, low=low, high=high, p=p))
    if not tables:
        return pd.DataFrame(columns=_COLUMNS)
    table = pd.concat(tables).sort_values("number", ignore_index=True)
    kinds = list(pairs.values())
    table["kind"] = [kinds[number] for number in table["number"]]
    declared = (table["kind"] == "declared").to_numpy()
    table["p"] = table["p"].mask(table["a_zero"] | table["b_zero"])
    table["p_holm"] = np.nan
    table.loc[declared, "p_holm"] = holm(table.loc[declared, "p"].to_numpy())
    rows = table.assign(tested=table["p_holm"].where(declared, table["p"])).to_dict("records")
    return table.assign(verdict=[_verdict(row) for row in rows], note=[_note(row) for row in rows])


def _verdict(row: Mapping) -> str:
    if row["a_zero"] and row["b_zero"]:
        return "equivalent"
    if row["a_zero"] or row["b_zero"]:
        # The other net is not zero by construction: whether it ever differs, only a difference can tell.
        return "not decided" if row["difference"] == 0 else "better" if row["a_zero"] else "worse"
    return verdict(row["measure"], row["low"], row["high"], row["tested"])


def _note(row: Mapping) -> str:
    zero = [end for end in "ab" if row[f"{end}_zero"]]
    return f"{' and '.join(zero)}: zero by construction" if zero else ""


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
