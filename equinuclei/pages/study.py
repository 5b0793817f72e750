"""The page of a study's data set: the answer first, then figures, tables, settings, and where all of it comes from.

There is a page per data set, as all that it shows belongs to one: images, models trained on them, contrasts between
those; and so a page and its folder of results can be handed on together.
"""

import io
import logging
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import imageio.v3 as iio
import numpy as np
import pandas as pd
from markupsafe import Markup, escape
from skimage.transform import resize

from equinuclei.analysis.contrasts import MARGIN
from equinuclei.analysis.folder import StudyFolder
from equinuclei.analysis.resampling import ALPHA
from equinuclei.dataset.parts import read_fields, read_splits, scored_part
from equinuclei.pages import study_answers, study_settings
from equinuclei.pages.page import data_url, plain, render
from equinuclei.pages.study_seeds import seed_cautions
from equinuclei.runtime.files import read_record
from equinuclei.tables.columns import column_of, tables

logger = logging.getLogger("equinuclei.pages.study")

EXAMPLE_WIDTH = 1100
"""Width in pixels of figures of images on the page; the folder of figures has them larger, and as PDF."""

_OPEN = ("f1", "contrasts")  # tables that are shown unfolded
_EXPLORED = ("pixel_F1", "object50_F1")  # measures under which the page shows pairs that were not declared
_LONG = 18  # letters of a text that the page breaks into lines, so that a table stays as wide as the page
MEASURED = ("train_seconds", "train_cpu_seconds")
"""Columns of tables that a clock tells: they differ from run to run."""


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

    def for_page(self) -> dict[str, Any]:
        """Name, title and caption, for the template."""
        return {"name": self.name, "title": self.title, "caption": self.described}


def write_study_page(
    output: str | Path,
    study: StudyFolder,
    *,
    tables_shown: Sequence[Shown],
    figures: Sequence[Shown],
    galleries: Sequence[Shown],
    provenance: str | Path,
    fields: str | Path,
    splits: str | Path,
) -> None:
    """Write the page of a data set.

    Parameters
    ----------
    output
        HTML file to make. It holds all it needs, and its policy forbids it to load anything.
    study
        With runs.
    tables_shown
        TSV files in its folder of tables, f1, f1_difference, contrasts and intervals among them.
    figures, galleries
        PNG files, and folders of PNG files, which may be empty.
    provenance
        `equinuclei.analysis.manifest.write_provenance`'s record: settings, code, packages, checksums.
    fields, splits
        fields.tsv and splits.tsv of the data set.
    """
    read = {shown.name: _whole_as_integers(study.table(shown.name)) for shown in tables_shown}
    record = read_record(provenance, "the record of what the results were made from", "delete it, and run again")
    config, scored, parts = record["config"], scored_part(splits), read_splits(splits)
    render(
        "study.html",
        output,
        dataset=config["dataset"]["name"],
        facts=study_answers.facts(read["f1"], config, scored, parts),
        answers=study_answers.answers(read, config),
        cautions=study_answers.cautions(read["intervals"], config) + seed_cautions(read["contrasts"]),
        figures=[shown.for_page() | {"image": data_url(shown.path.read_bytes(), "png")} for shown in figures],
        galleries=[shown.for_page() | {"images": images} for shown in galleries if (images := _gallery(shown.path))],
        tables=[_shown_table(shown, read[shown.name]) for shown in tables_shown if len(read[shown.name])],
        models=study_settings.models(config, study.records),
        parts=study_settings.parts(read_fields(fields), parts),
        settings=study_settings.settings(config),
        tuning=study_settings.tuning(config, study.records, scored, parts),
        provenance=study_settings.provenance(record),
        columns=_columns(),
        measured=MEASURED,
        margin=f"{MARGIN:g}",
        alpha=f"{ALPHA:g}",
    )
    logger.info("%s: %.1f MB", output, Path(output).stat().st_size / 1e6)


def _whole_as_integers(table: pd.DataFrame) -> pd.DataFrame:
    """A column whose numbers are all there and all whole is shown without decimals."""
    numbers = table.select_dtypes("float64")
    whole = [name for name in numbers if len(table) and (numbers[name] % 1 == 0).all()]
    return table.astype(dict.fromkeys(whole, "int64"))


def _shown_table(shown: Shown, table: pd.DataFrame) -> dict[str, Any]:
    """A table of a study for the page: what every column means, and its rows as text with values to sort by.

    What is the same in every row is told once, so that the others stand beside each other.
    """
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
    table, alike = _without_alike(table.drop(columns="dataset"))
    meanings = [_meaning(f"study/{shown.path.name}", name) for name in table.columns]
    numeric = [pd.api.types.is_numeric_dtype(table[name]) for name in table.columns]
    return shown.for_page() | {
        "file": shown.path.name,
        "note": note,
        "alike": alike,
        "open": shown.name in _OPEN,
        "columns": [
            {"name": name, "meaning": meaning, "numeric": number}
            for name, meaning, number in zip(table.columns, meanings, numeric, strict=True)
        ],
        "rows": [
            [_cell(value, number) for value, number in zip(row, numeric, strict=True)]
            for row in table.itertuples(index=False, name=None)
        ],
    }


def _without_alike(table: pd.DataFrame) -> tuple[pd.DataFrame, list[dict[str, str]]]:
    """A table without the columns that are the same in all of several rows, and these columns by name and value."""
    alike = [
        name
        for name in table.columns
        if len(table) > 1 and len(table[name].drop_duplicates()) == 1 and name not in MEASURED
    ]
    told = []
    for name in alike:
        value = _cell(table[name].iloc[0], pd.api.types.is_numeric_dtype(table[name]))["text"]
        told.append({"name": name, "value": value or "\N{EN DASH}"})
    return table.drop(columns=alike), told


def _cell(value: object, numeric: bool) -> dict[str, Any]:
    """A value as text, and of a number what to sort by."""
    value = plain(value)
    if not numeric:
        return {"text": str(value), "value": None, "long": len(str(value)) > _LONG}
    if not isinstance(value, int | float):
        return {"text": "\N{EN DASH}", "value": "", "long": False}
    # An exact 0 or 1 has no decimals, so that 1.000 tells "nearly".
    whole = isinstance(value, int) or value in (0, 1) or (value.is_integer() and abs(value) >= 1000)
    return {"text": f"{value:,.0f}" if whole else f"{value:#.4g}", "value": value, "long": False}


def _meaning(table: str, name: str) -> str:
    """What a column holds, with its unit."""
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
