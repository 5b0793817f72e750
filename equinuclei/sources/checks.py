"""Checks of the folders, columns and ids in a source. All problems that one check finds are reported together."""

import difflib
import re
from collections.abc import Iterable
from pathlib import Path

import pandas as pd

from equinuclei.errors import InputError, raise_problems, reading

COLUMNS = ["image_id", "cell_line", "modality", "group", "split", "image", "mask"]
SPLITS = ("train", "val", "test")

_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")


def nearest(name: str, names: Iterable[str]) -> str | None:
    """The name that `name` most likely stands for, ignoring case; None if none is similar."""
    by_lower = {other.lower(): other for other in names}
    found = difflib.get_close_matches(name.lower(), by_lower, n=1, cutoff=0.75)
    return by_lower[found[0]] if found else None


def missing_path(path: Path, kind: str) -> str:
    """A message that a path does not exist, with the most similar name beside it."""
    try:
        beside = [other.name for other in path.parent.iterdir()]
    except (OSError, ValueError):  # a name that no folder can have
        return f"{kind} {path} does not exist, nor does its parent folder"
    guess = nearest(path.name, beside)
    return f"{kind} {path} does not exist" + (f"; did you mean {guess!r}?" if guess else "")


def is_file(path: Path) -> bool:
    """Whether a file is there. Raises UnavailableError if that cannot be told now."""
    try:
        with reading(path):
            return path.is_file()
    except InputError:  # a name that no file can have
        return False


def id_problem(image_id: str) -> str | None:
    """Why an image id cannot be used, or None. Ids become names of rows and files."""
    if not image_id.strip():
        return "an image_id is empty"
    if image_id in (".", "..") or "/" in image_id or "\\" in image_id:
        return f"image_id {image_id!r} is a path: an id must not be '.' or '..', nor contain '/' or '\\'"
    if _CONTROL.search(image_id):
        return f"image_id {image_id!r} contains a tab, a line break or another control character"
    return None


def check_source(table: pd.DataFrame, where: str) -> None:
    """Check the table of images that a reader returned.

    Parameters
    ----------
    table
        Columns `COLUMNS`, all strings; `image` and `mask` are absolute paths.
    where
        The file or folder that the table was read from, for the message.

    Raises
    ------
    InputError
        For an invalid id, a control character in another column, a duplicate (image_id, modality), a missing file, an
        unknown split, a split that is given for some rows only, or a group in two splits. The message has the total
        number of problems and the first five.
    """
    if table.empty:
        raise InputError(f"{where}: no image found")
    problems = [problem for image_id in table["image_id"].unique() if (problem := id_problem(image_id))]
    for column in ("cell_line", "modality", "group", "image", "mask"):
        problems += [
            f"{column} {value!r} contains a tab, a line break or another control character"
            for value in table.loc[table[column] != table["image_id"], column].unique()
            if _CONTROL.search(value)
        ]
    repeated = table[table.duplicated(["image_id", "modality"])]
    problems += [
        f"image_id {image_id!r} occurs more than once for modality {modality!r}"
        for image_id, modality in repeated[["image_id", "modality"]].drop_duplicates().itertuples(index=False)
    ]
    for column in ("image", "mask"):
        problems += [
            missing_path(Path(path), f"{column} of image_id {image_id!r}:")
            for image_id, path in zip(table["image_id"], table[column], strict=True)
            if not is_file(Path(path))
        ]
    problems += _split_problems(table)
    raise_problems(where, problems)


def _split_problems(table: pd.DataFrame) -> list[str]:
    problems = []
    given = table[table["split"] != ""]
    for value in sorted(set(given["split"]) - set(SPLITS)):
        guess = nearest(value, SPLITS)
        problems.append(
            f"split {value!r} of {int((table['split'] == value).sum())} rows is not one of train, val, test"
            + (f"; did you mean {guess!r}?" if guess else "")
        )
    if len(given) and len(given) < len(table):
        first = table.loc[table["split"] == "", "image_id"].iloc[0]
        problems.append(
            f"split is given for {len(given)} of {len(table)} rows, not for image_id {first!r}: give all or none"
        )
    for group, parts in given.groupby("group")["split"].unique().items():
        if len(parts) > 1:
            problems.append(f"group {group!r} is in more than one split ({', '.join(sorted(parts))})")
    return problems
