"""The page of a study's data set: the answer first, then figures, tables, settings, and where all of it comes from.

There is a page per data set, as all that it shows belongs to one: images, models trained on them, contrasts between
those; and so a page and its folder of results can be handed on together.
"""

import io
import logging
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import imageio.v3 as iio
import numpy as np
import pandas as pd
from markupsafe import Markup, escape
from skimage.transform import resize

from equinuclei.analysis.contrasts import ALPHA, MARGIN, MEASURE_NAMES, zero_by_construction
from equinuclei.analysis.statistics import LEVELS, net_name, signed
from equinuclei.dataset.parts import PARTS, read_fields, read_splits, scored_part
from equinuclei.pages.page import data_url, plain, render, text
from equinuclei.runtime.files import read_record
from equinuclei.runtime.provenance import read_run
from equinuclei.specs import OTSU
from equinuclei.tables.columns import column_of, tables
from equinuclei.tables.files import read_table

logger = logging.getLogger("equinuclei.pages.study")

EXAMPLE_WIDTH = 1100
"""Width in pixels of figures of images on the page; the folder of figures has them larger, and as PDF."""

_OPEN = ("f1", "contrasts")  # tables that are shown unfolded
SEEDS = 5
"""Of a full study."""

_EXPLORED = ("pixel_F1", "object50_F1")  # measures under which the page shows pairs that were not declared
_VERDICTS = {
    "better": "{a} is better than {b}",
    "worse": "{a} is worse than {b}",
    "equivalent": "{a} and {b} are equivalent",
    "not decided": "It is not decided which of {a} and {b} is better",
}


@dataclass(frozen=True)
class Shown:
    """A table, figure or folder of figures to show: its file, title and caption (reStructuredText of one paragraph)."""

    path: Path
    title: str
    caption: str

    @property
    def name(self) -> str:
        """Name of the file, without its ending."""
        return self.path.stem

    @property
    def described(self) -> Markup:
        """The caption for the page."""
        return Markup(re.sub(r"`([^`]+)`", r"<code>\1</code>", str(escape(self.caption.strip()))))


def write_study_page(
    output: str | Path,
    *,
    tables_shown: Sequence[Shown],
    figures: Sequence[Shown],
    galleries: Sequence[Shown],
    provenance: str | Path,
    fields: str | Path,
    splits: str | Path,
    runs: Sequence[str | Path],
) -> None:
    """Write the page of a data set.

    Parameters
    ----------
    output
        HTML file to make. It holds all it needs, and its policy forbids it to load anything.
    tables_shown
        TSV files, f1, f1_difference, contrasts and intervals among them (`equinuclei.analysis.tables.aggregate_f1`).
    figures, galleries
        PNG files, and folders of PNG files, which may be empty.
    provenance
        `equinuclei.analysis.manifest.write_provenance`'s record: settings, code, packages, checksums.
    fields, splits
        fields.tsv and splits.tsv of the data set.
    runs
        run.json of every training.
    """
    read = {shown.name: read_table(shown.path, f"study/{shown.path.name}") for shown in tables_shown}
    record, records = (
        read_record(provenance, "the record of what the results were made from", "run the study again"),
        [read_run(path) for path in runs],
    )
    config = record["config"]
    scored = scored_part(splits)
    render(
        "study.html",
        output,
        dataset=config["dataset"]["name"],
        facts=_facts(read["f1"], config, scored, read_splits(splits)),
        answers=_answers(read, config),
        cautions=_cautions(read["intervals"], config),
        figures=[
            {"name": shown.name, "title": shown.title, "caption": shown.described,
             "image": data_url(shown.path.read_bytes(), "png")} for shown in figures
        ],
        galleries=[
            {"name": shown.name, "title": shown.title, "caption": shown.described, "images": images}
            for shown in galleries
            if (images := _gallery(shown.path))
        ],
        tables=[_shown_table(shown, read[shown.name]) for shown in tables_shown if len(read[shown.name])],
        models=_models(config, records),
        parts=_parts(read_fields(fields), read_splits(splits)),
        settings=_settings(config),
        tuning=_tuning(config, records, scored, read_splits(splits)),
        provenance=_provenance(record),
        columns=_columns(),
        margin=f"{MARGIN:g}",
        alpha=f"{ALPHA:g}",
    )  # fmt: skip
    logger.info("%s: %.1f MB", output, Path(output).stat().st_size / 1e6)


def _facts(f1: pd.DataFrame, config: Mapping, scored: str, splits: pd.DataFrame) -> list[tuple[str, str]]:
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


def _answers(read: Mapping[str, pd.DataFrame], config: Mapping) -> list[dict]:
    """The answer in words, per modality."""
    equivariant = {name for name, model in config["models"].items() if model["spec"]["group"] != "trivial"}
    answers = []
    for modality in dict.fromkeys(read["f1"]["modality"]):
        contrasts, intervals, differences = (
            table[table["modality"] == modality]
            for table in (read["contrasts"], read["intervals"], read["f1_difference"])
        )
        declared = contrasts[contrasts["kind"] == "declared"]
        answers.append(
            {
                "modality": modality,
                "summary": _summary(declared["verdict"]),
                "verdicts": [_sentence(row) for row in declared.to_dict("records")],
                "best": [_best(intervals, f"{level}_F1") for level in LEVELS],
                "turned": _turned(zeros := _zeros(differences, equivariant)),
                "zeros": zeros,
            }
        )
    return answers


def _summary(verdicts: pd.Series) -> str:
    """How the declared contrasts came out, in one sentence."""
    counts = verdicts.value_counts()
    found = ", ".join(f"{counts[verdict]} {verdict}" for verdict in _VERDICTS if verdict in counts)
    return f"Of {len(verdicts)} declared contrast{'s' * (len(verdicts) != 1)}, the first model is: {found}."


def _sentence(row: Mapping) -> dict[str, str]:
    """A declared contrast in words: verdict, and the numbers behind it."""
    names = {end: net_name(row[end], row[f"{end}_inference"]) for end in "ab"}
    numbers = f"{row['a_value']:.4g} against {row['b_value']:.4g}, a difference of {signed(row['difference'])}"
    if pd.notna(row["low"]):
        numbers += f" (95 % interval {signed(row['low'])} to {signed(row['high'])})"
    if pd.notna(row["p_holm"]):
        numbers += f", corrected p {_p(row['p_holm'])}"
    zero = [names[end] for end in "ab" if re.search(rf"\b{end}\b.*:", row["note"])]
    told = f"{' and '.join(zero)}: zero by construction, and on every image; nothing is tested." if zero else ""
    return {
        "verdict": row["verdict"],
        "words": _VERDICTS[row["verdict"]].format(**names),
        "measure": MEASURE_NAMES[row["measure"]],
        "numbers": numbers,
        "note": told,
    }


def _p(value: float) -> str:
    return "below 0.0001" if value < 0.0001 else f"{value:.4f}"


def _best(intervals: pd.DataFrame, measure: str) -> dict[str, str] | None:
    """The highest score as deployed, and the floor."""
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
    """Share of exact zeros and size of the difference of every model and inference mode."""
    rows = []
    for (model, inference), part in differences.groupby(["model", "inference"], sort=False):
        levels = part.set_index("level")
        shares = [(f"{level}_zeros", levels.loc[level, "exact_zeros"]) for level in LEVELS]
        constructed = [zero_by_construction(model, inference, *share, equivariant) for share in shares]
        row = {"name": net_name(model, inference), "model": model, "constructed": all(constructed), "levels": []}
        for level in LEVELS:
            here = levels.loc[level]
            share = here["exact_zeros"]
            row["levels"].append(
                {
                    "share": _percent(share),
                    "share_value": share,
                    "mean": text(here["mean_absolute"]),
                    "mean_value": here["mean_absolute"],
                }
            )
        rows.append(row)
    return rows


def _turned(zeros: Sequence[Mapping]) -> list[str]:
    """The shares of exact zeros in words."""
    nets = [row for row in zeros if row["model"] != OTSU]
    always = [row for row in nets if all(level["share_value"] == 1 for level in row["levels"])]
    others = [row for row in nets if row not in always]
    told = []
    if constructed := [row["name"] for row in always if row["constructed"]]:
        told.append(f"Always, to the last digit, and by construction: {'; '.join(constructed)}.")
    if chance := [row["name"] for row in always if not row["constructed"]]:
        told.append(f"Always on these images, though nothing in the network makes it so: {'; '.join(chance)}.")
    if others:
        ranges = []
        for place, what in enumerate(("pixels", "objects")):
            shares = sorted((row["levels"][place] for row in others), key=lambda level: level["share_value"])
            low, high = shares[0]["share"], shares[-1]["share"]
            ranges.append(f"in {low if low == high else f'{low} to {high}'} of the rotations by {what}")
        told.append(f"Exactly as before {' and '.join(ranges)}: {'; '.join(row['name'] for row in others)}.")
    return told


def _percent(share: float) -> str:
    """A share as a percentage. Only none reads 0 %, and only all of them 100 %."""
    return f"{100 * share:.0f} %" if share in (0, 1) else f"{min(max(100 * share, 0.01), 99.99):.2f} %"


def _cautions(intervals: pd.DataFrame, config: Mapping) -> list[str]:
    """What limits the answer."""
    told = []
    if len(config["seeds"]) == 1:
        told.append(
            "Every model was trained with one seed: intervals and verdicts are about these trained networks, over "
            "other images of the same kind, and do not cover what another training would give."
        )
    elif len(config["seeds"]) < SEEDS:
        told.append(
            f"Every model was trained with {len(config['seeds'])} seeds: what another training would give is estimated "
            f"from few. A full study has {SEEDS}."
        )
    groups = intervals.groupby("modality", sort=False)["groups"].max()
    if (groups < 10).any():
        told.append(
            f"There are few groups of images to resample ({', '.join(f'{m}: {n}' for m, n in groups.items())}): "
            "intervals are wide, and rest on the assumption that the groups are like others."
        )
    if not config["contrasts"]:
        told.append("No contrast was declared before the run: every comparison below is exploratory.")
    epochs = sorted({model["training"]["epochs"] for model in config["models"].values()})
    told.append(
        f"Networks were trained for {' or '.join(map(str, epochs))} epochs: where their loss still falls at the end "
        "(figure Training), more would have changed the scores."
    )
    told.append("No interval covers other cell lines, microscopes or annotators.")
    return told


def _shown_table(shown: Shown, table: pd.DataFrame) -> dict:
    """A table of a study for the page: what every column means, and its rows as text with values to sort by."""
    note = ""
    if shown.name == "contrasts":
        kept = (table["kind"] == "declared") | (
            table["measure"].isin(_EXPLORED) & table["a_inference"].eq("deployed") & table["b_inference"].eq("deployed")
        )
        if left := int((~kept).sum()):
            note = (
                f"Shown are the declared contrasts, and all pairs of models as deployed under F1; {left:,} more "
                "exploratory rows stand in the file."
            )
        table = table[kept]
    table = table.drop(columns="dataset")
    columns = [_column(f"study/{shown.path.name}", name) for name in table.columns]
    numeric = [pd.api.types.is_numeric_dtype(table[name]) for name in table.columns]
    return {
        "name": shown.name,
        "file": shown.path.name,
        "title": shown.title,
        "caption": shown.described,
        "note": note,
        "open": shown.name in _OPEN,
        "columns": [
            {"name": name, "told": told, "numeric": number}
            for name, told, number in zip(table.columns, columns, numeric, strict=True)
        ],
        "rows": [
            [_cell(value, number) for value, number in zip(row, numeric, strict=True)]
            for row in table.itertuples(index=False, name=None)
        ],
    }


def _cell(value: object, numeric: bool) -> dict:
    value = plain(value)
    if not numeric:
        return {"text": str(value), "value": None}
    if value is None:
        return {"text": "\N{EN DASH}", "value": ""}
    # An exact 0 or 1 has no decimals, so that 1.000 tells "nearly".
    whole = isinstance(value, int) or value in (0, 1) or (value.is_integer() and abs(value) >= 1000)
    return {"text": f"{value:,.0f}" if whole else f"{value:#.4g}", "value": value}


def _column(table: str, name: str) -> str:
    column = column_of(table, name)
    if column is None:
        return ""
    return f"{column.meaning} [{column.unit}]" if column.unit else column.meaning


def _columns() -> list[dict]:
    return [
        {"table": name.removeprefix("study/"), "columns": columns}
        for name, columns in sorted(tables().items())
        if name.startswith("study/")
    ]


def _models(config: Mapping, records: Sequence[Mapping]) -> list[dict[str, str]]:
    """What every model is and how it was trained, a row each."""
    rows = []
    for name, model in config["models"].items():
        spec, training = model["spec"], model["training"]
        trained = [record for record in records if record["model"] == name]
        rates = sorted({record["training"]["learning_rate"] for record in trained})
        rows.append(
            {
                "model": name,
                "network": spec["architecture"],
                "symmetry": {"trivial": "none", "p4": "quarter turns (p4)"}.get(
                    spec["group"], "quarter turns and mirrors (p4m)"
                ),
                "widths": " ".join(map(str, spec["widths"])),
                "augmentation": spec["augmentation"],
                "learns": spec.get("target", "binary"),
                "normalisation": spec.get("normalization", "standard"),
                "size of nuclei, px": text(spec.get("diameter")) or "as they come",
                "nuclei by": model["instances"] or "default of the target",
                "inference modes": ", ".join(model["inference"]),
                "parameters": f"{trained[0]['parameters']:,}" if trained else "",
                "GFLOP": text(trained[0]["gflops"]) if trained else "",
                "epochs": str(training["epochs"]),
                "crop, px": str(training["crop"]),
                "batch": str(training["batch_size"]),
                "learning rate": ", ".join(f"{rate:g}" for rate in rates),
                "schedule": training["schedule"],
            }
        )
    return rows


def _parts(fields: pd.DataFrame, splits: pd.DataFrame) -> dict:
    """Fields and groups of every part, per cell line and in all; and images per modality."""
    present = [part for part in PARTS if (splits["part"] == part).any()]
    rows = []
    for line, of_line in [*splits.groupby("cell_line"), ("all", splits)]:
        by_part = dict(list(of_line.groupby("part")))
        cells = [
            f"{len(by_part[part]):,} ({by_part[part]['group'].nunique():,})" if part in by_part else "0"
            for part in present
        ]
        rows.append([line, *cells])
    images = fields["modality"].value_counts(sort=False).to_dict()
    sizes = fields.groupby(["height", "width"]).size()
    return {
        "parts": present,
        "rows": rows,
        "images": ", ".join(f"{count:,} {modality}" for modality, count in images.items()),
        "sizes": ", ".join(f"{count:,} of {height} x {width}" for (height, width), count in sizes.items()),
    }


def _settings(config: Mapping) -> list[tuple[str, str]]:
    dataset, evaluation = config["dataset"], config["evaluation"]
    source = dataset["source"]
    return [
        ("source of the images", ", ".join(f"{key} {value}" for key, value in source.items())),
        ("masks", ", ".join(f"{key.replace('_', ' ')} {value}" for key, value in dataset["mask"].items())),
        ("split", f"{', '.join(map(str, dataset['split']))}; seed {config['split_seed']}" if "split" in dataset else
         "the source's own"),
        ("seeds", ", ".join(map(str, config["seeds"]))),
        ("mirrored images scored too", "yes" if evaluation["mirrored"] else "no"),
    ]  # fmt: skip


def _tuning(config: Mapping, records: Sequence[Mapping], scored: str, splits: pd.DataFrame) -> list[str]:
    """What was chosen on which images."""
    chosen = sorted({record["model"] for record in records if record.get("learning_rate_chosen_from")})
    fixed = [name for name in config["models"] if name not in chosen]
    told = []
    if chosen:
        told.append(
            f"The learning rate of {', '.join(chosen)} was chosen from candidates by the F1 on groups of images that "
            "were held out of the training part for that, once for all seeds."
        )
    if fixed:
        told.append(f"The learning rate of {', '.join(fixed)} was given in the configuration.")
    told.append("The weights are those of the last epoch: no epoch was picked by a score.")
    told.append(
        "Thresholds, the numbers of epochs, widths and the way from a prediction to nuclei were fixed in the "
        "configuration before the run."
    )
    if scored == "val":
        told.append("The set has no test part: its val part is scored, and was not looked at during training.")
    elif (splits["part"] == "val").any():
        told.append("The val part is shown in the training curves, and decides nothing.")
    told.append(f"So nothing was tuned on the scored part ({scored}); it was predicted after training.")
    return told


def _provenance(record: Mapping) -> dict:
    trainings = record["trainings"]
    seconds = sum(training["train_seconds"] for training in trainings)
    processors = sorted({t["hardware"].get("gpu", t["hardware"]["processor"]) for t in trainings})
    versions = sorted({t["code_version"] for t in trainings})
    packages = dict(sorted({package for t in trainings for package in t["packages"].items()}))
    return {
        "facts": [
            ("version of the code", record["code_version"]),
            ("of the trainings", ", ".join(versions)),
            (
                "trainings",
                f"{len(trainings)}, {seconds / 3600:.1f} hours in all"
                if seconds >= 3600
                else f"{len(trainings)}, {seconds:.0f} s in all",
            ),
            ("trained on", ", ".join(processors)),
            ("packages", ", ".join(f"{name} {version}" for name, version in packages.items())),
        ],
        "checksums": sorted({**record["stores"], **record["files"]}.items()),
    }


def _gallery(folder: Path) -> list[dict[str, str]]:
    """The figures of a folder, small enough for a page."""
    return [
        {"name": path.stem, "image": _small(path)}
        for path in sorted(folder.glob("*.png"))
        if not path.name.startswith(".")
    ]


def _small(path: Path) -> str:
    """A figure as an address that a page can hold, at most EXAMPLE_WIDTH wide: as JPEG, as it shows images."""
    picture = iio.imread(path)[..., :3]
    if picture.shape[1] > EXAMPLE_WIDTH:
        height = round(picture.shape[0] * EXAMPLE_WIDTH / picture.shape[1])
        picture = resize(picture, (height, EXAMPLE_WIDTH), order=1, anti_aliasing=True, preserve_range=True)
    buffer = io.BytesIO()
    iio.imwrite(buffer, np.clip(np.rint(picture), 0, 255).astype(np.uint8), extension=".jpg", quality=82)
    return data_url(buffer.getvalue(), "jpeg")
