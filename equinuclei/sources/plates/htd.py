"""The plan of an ImageXpress acquisition, an `.HTD` file, and the planes that it names and a folder lacks."""

import csv
import math
from collections.abc import Collection, Mapping
from pathlib import Path

import pandas as pd

from equinuclei.errors import InputError, reading
from equinuclei.sources.plates.planes import PLANNED_COLUMNS, PROJECTION, no_planned_planes, to_float
from equinuclei.wells import well_name

Htd = Mapping[str, list[str]]

_MOST = {"XWells": 48, "YWells": 32, "XSites": 1000, "YSites": 1000, "NWavelengths": 100}
_MOST |= {"ZSteps": 10_000, "TimePoints": 100_000}
"""The largest numbers that a plan can have; the first two are those of a plate of 1536 wells."""

_PLAUSIBLE, _PER_PLANE = 1_000_000, 10_000
"""A plan may have so many planes, or so many for every plane that is there. It is held in memory."""


def read_htd(path: Path) -> dict[str, list[str]]:
    """Values by key of an .HTD file: Latin-1 text, with a key and its values on each line.

    Raises
    ------
    InputError
        If it is damaged, or is not one of MetaXpress.
    """
    with reading(path):
        lines = list(csv.reader(path.read_text(encoding="latin-1").splitlines(), skipinitialspace=True))
    if not lines or not lines[0] or lines[0][0] != "HTSInfoFile":
        raise InputError(f"{path}: does not begin with 'HTSInfoFile': it is not an .HTD file of MetaXpress")
    htd = {line[0]: line[1:] for line in lines if len(line) > 1 and line[1]}
    for key, most in _MOST.items():
        if (count := number_in(htd, key)) > most:
            raise InputError(
                f"{path}: {key} is {float(count):.6g}, and no instrument has more than {most:,}: it is damaged"
            )
    return htd


def number_in(htd: Htd, key: str) -> int:
    """A number of the plan, 0 if it is not given."""
    value = to_float(htd.get(key, ["0"])[0])
    return int(value) if value > 0 else 0


def text_in(htd: Htd, key: str) -> str:
    """A text of the plan, "" if it is not given."""
    return htd.get(key, [""])[0]


def planned_waves(htd: Htd) -> list[int]:
    """Numbers of the waves that are to be imaged."""
    numbers = range(1, (number_in(htd, "NWavelengths") or 1) + 1)
    return [number for number in numbers if text_in(htd, f"WaveCollect{number}").strip() != "0"]


def planned_steps(htd: Htd) -> int:
    """Number of planes of a stack that are to be imaged, 1 without a stack."""
    return max(1, number_in(htd, "ZSteps")) if _is_true(text_in(htd, "ZSeries")) else 1


def planned_times(htd: Htd) -> int:
    """Number of time points that are to be imaged."""
    return max(1, number_in(htd, "TimePoints"))


def plans_projection(htd: Htd) -> bool:
    """Whether the instrument is to make projections of stacks."""
    return _is_true(text_in(htd, "ZProjection")) and planned_steps(htd) > 1


def planned_sites(htd: Htd, found: Collection[int]) -> list[int]:
    """Numbers of the sites that are to be imaged, as file names give them.

    The plan is a grid of TRUE and FALSE, row by row. Of a grid that is selected in part, public readers know both ways
    to number its sites: the selected ones in turn, or all places of the grid. The sites that were `found` decide; if
    they fit neither, they are filled up with the lowest numbers, so that at least the number of sites is right.
    """
    if not _is_true(text_in(htd, "Sites")):
        return [1]
    width = number_in(htd, "XSites")
    selected = []
    for row in range(1, number_in(htd, "YSites") + 1):
        values = htd.get(f"SiteSelection{row}", [])
        selected += [_is_true(value) for value in (values[:width] if width else values)]
    count = max(1, sum(selected))
    in_turn = list(range(1, count + 1))
    in_grid = [place for place, chosen in enumerate(selected, 1) if chosen]
    for numbers in (in_turn, in_grid):
        if set(found) <= set(numbers):
            return numbers
    unused = (number for number in range(1, count + len(found) + 1) if number not in found)
    missing = max(0, count - len(set(found)))
    return sorted({*found, *(next(unused) for _ in range(missing))})


def planned_planes(htd: Htd, planes: pd.DataFrame, channels: Mapping[int, str]) -> pd.DataFrame:
    """Planes of the plan that a table of planes lacks (see `PlateSource.planned`).

    A plan with one plane per site and wave is met by any of them; projections stand for no plane of a planned stack.

    planes : with t counted from the first planned time point. channels : names by number of the wave.

    Raises
    ------
    InputError
        If the plan names a well that no plate has, or more planes than is plausible.
    """
    keys: dict[str, list] = {
        "well": _planned_wells(htd),
        "field": planned_sites(htd, sorted(set(planes["field"]))),
        "channel": [channels[wave] for wave in planned_waves(htd)],
        "t": list(range(planned_times(htd))),
    }
    steps = planned_steps(htd)
    total = math.prod(map(len, keys.values())) * steps
    if total > max(_PLAUSIBLE, _PER_PLANE * len(planes)):
        raise InputError(
            f"the .HTD file plans {total:,} planes, and {len(planes)} are there: it is damaged, or the plate was not "
            "copied whole"
        )
    there = planes
    if steps > 1:
        keys["z"] = list(range(steps))
        there = planes[planes["z"] != PROJECTION]
    plan = pd.MultiIndex.from_product(list(keys.values()), names=list(keys))
    if plan.empty:
        return no_planned_planes()
    lacking = plan[~plan.isin(pd.MultiIndex.from_frame(there[list(keys)]))].to_frame(index=False)
    if steps == 1:
        lacking["z"] = 0
    return lacking[PLANNED_COLUMNS].astype(no_planned_planes().dtypes.to_dict())


def absentees(htd: Htd, planes: pd.DataFrame, planned: pd.DataFrame, channels: Mapping[int, str]) -> dict:
    """What of a plan is wholly absent from a folder, for the metadata."""
    found_z = set(planes["z"])
    found_wells, found_channels = set(planes["well"]), set(planes["channel"])
    return {
        "absent_planes": len(planned),
        "absent_waves": [channels[wave] for wave in planned_waves(htd) if channels[wave] not in found_channels],
        "absent_z_steps": [z + 1 for z in range(planned_steps(htd)) if planned_steps(htd) > 1 and z not in found_z],
        "absent_wells": [well for well in _planned_wells(htd) if well not in found_wells],
    }


def _planned_wells(htd: Htd) -> list[str]:
    try:
        return [
            well_name(row, column)
            for row in range(1, number_in(htd, "YWells") + 1)
            for column, chosen in enumerate(htd.get(f"WellsSelection{row}", []), 1)
            if _is_true(chosen)
        ]
    except ValueError as error:
        raise InputError(f"the .HTD file plans a well that no plate has: {error}") from error


def _is_true(text: str) -> bool:
    return text.strip().upper() == "TRUE"
