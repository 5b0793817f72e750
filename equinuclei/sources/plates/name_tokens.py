"""What looks like a well, a channel or a field in the names of files, and a pattern built from a name."""

import re
from collections.abc import Sequence
from pathlib import Path

from equinuclei.errors import InputError
from equinuclei.file_names import compile_pattern
from equinuclei.wells import parse_well, well_name

_WELL = re.compile(
    r"(?<![A-Za-z0-9])(?:[A-P]\d{1,2}|[a-p]\d{2}|[A-P] - \d{1,2}|[Rr]\d{2}[Cc]\d{2}|A[A-F]\d{2})(?![A-Za-z0-9]|\.\d)"
)
_HARMONY_WELL = re.compile(r"(?<![A-Za-z0-9])r(\d{2})c(\d{2})(?=f\d)")
_GUID = re.compile(r"[0-9A-Fa-f]{8}(?:-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}")
_NUMBERED_CHANNEL = re.compile(r"(?<![A-Za-z0-9])(?:w|ch|channel|wv|[cC])[_ ]?\d{1,3}(?![A-Za-z0-9])", re.IGNORECASE)
_DYE = re.compile(
    r"(?<![A-Za-z])(?:DAPI|Hoechst(?:[ _-]?\d{5})?|FITC|TRITC|GFP|RFP|YFP|CFP|mCherry|Texas[ _-]?Red|Cy[357]|DRAQ5"
    r"|SYTO\d*|Alexa[ _-]?(?:Fluor)?[ _-]?\d{3}|A(?:488|546|555|568|594|647))(?![A-Za-z])",
    re.IGNORECASE,
)
# In the order in which they are looked for in a name: group, what stands before the digits, and how many digits.
_NUMBERS = (
    ("field", r"(?:s|f|site|field|fld|pos|position|p)[_ -]?"),
    ("z", r"z(?:step)?[_ -]?"),
    ("t", r"(?:t|time|timepoint)[_ -]?"),
)


def wells_in(name: str) -> list[str]:
    """Names of the wells, such as "B02", that a file's name seems to hold."""
    found = [
        well_name(int(row), int(column)) for row, column in _HARMONY_WELL.findall(name) if int(row) and int(column)
    ]
    for match in _WELL.finditer(name):
        text = match[0].replace(" - ", "")
        if (numbers := re.fullmatch(r"[Rr](\d{2})[Cc](\d{2})", text)) is not None:
            text = _well_of_numbers(int(numbers[1]), int(numbers[2]))
        try:
            found.append(well_name(*parse_well(text)))
        except ValueError:
            continue
    return list(dict.fromkeys(found))


def channels_in(name: str) -> list[str]:
    """Parts of a file's name that seem to tell its channel: "DAPI", "w1", "ch02"."""
    stem = Path(name).stem
    return [match[0] for expression in (_DYE, _NUMBERED_CHANNEL) for match in expression.finditer(stem)]


def pattern_like(name: str) -> str:
    """A regular expression with named groups that matches a file's name and others that are built like it, or "".

    It is a proposal: the groups are what the parts of the name look like.
    """
    parts: list[tuple[int, int, str]] = []

    def take(start: int, end: int, expression: str) -> None:
        if all(end <= begin or start >= stop for begin, stop, _ in parts):
            parts.append((start, end, expression))

    stem = len(Path(name).stem)
    for guid in _GUID.finditer(name):
        take(*guid.span(), "[0-9A-Fa-f-]+")
    for well in [match for match in _WELL.finditer(name) if " - " not in match[0] and match[0][0] not in "rR"][:1]:
        take(*well.span(), r"(?P<well>[A-Za-z]{1,2}\d+)")
    if not any("well" in part for _, _, part in parts):
        return ""
    for dye in list(_DYE.finditer(name, 0, stem))[:1]:
        take(*dye.span(), r"(?P<channel>[^_.]+)")
    if not any("channel" in part for _, _, part in parts):
        for channel in re.finditer(
            r"(?<![A-Za-z0-9])(?:w|ch|channel|wv|c)[_ ]?(\d{1,3})(?![A-Za-z0-9])", name[:stem], re.I
        ):
            if all(channel.end(1) <= start or channel.start(1) >= end for start, end, _ in parts):
                take(*channel.span(1), r"(?P<channel>\d+)")
                break
    for group, before in _NUMBERS:
        for number in re.finditer(rf"(?<![A-Za-z0-9]){before}(\d+)(?![A-Za-z0-9])", name[:stem], re.I):
            if all(number.end(1) <= start or number.start(1) >= end for start, end, _ in parts):
                take(*number.span(1), rf"(?P<{group}>\d+)")
                break
    for digits in re.finditer(r"\d+", name[:stem]):
        take(*digits.span(), r"\d+")
    expression, at = "", 0
    for start, end, part in sorted(parts):
        expression += re.escape(name[at:start]).replace(r"\ ", " ").replace(r"\-", "-") + part
        at = end
    expression += re.escape(name[at:])
    try:
        return expression if compile_pattern(expression).fullmatch(name) else ""
    except InputError:
        return ""


def seen_in(names: Sequence[str]) -> tuple[list[str], list[str]]:
    """The wells and channels that the names seem to hold, each once, in order."""
    wells = list(dict.fromkeys(well for name in names for well in wells_in(name)))
    return wells, list(dict.fromkeys(channel for name in names for channel in channels_in(name)))


def _well_of_numbers(row: int, column: int) -> str:
    try:
        return well_name(row, column)
    except ValueError:
        return ""
