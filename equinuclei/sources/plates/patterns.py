"""Layouts that are recognised by the names of files: ready patterns of instruments, and one of the configuration."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from equinuclei.errors import InputError, raise_problems
from equinuclei.file_names import PATTERN, READY_PATTERNS, NamePattern
from equinuclei.sources.images import SUFFIXES
from equinuclei.sources.plates.folder_files import SHOWN, images_among, list_files, shown
from equinuclei.sources.plates.incell import XDCE, find_xdce, lists_images, pixel_size_of_xdce, read_xdce_plate
from equinuclei.sources.plates.planes import (
    PROJECTION,
    PlateSource,
    fill_missing_sizes,
    header_if_there,
    make_planes,
)
from equinuclei.wells import parse_well, well_name

ENOUGH = 2 / 3
"""Share of a folder's images that must match a ready pattern before it is taken for the folder's."""

_PROJECTIONS = re.compile(r"mip|max.*|proj.*|mean", re.IGNORECASE)


def find_ready_pattern(folder: Path) -> str | None:
    """The layout whose ready pattern so many images of a folder match that it is taken for the folder's, or None."""
    if folder.is_file():
        return "incell" if folder.suffix.lower() == XDCE else None
    if not folder.is_dir():
        return None
    files = list_files(folder)
    for pattern in READY_PATTERNS.values():
        images = [name for name in images_among(files, pattern.foreign) if not pattern.is_derived(name)]
        matched = sum(pattern.match(name) is not None for name in images)
        if matched and matched >= ENOUGH * len(images):
            return pattern.layout
    return "incell" if any(lists_images(folder / name) for name in files if name.lower().endswith(XDCE)) else None


def read_ready_pattern(layout: str, folder: Path) -> PlateSource:
    """Read a plate by the ready pattern `layout`. Raises InputError as `read_pattern` does."""
    return read_pattern(READY_PATTERNS[layout], folder)


def read_pattern(pattern: NamePattern, folder: Path) -> PlateSource:
    """Read a plate whose files tell by their names what they are.

    All subfolders are searched, hidden ones are left out. The groups of a match:

    - well, or row (letters or a number) and column;
    - field: a number, kept as it is; other texts are numbered from 1 in their order (`fields` in the metadata).
      Without the group, a well has one field;
    - channel: the name of the channel, "image" without the group;
    - z: a number, counted from the lowest of the plate; "MIP", "max" or "proj" is a projection;
    - t: a number, counted from the lowest of the plate; other texts, such as dates, in their order (`times`).

    In the metadata, `unknown_images` counts the images that do not match, and `unknown_names` gives the first of them:
    they are no part of the plate. Positions and the pixel size are unknown, unless the layout is "incell" and an
    .xdce file tells them: where that lists images, they are the plate's.

    Raises
    ------
    InputError
        If no image matches, or of a ready pattern less than `ENOUGH` do; two images have the same well, field, channel,
        z and t; a group cannot be read; or files have several pages and the layout does not say what they are.
    """
    if pattern.layout == "incell" and folder.suffix.lower() == XDCE and folder.is_file():
        folder = folder.parent
    if not folder.is_dir():
        raise InputError(f"{folder}: is not a folder: looked for {pattern.looked_for}")
    names = list_files(folder)
    index = find_xdce(folder, names) if pattern.layout == "incell" else None
    if index is not None and (indexed := read_xdce_plate(index)) is not None:
        return indexed
    files = _Files.of(pattern, folder, names)
    rows, metadata = _rows(pattern, folder, files.matched)
    if index is not None:
        for row in rows:
            row["pixel_size"] = pixel_size_of_xdce(index)
        metadata["index"] = str(index)
    metadata |= {"unknown_images": len(files.unknown), "unknown_names": files.unknown[:SHOWN]}
    return PlateSource(
        folder.absolute().name, pattern.layout, make_planes(rows, folder), metadata, set_aside=files.set_aside
    )


def _rows(
    pattern: NamePattern, folder: Path, matched: Mapping[str, re.Match[str]]
) -> tuple[list[dict], dict[str, Any]]:
    """Rows for `make_planes`, and what the metadata says of the groups."""
    values = {group: [_group(found, group) for found in matched.values()] for group in ("field", "channel", "z", "t")}
    channels = _channel_names(pattern, values["channel"])
    fields, field_names = _numbers(values["field"], 1)
    times, time_names = _numbers(values["t"], 0)
    rows: list[dict] = []
    problems = []
    for at, (name, found) in enumerate(matched.items()):
        try:
            row: dict = {"well": _well(found), "z": _plane(values["z"][at])}
        except ValueError as error:
            problems.append(f"{name}: {error}")
            continue
        row |= {"field": fields[at], "channel": channels[at], "t": times[at], "path": str((folder / name).absolute())}
        rows.append(row | {"height": 0, "width": 0})
    raise_problems(str(folder), problems)
    lowest = min((row["z"] for row in rows if row["z"] != PROJECTION), default=0)
    for row in rows:
        row["z"] -= lowest if row["z"] != PROJECTION else 0
    _check_unique(folder.absolute(), rows)
    fill_missing_sizes(rows, folder)
    metadata: dict[str, Any] = {key: known for key, known in (("fields", field_names), ("times", time_names)) if known}
    if pattern.layout == PATTERN:
        metadata["pattern"] = pattern.expressions[0].pattern
    return _rows_of_pages(pattern, folder, rows), metadata


@dataclass(frozen=True)
class _Files:
    """The images of a folder: those that match a pattern, those that do not, and reasons for what is left out."""

    matched: Mapping[str, re.Match[str]]
    unknown: list[str]
    set_aside: Mapping[str, str]

    @classmethod
    def of(cls, pattern: NamePattern, folder: Path, files: Sequence[str]) -> "_Files":
        """Of the files of a folder. Raises InputError unless enough of the images match."""
        derived = [name for name in images_among(files) if pattern.is_derived(name)]
        names = [name for name in images_among(files) if not pattern.is_derived(name)]
        matched = {name: found for name in names if (found := pattern.match(name))}
        unknown = [name for name in names if name not in matched]
        foreign = [name for name in files if pattern.foreign and name.lower().endswith(pattern.foreign)]
        if not matched:
            _refuse_unmatched(pattern, folder, files, foreign)
        if pattern.layout != PATTERN and len(matched) < ENOUGH * len(names):
            raise InputError(
                f"{folder}: only {len(matched)} of {len(names)} images are named as {pattern.layout} names them, "
                f"unlike {shown(unknown)}. Move what does not belong to the plate out of its folder, or say how its "
                "files are named: `plates: {layout: {pattern: ...}}` (docs/plates.md)"
            )
        set_aside = dict.fromkeys(derived, "computed from other images by the instrument's software")
        twins = {str(Path(name).with_suffix("")) for name in matched}
        same = (name for name in foreign if str(Path(name).with_suffix("")) in twins)
        set_aside |= dict.fromkeys(same, "the same image in the instrument's own format")
        return cls(matched, unknown, {str((folder / name).absolute()): why for name, why in set_aside.items()})


def _refuse_unmatched(pattern: NamePattern, folder: Path, files: Sequence[str], foreign: Sequence[str]) -> None:
    if foreign:
        raise InputError(
            f"{folder}: {len(foreign)} images such as {shown(foreign[:1])} are in the instrument's own format, which "
            "cannot be read: export them as TIFF"
        )
    if other := [name for name in files if pattern.match(name)]:
        raise InputError(
            f"{folder}: {shown(other)} match, but only images that end in {', '.join(SUFFIXES)} can be read"
        )
    raise InputError(
        f"{folder}: no image is named as expected: looked for {pattern.looked_for}; there are "
        f"{shown(images_among(files)) or 'no images'}. The whole name must match, upper and lower case count, and a "
        "pattern with a '/' is matched against the path within the plate's folder"
    )


def _group(found: re.Match[str], group: str) -> str:
    """The text of a group; "" if the pattern has no such group, or it took no part."""
    return (found.groupdict().get(group) or "").strip()


def _well(found: re.Match[str]) -> str:
    groups = found.groupdict()
    if "well" in groups:
        return well_name(*parse_well(groups["well"] or ""))
    row, column = groups["row"] or "", groups["column"] or ""
    if not column.isdecimal():
        raise ValueError(f"column {column!r} is not a number")
    if row.isdecimal():
        return well_name(int(row), int(column))
    return well_name(*parse_well(f"{row}{column}"))


def _plane(text: str) -> int:
    if not text:
        return 0
    if text.isdecimal():
        return int(text)
    if _PROJECTIONS.fullmatch(text):
        return PROJECTION
    raise ValueError(f"z {text!r} is neither a number nor a projection")


def _numbers(texts: Sequence[str], first: int) -> tuple[list[int], dict[str, int]]:
    """Numbers for texts, and what the texts that are no numbers became; `first` for an empty text."""
    if all(text.isdecimal() or not text for text in texts):
        return [int(text) if text else first for text in texts], {}
    order = {text: number for number, text in enumerate(sorted(set(texts)), first)}
    return [order[text] for text in texts], order


def _channel_names(pattern: NamePattern, texts: Sequence[str]) -> list[str]:
    """Names of the channels; ready patterns lose the parts that the channels of all files share."""
    if pattern.layout == "incell":  # excitation and emission filter
        texts = [text.split(" - ")[0] if len(set(text.split(" - "))) == 1 else text for text in texts]
    elif pattern.layout == "incucyte":
        parts = [re.split(r"[/_-]", text) for text in texts]
        shared = set.intersection(*map(set, parts))
        texts = ["_".join(part for part in found if part not in shared) for found in parts]
    return [" ".join(text.split()) or "image" for text in texts]


def _check_unique(folder: Path, rows: Sequence[Mapping]) -> None:
    """InputError, with the names, if two files stand for one plane."""
    seen: dict[tuple, str] = {}
    problems = []
    for row in rows:
        name = str(Path(row["path"]).relative_to(folder))
        key = tuple(row[column] for column in ("well", "field", "channel", "z", "t"))
        other = seen.setdefault(key, name)
        if other != name:
            told = ", ".join(
                f"{column} {value}" for column, value in zip(("field", "z", "t"), (key[1], *key[3:]), strict=True)
            )
            problems.append(f"{other} and {name} both are well {key[0]}, channel {key[2]!r}, {told}")
    raise_problems(
        f"{folder}: several images of one plane: is this the folder of one plate, and does the pattern tell all that "
        "distinguishes them? (docs/plates.md)",
        problems,
    )


def _rows_of_pages(pattern: NamePattern, folder: Path, rows: list[dict]) -> list[dict]:
    """A row per page of every file, by the number of pages of the first that can be read."""
    pages, first = _pages_of_first(rows)
    if pages == 1:
        return rows
    if not pattern.pages:
        raise InputError(
            f"{folder}: {Path(first).name} holds {pages} pages. Say what they are with `pages: z`, `pages: channel` or "
            "`pages: t` beside `pattern` (or `name`) in `plates: {layout: ...}`, or list them in a table with a column "
            "'page' (docs/plates.md)"
        )
    if pattern.pages != "channel" and len({row[pattern.pages] for row in rows}) > 1:
        raise InputError(
            f"{folder}: {Path(first).name} holds {pages} pages, which `pages: {pattern.pages}` declares to be its "
            f"{pattern.pages}, but the names of files tell several {pattern.pages} too"
        )
    known = [{"page": page, **row} for row in rows for page in range(pages)]
    for row in known:
        if pattern.pages == "channel":
            row["channel"] = f"{'' if row['channel'] == 'image' else row['channel'] + ' '}page {row['page'] + 1}"
        else:
            row[pattern.pages] = row["page"]
    return known


def _pages_of_first(rows: Sequence[Mapping]) -> tuple[int, str]:
    for row in rows:
        if (header := header_if_there(row["path"])) is not None:
            return header[2], row["path"]
    return 1, ""
