"""Quality of a plate: its layout, scores of wells, warnings, and summaries of conditions."""

import math
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd

from equinuclei.channels import is_brightfield
from equinuclei.errors import InputError, raise_problems
from equinuclei.images.flags import EMPTY, OUT_OF_FOCUS, WRONG_KIND, Findings, ModelKnows, Remedies, judge
from equinuclei.wells import STANDARD_SHAPES, few, parse_well, well_name

CONTROLS = ("positive", "negative")
MAP_COLUMNS = ["well", "treatment", "concentration", "control"]

FEWEST_FOR_OUTLIERS = 8  # wells
OUTLIER = 3.5
"""Modified z-score beyond which a value is an outlier (Iglewicz & Hoaglin 1993)."""


EMPTY_FIELDS = 0.25  # share of a well's fields without a nucleus from which it is told
SIZES_DISAGREE = 1.5  # largest by smallest of the diameters that a plate's magnification was chosen by
FEWEST_NUCLEI = 5  # from which a well's median size tells something
MANY_WELLS = 12  # with one fault: told together

SCORES_OF_WELLS = ("mean_probability", "solidity", "contrast", "skewness", "sharpness", "saturated")
"""Columns of wells.tsv that a well is judged by, beside the number and the size of its nuclei."""

REMEDIES = Remedies(
    invert="invert its images, and convert them anew",
    model="choose a model",
    diameter="look at the outlines, and set `plates: {diameter: ...}` to that of most nuclei",
)

LABELS = {"count": "count", "median_area": "median area", "mean_intensity": "mean intensity"}


@dataclass(frozen=True)
class PlateFacts:
    """What a plate and its model declare; each is empty, None or 1 where it is unknown.

    shape : rows and columns of the plate
    modality : of the images that the model learnt from; channel : the one in which nuclei were segmented
    model_diameter : of the nuclei that the model knows best, in pixels; magnification : that the plate was seen at,
        None where every field had its own
    sampled_diameters : typical diameters (pixels) by well, from which the magnification was chosen
    """

    shape: tuple[int, int] | None = None
    modality: str = ""
    channel: str = ""
    model_diameter: float | None = None
    magnification: float | None = 1.0
    sampled_diameters: Mapping[str, float] = field(default_factory=dict)


UNKNOWN = PlateFacts()


def plate_shape(wells: Sequence[str], declared: tuple[int, int] | None = None) -> tuple[int, int]:
    """Rows and columns of a plate: as declared, or of the smallest of `STANDARD_SHAPES` that has all wells."""
    positions = [parse_well(well) for well in wells]
    shapes = STANDARD_SHAPES if declared is None else (declared, *STANDARD_SHAPES)
    return next(
        (rows, columns)
        for rows, columns in shapes
        if all(row <= rows and column <= columns for row, column in positions)
    )


def plate_warnings(
    wells: pd.DataFrame,
    plate_map: pd.DataFrame | None = None,
    facts: PlateFacts = UNKNOWN,
    fields: pd.DataFrame | None = None,
) -> pd.DataFrame:
    """What a person should look at on a plate.

    Parameters
    ----------
    wells
        Columns well, count (nuclei), failed_fields (share, 0 to 1), focus, saturated (share); and where they are known
        fields, empty_fields (share), median_area (pixels), mean_intensity and `SCORES_OF_WELLS`. A row per well, or per
        well and time.
    plate_map
        See `equinuclei.plates.quality.read_plate_map`; with it, Z' of the controls is looked at.
    facts
        What plate and model declare.
    fields
        A row per field (and time), with well, field, status, and the columns of wells that a field has too: what is
        doubtful in a quarter of a well's fields or more is told of a well that is not flagged for it.

    Returns
    -------
    pandas.DataFrame
        Columns well ("" for several, which the text names, and for the whole plate), kind and text; and time, where the
        wells have several.
    """
    if "time" in wells and len(set(wells["time"])) > 1:
        of_times = wells.groupby("time", sort=True)
        return pd.concat(
            [plate_warnings(rows, plate_map, facts, _at(fields, time)).assign(time=time) for time, rows in of_times],
            ignore_index=True,
        )
    faults: dict[str, dict[str, str]] = defaultdict(dict)
    for row in wells.to_dict("records"):
        for kind, text in (*_faults(row), *_doubts(row, facts)):
            faults[kind][row["well"]] = text
    for well, kind, text in _doubtful_fields(fields, facts):
        faults[kind].setdefault(well, text)
    for well in _blurred(wells):
        faults[OUT_OF_FOCUS].setdefault(well, "less than half as sharp as the other wells")
    found: list[tuple[str, str, str]] = []
    for kind, of_wells in faults.items():
        names = list(of_wells)
        if len(names) <= MANY_WELLS:
            found += [(well, kind, text) for well, text in of_wells.items()]
        else:
            found.append(
                ("", kind, f"{len(names)} of {len(wells)} wells ({few(names)}), {names[0]}: {of_wells[names[0]]}")
            )
    found += [("", kind, text) for kind, text in _faults_of_plate(wells, plate_map, facts)]
    return pd.DataFrame(found, columns=["well", "kind", "text"])


def _faults(row: Mapping) -> Iterator[tuple[str, str]]:
    """Faults of the fields of a well."""
    if row["failed_fields"] > 0:
        yield "failed", f"{row['failed_fields']:.0%} of its fields could not be read"
    if row["count"] > 0 and row.get("empty_fields", 0) >= EMPTY_FIELDS:
        yield "empty fields", f"{row['empty_fields']:.0%} of its fields hold no nucleus"


def _doubts(row: Mapping, facts: PlateFacts) -> Iterator[tuple[str, str]]:
    """Flags of the image of a well or a field, and of what was found in it: it need not be nuclei."""
    if row.get("failed_fields", 0) >= 1 or row.get("fields") == 0:  # nothing was read, or imaged
        return
    chance = row["count"] < FEWEST_NUCLEI  # of so few, the size tells nothing
    found = Findings(
        count=row["count"],
        **{name: row.get(name, math.nan) for name in SCORES_OF_WELLS},
        diameter=math.nan if chance else 2 * math.sqrt(row.get("median_area", math.nan) / math.pi),
        magnification=facts.magnification,
    )
    for flag in judge(found, ModelKnows(facts.modality, facts.model_diameter), REMEDIES):
        yield flag.kind, flag.text


def field_flags(fields: pd.DataFrame, facts: PlateFacts) -> list[str]:
    """The kinds of flags of every field, with commas; empty for a field without any, or that could not be read."""
    rows = fields.to_dict("records")
    return [", ".join(kind for kind, _ in _doubts(row, facts)) if row["status"] == "ok" else "" for row in rows]


def flagged_wells(wells: pd.DataFrame, facts: PlateFacts) -> str:
    """How many wells have which flag, such as "inverted 90, saturated 2 of 96 wells"; empty if none has any."""
    found = {(kind, row["well"]) for row in wells.to_dict("records") for kind, _ in _doubts(row, facts)}
    counts = Counter(kind for kind, _ in sorted(found)).most_common()
    told = ", ".join(f"{kind} {count}" for kind, count in counts)
    return f"{told} of {wells['well'].nunique()} wells" if told else ""


def verdict(wells: pd.DataFrame, facts: PlateFacts) -> str:
    """What most wells of a plate are flagged for, with the reason of the first of them; empty if they are not."""
    reasons: dict[str, dict[str, str]] = defaultdict(dict)
    for row in wells.to_dict("records"):
        for kind, text in _doubts(row, facts):
            reasons[kind].setdefault(row["well"], text)
    count = wells["well"].nunique()
    most = [(kind, of) for kind, of in reasons.items() if 2 * len(of) > count]
    lines = (f"{kind}, {len(of)} of {count} wells: {next(iter(of.values()))}" for kind, of in most)
    return ". ".join(lines)


def _doubtful_fields(fields: pd.DataFrame | None, facts: PlateFacts) -> Iterator[tuple[str, str, str]]:
    """Well, kind and reason of what a quarter of a well's readable fields or more are flagged for."""
    if fields is None:
        return
    for well, rows in fields[fields["status"] == "ok"].groupby("well", sort=False):
        flagged: dict[str, list[tuple[str, str]]] = defaultdict(list)
        for row in rows.to_dict("records"):
            for kind, text in _doubts(row, facts):
                flagged[kind].append((str(row["field"]), text))
        for kind, of in flagged.items():
            if kind != EMPTY and len(of) >= EMPTY_FIELDS * len(rows):
                names = few([name for name, _ in of])
                yield str(well), kind, f"{len(of)} of its {len(rows)} fields ({names}), {of[0][0]}: {of[0][1]}"


def _at(fields: pd.DataFrame | None, time: int) -> pd.DataFrame | None:
    return None if fields is None else fields[fields["time"] == time]


def _blurred(wells: pd.DataFrame) -> list[str]:
    """Wells that are far less sharp than the others."""
    seen = wells.loc[wells["count"] > 0]
    # Among few wells one is soon an outlier, and among very even ones so is a well that is hardly less sharp.
    if len(seen) < FEWEST_FOR_OUTLIERS:
        return []
    scores = modified_z(np.log10(seen["focus"].clip(lower=1e-12)))
    return list(seen.loc[(scores < -OUTLIER) & (seen["focus"] < seen["focus"].median() / 2), "well"])


def _faults_of_plate(
    wells: pd.DataFrame, plate_map: pd.DataFrame | None, facts: PlateFacts
) -> Iterator[tuple[str, str]]:
    edge = edge_effect(wells, facts.shape)
    if edge is not None and not 0.8 <= edge <= 1.25:
        yield "edge effect", f"wells at the edge hold {edge:.2f} times as many nuclei as those inside"
    if facts.modality and is_brightfield(facts.channel) and not is_brightfield(facts.modality):
        text = f"channel {facts.channel!r} is a brightfield image, and the model learnt {facts.modality}"
        yield WRONG_KIND, f"{text}: choose a model of brightfield, or another channel"
    scores = {key: value for key, value in z_primes(wells, plate_map).items() if math.isfinite(value)}
    if plate_map is not None and scores and max(scores.values()) < 0:
        names = [list(plate_map.loc[plate_map["control"] == kind, "well"]) for kind in ("positive", "negative")]
        told = ", ".join(f"{value:.2f} of {LABELS[key]}" for key, value in scores.items())
        yield "controls", f"Z' is below 0: {told}: positive ({few(names[0])}) and negative ({few(names[1])}) overlap"
    sizes = {well: size for well, size in facts.sampled_diameters.items() if math.isfinite(size)}
    if sizes and max(sizes.values()) > SIZES_DISAGREE * min(sizes.values()):
        told = ", ".join(f"{well} {size:.0f}" for well, size in sizes.items())
        yield (
            "sizes disagree",
            f"all wells were magnified alike, but their nuclei differ: {told} pixels across",
        )


def edge_effect(wells: pd.DataFrame, shape: tuple[int, int] | None = None) -> float | None:
    """Median number of nuclei in wells at the edge of the plate by that of those inside; columns well and count.

    shape : declared rows and columns of the plate (see `plate_shape`).

    None where fewer than six wells lie at the edge or inside, or those inside are empty.
    """
    if wells.empty:
        return None
    rows, columns = plate_shape(list(wells["well"]), shape)
    at_edge = np.array([row in (1, rows) or column in (1, columns) for row, column in map(parse_well, wells["well"])])
    outer, inner = wells.loc[at_edge, "count"], wells.loc[~at_edge, "count"]
    if min(len(outer), len(inner)) < 6 or inner.median() == 0:
        return None
    return float(outer.median() / inner.median())


def read_plate_map(path: str | Path) -> pd.DataFrame:
    """Read a plate map: a TSV with well and treatment, and optionally concentration (a number) and control.

    control is positive, negative or empty. Returns `MAP_COLUMNS`, wells as "B02". Raises InputError with up to five
    problems.
    """
    try:
        table = pd.read_csv(path, sep="\t", dtype=str, keep_default_na=False, encoding="utf-8")
    except (OSError, UnicodeDecodeError, pd.errors.ParserError, pd.errors.EmptyDataError) as error:
        raise InputError(f"{path}: not a readable table ({error}); save the plate map as TSV in UTF-8") from error
    missing = [column for column in ("well", "treatment") if column not in table]
    if missing:
        raise InputError(f"{path}: column {', '.join(missing)} is missing; a plate map has {', '.join(MAP_COLUMNS)}")
    table = table.reindex(columns=MAP_COLUMNS, fill_value="")
    problems, names = [], []
    for well in table["well"]:
        try:
            names.append(well_name(*parse_well(well)))
        except ValueError as error:
            problems.append(str(error))
            names.append("")
    table["well"] = names
    problems += [
        f"well {well} is listed twice" for well in table.loc[table["well"].duplicated() & (table["well"] != ""), "well"]
    ]
    problems += [
        f"control {value!r} is neither positive nor negative"
        for value in sorted(set(table["control"]) - {*CONTROLS, ""})
    ]
    number = pd.to_numeric(table["concentration"], errors="coerce")
    wrong = table.loc[number.isna() & (table["concentration"] != ""), "concentration"]
    problems += [f"concentration {value!r} is not a number" for value in wrong]
    raise_problems(str(path), problems)
    return table.assign(concentration=number)


def summarize_conditions(wells: pd.DataFrame, plate_map: pd.DataFrame, columns: Sequence[str]) -> pd.DataFrame:
    """Mean and standard deviation over the wells of every condition.

    Rows are sorted by treatment, then by concentration (dose order). Columns: treatment, concentration, control, wells,
    and for each of `columns` <column>_mean and <column>_sd (NaN for one well).
    """
    joined = wells.merge(plate_map, on="well", validate="one_to_one")
    grouped = joined.groupby(["treatment", "concentration", "control"], dropna=False, sort=True)
    named = {"wells": ("well", "size")}
    named |= {f"{column}_mean": (column, "mean") for column in columns}
    named |= {f"{column}_sd": (column, "std") for column in columns}
    return grouped.agg(**named).reset_index()


def z_prime(positive: Sequence[float], negative: Sequence[float]) -> float:
    """Z' = 1 - 3 (s_p + s_n) / |m_p - m_n|, with means m and standard deviations s of the controls (Zhang et al. 1999).

    NaN where a control has fewer than two wells, or both have the same mean.
    """
    high, low = (np.asarray([v for v in values if np.isfinite(v)], float) for values in (positive, negative))
    if min(len(high), len(low)) < 2 or high.mean() == low.mean():
        return float("nan")
    return float(1 - 3 * (high.std(ddof=1) + low.std(ddof=1)) / abs(high.mean() - low.mean()))


def z_primes(wells: pd.DataFrame, plate_map: pd.DataFrame | None) -> dict[str, float]:
    """Z' between the controls of a plate map for count, median_area and mean_intensity; none without a plate map."""
    if plate_map is None:
        return {}
    joined = wells.merge(plate_map, on="well")
    positive, negative = (joined[joined["control"] == kind] for kind in CONTROLS)
    measured = (key for key in ("count", "median_area", "mean_intensity") if key in joined)
    return {key: z_prime(positive[key], negative[key]) for key in measured}


def modified_z(values: pd.Series) -> np.ndarray:
    """0.6745 (x - median) / MAD (Iglewicz & Hoaglin 1993); 0 where the values hardly differ."""
    values = np.asarray(values, float)
    if not len(values):
        return values
    centred = values - np.median(values)
    spread = np.median(np.abs(centred))
    return 0.6745 * centred / spread if spread > 1e-9 else np.zeros_like(centred)
