r"""Patterns of file names: regular expressions whose named groups say which image of a plate a file is.

A pattern with a "/" is matched against the path relative to the plate's folder, any other against the file's name, and
always as a whole. Needs nothing but the standard library: the configuration is checked with it.
"""

import re
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from equinuclei.errors import InputError, check_known

GROUPS = ("well", "row", "column", "field", "channel", "z", "t")
"""Names of groups: `well` ("B02"), or `row` (letters or a number) and `column`; the others may be left out."""

PAGES = ("z", "channel", "t")
"""What the pages of a file with several may be."""

PATTERN = "pattern"
"""Name of the layout of a plate whose files are found by a pattern of the configuration."""


@dataclass(frozen=True)
class NamePattern:
    """How the files of a plate are named.

    layout : `PATTERN`, or the name of a ready pattern
    expressions : of which the first that matches counts
    derived : names of files that software made from others: they are left out
    pages : what the pages of a file are, one of `PAGES`; "": files have one page each
    foreign : endings (lower case) of images in a format of the vendor that cannot be read
    """

    layout: str
    expressions: Sequence[re.Pattern[str]]
    derived: re.Pattern[str] | None = None
    pages: str = ""
    foreign: tuple[str, ...] = ()
    looked_for: str = ""

    def match(self, path: str) -> re.Match[str] | None:
        """The match of a file, whose path is relative to the plate's folder, with "/" between its parts."""
        if self.foreign and path.lower().endswith(self.foreign):
            path = f"{path.rsplit('.', 1)[0]}.tif"  # the same name, in another format
        name = path.rsplit("/", 1)[-1]
        for expression in self.expressions:
            if found := expression.fullmatch(path if "/" in expression.pattern else name):
                return found
        return None

    def is_derived(self, path: str) -> bool:
        """Whether a file is one that software made from others."""
        return self.derived is not None and self.derived.fullmatch(path.rsplit("/", 1)[-1]) is not None


_TIFF = r"\.tiff?"
_WELL = r"(?P<well>[A-Z]{1,2}\d{1,2})"


def _ready(layout: str, example: str, *expressions: str, derived: str = "", foreign: tuple = ()) -> NamePattern:
    return NamePattern(
        layout,
        [re.compile(expression + _TIFF, re.IGNORECASE) for expression in expressions],
        re.compile(derived + _TIFF, re.IGNORECASE) if derived else None,
        foreign=foreign,
        looked_for=f"files named such as {example}",
    )


READY_PATTERNS: Mapping[str, NamePattern] = {
    pattern.layout: pattern
    for pattern in (
        # GE/Cytiva IN Cell Analyzer. Field, wave, z and time are there if there are several; "wix" is a wave's index.
        _ready(
            "incell",
            "'B - 02(fld 1 wv DAPI - DAPI).tif', and their .xdce file",
            r"(?:.*_)?(?P<row>[A-Z]{1,2}) - (?P<column>\d{1,2})\((?:fld (?P<field>\d+) ?)?(?:wv (?P<channel>[^()]+?))?"
            r"(?: wix \d+)?(?: ?z (?P<z>\d+))?(?: ?-? ?time (?P<t>\d+)(?: - \d+ ?ms)?)?\)",
        ),
        # Agilent/BioTek Gen5: well, step of the procedure, channel's index, image in the well, channel, number of the
        # read. Steps with a negative number are computed (stitched, projected, deconvolved).
        _ready(
            "cytation",
            "A1_01_1_1_DAPI_001.tif",
            rf"{_WELL}(?:ROI\d+)?_\d{{1,3}}_\d{{1,2}}_(?P<field>\d+)(?:Z(?P<z>\d+))?_"
            r"(?P<channel>(?!Stitched|Tsf|ZProj)[^_][^/\[\]]*?)_(?P<t>\d{3})",
            rf"{_WELL}(?:ROI\d+)?_\d{{1,3}}_SP(?P<field>\d+)(?:Z(?P<z>\d+))?_C\d+_(?P<channel>[^/\[\]]+?)_T(?P<t>\d{{3}})",
            derived=rf"{_WELL}(?:ROI\d+)?(?:_-\d+_.*|_.*(?:Stitched|Tsf|ZProj).*)",
        ),
        # Thermo Fisher EVOS, which end as names of ArrayScan do: tried first. R is raw, D displayed, M merged.
        _ready(
            "evos",
            "scan_R_p2_z1_0_B03f01d0.tif",
            rf".+_R_p(?P<t>\d+)_z(?P<z>\d+)_\d+_{_WELL}f(?P<field>\d{{2,3}})(?P<channel>d\d)",
            derived=r".+_[DM]_p\d+_z\d+_\d+_.*",
        ),
        # Thermo Fisher (Cellomics) ArrayScan, CellInsight: fixed end point, and kinetic.
        _ready(
            "arrayscan",
            "MFGTMP-PC_140206180002_A01f00d0.TIF",
            r"(?!.*_[RDM]_p\d+_z\d+_\d+_)(?:.*_)?(?P<well>[A-Z]\d{2})f(?P<field>\d{2,3})(?P<channel>d\d)",
            r".*i3t(?P<t>\d{3})(?P<well>[A-Z]\d{2})f(?P<field>\d{2,3})(?P<channel>d\d)",
            foreign=(".c01", ".dib"),
        ),
        # Sartorius Incucyte: the channel is in the folder or before the well; the time is elapsed, or a date.
        _ready(
            "incucyte",
            "VID1234_A1_1_2020y01m01d_00h00m.tif",
            rf"(?P<channel>(?:[^/]*/)*[^/]*?)_{_WELL}_(?P<field>\d{{1,3}})"
            r"_(?P<t>\d{4}y\d{2}m\d{2}d_\d{2}h\d{2}m|\d{2,3}d\d{2}h\d{2}m)",
        ),
        # Evident (Olympus) ScanR.
        _ready(
            "scanr",
            "A1--W00001--P00001--Z00000--T00000--DAPI.tif",
            rf"{_WELL}--W\d{{5}}--P(?P<field>\d{{5}})--Z(?P<z>\d{{5}})--T(?P<t>\d{{5}})--(?P<channel>[^/]+)",
        ),
        # Micro-Manager's HCS plugin, images as single files: 2.0, then 1.4.
        _ready(
            "micromanager",
            "A1-Site_0/img_channel000_position000_time000000000_z000.tif",
            rf"(?:[^/]*/)*{_WELL}-Site_(?P<field>\d+)/(?:Default/)?"
            r"img_(?P<channel>channel\d{3})_position\d{3}_time(?P<t>\d{9})_z(?P<z>\d{3})",
            rf"(?:[^/]*/)*{_WELL}-Site_(?P<field>\d+)/img_(?P<t>\d{{9}})_(?P<channel>[^/]+)_(?P<z>\d{{3}})",
        ),
    )
}
"""Patterns of common instruments, by the name of their layout."""


def name_pattern(layout: Mapping[str, Any]) -> NamePattern:
    """The pattern that a mapping of the configuration stands for.

    layout : ``{"pattern": EXPRESSION}`` or ``{"name": one of READY_PATTERNS}``, either with ``"pages"``, one of `PAGES`

    Raises
    ------
    InputError
        If the mapping has other keys or values, or the expression cannot be used; see `compile_pattern`.
    """
    where = "plates: {layout: ...}"
    for key in layout:
        check_known(f"key of {where}", str(key), ("pattern", "name", "pages"))
    if ("pattern" in layout) == ("name" in layout):
        raise InputError(f"{where}: give either 'pattern', a regular expression, or 'name', that of a ready pattern")
    pages = str(layout.get("pages") or "")
    if pages:
        check_known(f"value of 'pages' in {where}", pages, PAGES)
    if "name" in layout:
        check_known("pattern of file names", str(layout["name"]), READY_PATTERNS)
        found = READY_PATTERNS[str(layout["name"])]
    else:
        expression = compile_pattern(str(layout["pattern"]))
        found = NamePattern(PATTERN, [expression], looked_for=f"files whose names match {expression.pattern!r}")
    return NamePattern(found.layout, found.expressions, found.derived, pages, found.foreign, found.looked_for)


def compile_pattern(expression: str) -> re.Pattern[str]:
    """A regular expression for file names, checked.

    Raises
    ------
    InputError
        If it is no regular expression; has a named group that is not in `GROUPS`; does not tell the well, or tells it
        twice; or could take for ever on some name: repeats a part that itself repeats or has alternatives.
    """
    where = f"the pattern of file names {expression!r}"
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)  # "[[" may mean something else one day
            compiled = re.compile(expression)
    except (re.error, OverflowError, RecursionError) as error:
        raise InputError(f"{where} is not a regular expression: {error}") from error
    for group in compiled.groupindex:
        check_known(f"group in {where}:", group, GROUPS)
    named = set(compiled.groupindex)
    if "well" in named and named & {"row", "column"}:
        raise InputError(f"{where} has the group 'well' beside 'row' or 'column': one of both tells the well")
    if "well" not in named and not {"row", "column"} <= named:
        lacks = " and ".join(repr(name) for name in ("row", "column") if name not in named)
        raise InputError(
            f"{where} does not tell the well: it needs a group (?P<well>...), or (?P<row>...) and (?P<column>...)"
            + (f"; {lacks} is missing" if len(named & {"row", "column"}) == 1 else "")
        )
    if part := _nested_repeat(expression):
        raise InputError(
            f"{where} repeats {part!r}, which repeats or has alternatives itself: on some names that takes for ever; "
            "write it without the repeat inside"
        )
    return compiled


def _nested_repeat(expression: str) -> str:
    """The first group that is repeated without bound and holds such a repeat, or alternatives; "" if there is none."""
    # Parts of a path, `[^/]+/`, can be repeated: they end in one way. Escapes and sets hold no repeat.
    plain = re.compile(r"\[\^/\][*+]/|\\.|\[\^?\]?(?:\\.|[^\]\\])*\]", re.DOTALL)
    without_sets = plain.sub(lambda found: "x" * len(found[0]), expression)
    repeat = re.compile(r"[*+]|\{\d*,\}")
    open_groups: list[tuple[int, bool]] = []  # where a group begins, and whether it repeats or branches inside
    for at, letter in enumerate(without_sets):
        if letter == "(":
            open_groups.append((at, False))
        elif letter == ")" and open_groups:
            start, varies = open_groups.pop()
            if varies and repeat.match(without_sets, at + 1):
                return expression[start : at + 2]
            if varies and open_groups:
                open_groups[-1] = (open_groups[-1][0], True)
        if open_groups and (letter == "|" or (letter != "(" and repeat.match(without_sets, at))):
            open_groups[-1] = (open_groups[-1][0], True)
    return ""
