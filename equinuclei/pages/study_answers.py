"""The answer of a study in words, from its tables: what was found, and what limits it."""

import re
from collections.abc import Mapping, Sequence

import pandas as pd

from equinuclei.analysis.contrasts import MEASURE_NAMES, zero_by_construction
from equinuclei.analysis.failures import failed_seeds, failure_sentences
from equinuclei.analysis.statistics import LEVELS, net_name, signed
from equinuclei.pages.page import text
from equinuclei.pages.study_moves import moved_answer
from equinuclei.specs import OTSU

FULL_STUDY_SEEDS = 5
"""Seeds that every model of a full study is trained with; with fewer, the page warns."""

_CONSTRUCTED = r"(a and b|a|b): zero by construction"

_VERDICTS = {
    "better": "{a} is better than {b}",
    "worse": "{a} is worse than {b}",
    "equivalent": "{a} and {b} are equivalent",
    "not decided": "It is not decided which of {a} and {b} is better",
}


def facts(f1: pd.DataFrame, config: Mapping, scored: str, splits: pd.DataFrame) -> list[tuple[str, str]]:
    """What was compared, in numbers.

    f1 : the table; config : the settings of the data set; scored : the part that scores are of; splits : splits.tsv.
    """
    part = splits[splits["part"] == scored]
    return [
        (f"{scored} images, scored", f"{len(part):,}"),
        ("groups of them", f"{part['group'].nunique():,}"),
        ("cell lines", f"{part['cell_line'].nunique():,}"),
        ("modalities", f"{f1['modality'].nunique()}"),
        ("models", f"{len(config['models'])}"),
        ("seeds", f"{len(config['seeds'])}"),
        ("declared contrasts per modality", f"{len(config['contrasts'])}"),
    ]


def answers(read: Mapping[str, pd.DataFrame], config: Mapping) -> list[dict]:
    """The answer in words, per modality. read : tables of the study by name; config : the settings of the data set."""
    equivariant = {name for name, model in config["models"].items() if model["spec"]["group"] != "trivial"}
    found = []
    measured = read["f1"][~read["f1"]["inference"].isin(["exact", "canonical"])]  # nearly those of "deployed"
    failed, told = failed_seeds(read["f1"]), failure_sentences(read["f1"])
    for modality in dict.fromkeys(read["f1"]["modality"]):
        contrasts, intervals, differences = (
            table[table["modality"] == modality]
            for table in (read["contrasts"], read["intervals"], read["f1_difference"])
        )
        declared = contrasts[contrasts["kind"] == "declared"]
        f1 = read["f1"][read["f1"]["modality"] == modality].dropna(subset="gflops")
        gflops = f1.set_index(["model", "inference"])["gflops"].to_dict()
        sound = intervals[[(modality, model) not in failed for model in intervals["model"]]]
        found.append(
            {
                "modality": modality,
                "failures": [sentence for of, sentence in told if of == modality],
                "summary": _summary(declared["verdict"]),
                "verdicts": [_sentence(row, gflops) for row in declared.to_dict("records")],
                "costs": _costs(measured[measured["modality"] == modality]),
                "best": [_best(sound, f"{level}_F1") for level in LEVELS],
                "turned": _turned(zeros := _zeros(differences, equivariant)),
                "zeros": [row | {"failed": (modality, row["model"]) in failed} for row in zeros],
                "moved": moved_answer(read.get("turns_and_shifts"), modality),
            }
        )
    return found


def _summary(verdicts: pd.Series) -> str:
    """How the declared contrasts came out, in one sentence."""
    counts = verdicts.value_counts()
    found = ", ".join(f"{counts[verdict]} {verdict}" for verdict in _VERDICTS if verdict in counts)
    return f"Of {len(verdicts)} declared contrast{'s' * (len(verdicts) != 1)}, the first model is: {found}."


def _sentence(row: Mapping, gflops: Mapping[tuple[str, str], float]) -> dict[str, str]:
    """A declared contrast in words: verdict, the numbers behind it, and what the two cost. gflops : of every net."""
    names = {end: net_name(row[end], row[f"{end}_inference"]) for end in "ab"}
    numbers = f"{row['a_value']:.4g} against {row['b_value']:.4g}, a difference of {signed(row['difference'])}"
    if pd.notna(row["low"]):
        numbers += f" (95 % interval {signed(row['low'])} to {signed(row['high'])})"
    if pd.notna(row["p_holm"]):
        numbers += f", corrected p {_p(row['p_holm'])}"
    constructed = re.match(_CONSTRUCTED, row["note"])
    notes = [f"{row['note'].strip()}."] if row["note"] and not constructed else []
    if constructed:
        ends = [end for end in "ab" if end in constructed[1].split(" and ")]
        notes = [_why_zero(row[end], row[f"{end}_inference"]) for end in ends]
        if more := row["note"][constructed.end() :].strip("; "):
            notes.append(f"{more}.")
    return {
        "verdict": row["verdict"],
        "words": _VERDICTS[row["verdict"]].format(**names),
        "measure": MEASURE_NAMES[row["measure"]],
        "numbers": numbers,
        "cost": _against(*(gflops.get((row[end], row[f"{end}_inference"])) for end in "ab")),
        "note": " ".join(notes),
    }


def _against(a: float | None, b: float | None) -> str:
    """What a costs beside b, in words; empty where one of them is no network."""
    if not a or not b:
        return ""
    times = "the same" if a == b else f"{a / b:.3g} times as much"
    return f"Per image of 256 x 256 pixels it costs {a:.3g} against {b:.3g} GFLOP, {times}."


def _costs(f1: pd.DataFrame) -> list[dict[str, str]]:
    """What every network costs to compute and cost to train. f1 : rows of the table of one modality."""
    return [
        {
            "name": net_name(row["model"], row["inference"]),
            "parameters": f"{int(row['parameters']):,}",
            "gflops": text(row["gflops"]),
            "wall": f"{row['train_seconds']:,.0f}",
            "cpu": f"{row['train_cpu_seconds']:,.0f}",
        }
        for row in f1.dropna(subset="gflops").to_dict("records")
    ]


def _why_zero(model: str, inference: str) -> str:
    """Why nothing is tested of a net whose f1-score_difference was zero on every image, as it has to be."""
    if inference == "deployed" and model != OTSU:
        return f"{model}: zero to rounding by its symmetry, and on every image counted; nothing is tested."
    return f"{net_name(model, inference)}: zero by construction, and on every image; nothing is tested."


def _p(value: float) -> str:
    return "below 0.0001" if value < 0.0001 else f"{value:.4f}"


def _best(intervals: pd.DataFrame, measure: str) -> dict[str, str] | None:
    """The highest score as deployed, and the floor. intervals : of models without a failed training."""
    deployed = intervals[(intervals["measure"] == measure) & (intervals["inference"] == "deployed")]
    nets = deployed[deployed["model"] != OTSU].dropna(subset="value")
    if nets.empty:
        return None
    best = nets.loc[nets["value"].idxmax()]
    floor = deployed.loc[deployed["model"] == OTSU, "value"]
    return {
        "measure": MEASURE_NAMES[measure],
        "model": best["model"],
        "value": f"{best['value']:.3f}",
        "interval": f"{best['low']:.3f} to {best['high']:.3f}" if pd.notna(best["low"]) else "",
        "floor": f"{floor.iloc[0]:.3f}" if len(floor) and pd.notna(floor.iloc[0]) else "",
    }


def _zeros(differences: pd.DataFrame, equivariant: set[str]) -> list[dict]:
    """Share of exact zeros and size of the difference of every model and inference mode, and how many masks differ."""
    rows = []
    for (model, inference), part in differences.groupby(["model", "inference"], sort=False):
        levels = part.set_index("level")
        shares = [(f"{level}_zeros", levels.loc[level, "exact_zeros"]) for level in LEVELS]
        constructed = [zero_by_construction((model, inference), *share, equivariant) for share in shares]
        # As deployed an equivariant network is so to rounding alone: whether that turns a pixel is counted, not built.
        bitwise = all(constructed) and (inference != "deployed" or model == OTSU)
        row = {"name": net_name(model, inference), "model": model, "constructed": bitwise, "levels": []}
        pixels = levels.loc[LEVELS[0]]
        row |= {"symmetric": model in equivariant and inference == "deployed", "left_out": int(pixels["left_out"])}
        row["masks"] = _masks(pixels)
        for level in LEVELS:
            here = levels.loc[level]
            share = here["exact_zeros"]
            row["levels"].append(
                {
                    "share": _percent(share),
                    "share_value": "" if pd.isna(share) else share,
                    "mean": text(here["mean_absolute"]) or "-",
                    "mean_value": "" if pd.isna(here["mean_absolute"]) else here["mean_absolute"],
                }
            )
        rows.append(row)
    return rows


def _masks(pixels: pd.Series) -> str:
    """In how many comparisons the two masks differ. pixels : row of f1_difference.tsv, by pixels."""
    if not pixels["comparisons"]:
        return "-"
    high = max(100 * pixels["different_masks_high"], 0.01)
    counts = f"{pixels['different_masks']:,.0f} of {pixels['comparisons']:,.0f} comparisons"
    return counts if high >= 99.95 else f"{counts} (at 95 % below {f'{high:.1f}' if high >= 10 else f'{high:.2g}'} %)"


def _turned(zeros: Sequence[Mapping]) -> list[str]:
    """The shares of exact zeros in words."""
    nets = [row for row in zeros if row["model"] != OTSU]
    nothing = [row for row in nets if all(level["share_value"] == "" for level in row["levels"])]
    counted = [row for row in nets if row not in nothing]
    always = [row for row in counted if all(level["share_value"] in (1, "") for level in row["levels"])]
    sentences = []
    if constructed := [row["name"] for row in always if row["constructed"]]:
        sentences.append(f"Always, to the last digit, and by construction: {'; '.join(constructed)}.")
    for row in counted:
        if row["symmetric"]:
            sentences.append(
                f"To rounding, by its symmetry: {row['name']}, as deployed. The masks of an image and of its rotation "
                f"differ in {row['masks']}."
            )
    if chance := [row["name"] for row in always if not row["constructed"] and not row["symmetric"]]:
        sentences.append(f"Always on these images, though nothing in the network makes it so: {'; '.join(chance)}.")
    others = [row for row in counted if row not in always and not row["symmetric"]]
    if others:
        ranges = []
        for place, what in enumerate(("pixels", "objects")):
            levels = [row["levels"][place] for row in others if row["levels"][place]["share_value"] != ""]
            if not levels:
                continue
            shares = sorted(levels, key=lambda level: level["share_value"])
            low, high = shares[0]["share"], shares[-1]["share"]
            ranges.append(f"in {low if low == high else f'{low} to {high}'} of the rotations by {what}")
        sentences.append(f"Exactly as before {' and '.join(ranges)}: {'; '.join(row['name'] for row in others)}.")
    if nothing:
        names = "; ".join(row["name"] for row in nothing)
        sentences.append(f"Nothing can be said of {names}: empty predictions and failed trainings do not count.")
    return sentences


def _percent(share: float) -> str:
    """A share as a percentage. Only none reads 0 %, and only all of them 100 %; "-" where there is none."""
    if pd.isna(share):
        return "-"
    return f"{100 * share:.0f} %" if share in (0, 1) else f"{min(max(100 * share, 0.01), 99.99):.2f} %"


def cautions(intervals: pd.DataFrame, config: Mapping) -> list[str]:
    """What limits the answer. intervals : the table; config : the settings of the data set."""
    found = []
    if len(config["seeds"]) == 1:
        found.append(
            "Every model was trained with one seed: intervals and verdicts are about these trained networks, over "
            "other images of the same kind, and do not cover what another training would give."
        )
    elif len(config["seeds"]) < FULL_STUDY_SEEDS:
        found.append(
            f"Every model was trained with {len(config['seeds'])} seeds: what another training would give is estimated "
            f"from few. A full study has {FULL_STUDY_SEEDS}."
        )
    groups = intervals.groupby("modality", sort=False)["groups"].max()
    if (groups < 10).any():
        found.append(
            f"There are few groups of images to resample ({', '.join(f'{m}: {n}' for m, n in groups.items())}): "
            "intervals are wide, and rest on the assumption that the groups are like others."
        )
    if not config["contrasts"]:
        found.append("No contrast was declared before the run: every comparison below is exploratory.")
    epochs = sorted({model["training"]["epochs"] for model in config["models"].values()})
    found.append(
        f"Networks were trained for {' or '.join(map(str, epochs))} epochs: where their loss still falls at the end "
        "(figure Training), more would have changed the scores."
    )
    found.append("No interval covers other cell lines, microscopes or annotators.")
    return found
