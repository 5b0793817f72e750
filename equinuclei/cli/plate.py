"""`equinuclei plate`: what is read of a microscope's folder, without converting it."""

import argparse
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from equinuclei.errors import InputError
from equinuclei.runtime.printable import printable

if TYPE_CHECKING:  # `--help` need not wait for pandas
    import pandas as pd

    from equinuclei.sources.plates import PlateSource

DESCRIPTION = """\
Say what a plate's folder holds, as the workflow would read it: layout, wells, fields, channels, stacks, and the files
that would be left out. Nothing is converted or written. Try a pattern of file names here before it goes into the
configuration (`plates: {layout: {pattern: ...}}`).
"""

EPILOG = """\
examples:
  equinuclei plate /data/inbox/PLATE7
  equinuclei plate /data/inbox/PLATE7 --layout incell
  equinuclei plate /data/inbox/PLATE7 --pattern '(?P<well>[A-P]\\d+)_s(?P<field>\\d+)_w(?P<channel>\\d)\\.tif'

exit status: 0, the plate can be read; 1, it cannot, and the message says why; 2, the command line is wrong.
"""

SHOWN = 5
"""Files and planes that are named, of many."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command line."""
    parser.add_argument(
        "folder", metavar="FOLDER", type=Path, help="of one plate, its index file, or a table of planes"
    )
    how = parser.add_mutually_exclusive_group()
    how.add_argument("--layout", metavar="NAME", help="how it lies on disk; by default that is found by looking")
    how.add_argument(
        "--pattern", metavar="REGEX", help="how its files are named: a regular expression (docs/plates.md)"
    )
    parser.add_argument("--pages", metavar="WHAT", help="what the pages of a file with several are: z, channel or t")


def run(arguments: argparse.Namespace) -> int:
    """Print what the plate is. Returns the exit status."""
    # Not at the top: `--help` need not wait for pandas and zarr.
    from equinuclei.sources.plates import find_plate_source

    source = find_plate_source(arguments.folder, _layout(arguments))
    print(printable("\n".join(described(source, arguments.folder))))
    return 0


def _layout(arguments: argparse.Namespace) -> str | Mapping | None:
    pages = {"pages": arguments.pages} if arguments.pages else {}
    if arguments.pattern is not None:
        return {"pattern": arguments.pattern, **pages}
    if pages and arguments.layout is None:
        raise InputError("--pages needs --pattern, or --layout with the name of a ready pattern of file names")
    return {"name": arguments.layout, **pages} if pages else arguments.layout


def described(source: "PlateSource", folder: Path) -> list[str]:
    """Lines that say what a plate is, for a person to read."""
    planes = source.planes
    fields = planes.groupby("well", sort=False)["field"].nunique()
    lines = [
        f"plate          {source.name}",
        f"layout         {source.layout}",
        f"wells          {len(fields)}",
        *(f"               {line}" for line in _grid(list(fields.index))),
        f"fields         {_counts(fields)}",
        "channels       " + _channels(planes),
        f"z planes       {_z_planes(planes)}",
        f"time points    {planes['t'].nunique()}",
    ]
    acquisitions = sorted(set(planes["acquisition"]))
    if len(acquisitions) > 1:
        lines.append(f"acquisitions   {len(acquisitions)} (numbers {', '.join(map(str, acquisitions))})")
    lines += [
        f"image size     {_sizes(planes)}",
        f"pixel size     {_pixel_sizes(planes)}",
        f"planes         {len(planes)}, in {planes.loc[planes['path'] != '', 'path'].nunique()} files",
        *_absent(source),
        *_left_out(source, folder),
    ]
    return lines


def _grid(wells: Sequence[str]) -> list[str]:
    """The wells by row: "B: 02 03 05"."""
    rows: dict[str, list[str]] = {}
    for well in wells:
        rows.setdefault(well.rstrip("0123456789"), []).append(well.lstrip("ABCDEFGHIJKLMNOPQRSTUVWXYZ"))
    return [f"{row}: {' '.join(columns)}" for row, columns in rows.items()]


def _counts(fields: "pd.Series") -> str:
    counts = Counter(int(count) for count in fields)
    if len(counts) == 1:
        return f"{next(iter(counts))} per well"
    (most, _), *_ = counts.most_common(1)
    fewer = [f"{well} {count}" for well, count in fields.items() if count != most]
    return f"{min(counts)} to {max(counts)} per well; not {most}: {_some(fewer)}"


def _channels(planes: "pd.DataFrame") -> str:
    wavelengths = planes.groupby("channel", sort=False)["wavelength"].first()
    return ", ".join(name if wave != wave else f"{name} ({wave:g} nm)" for name, wave in wavelengths.items())


def _z_planes(planes: "pd.DataFrame") -> str:
    real = planes.loc[planes["z"] >= 0, "z"].nunique()
    return f"{real}" + (" and projections by the instrument" if (planes["z"] < 0).any() else "")


def _sizes(planes: "pd.DataFrame") -> str:
    sizes = Counter(zip(planes["height"], planes["width"], strict=True))
    return _some([f"{height} x {width} pixels" for (height, width), _ in sizes.most_common()])


def _pixel_sizes(planes: "pd.DataFrame") -> str:
    sizes = sorted({round(float(size), 6) for size in planes["pixel_size"].dropna()})
    return f"{', '.join(f'{size:g}' for size in sizes)} micrometres" if sizes else "unknown"


def _absent(source: "PlateSource") -> list[str]:
    """Planes without an image: files that are listed and not there, images not recorded, what was only planned."""
    paths = source.planes["path"]
    gone = [path for path in paths.unique() if path and not Path(path).exists()]
    lines = [f"absent files   {len(gone)} are listed: {_some([Path(path).name for path in gone])}"] if gone else []
    if count := int((paths == "").sum()):
        lines.append(f"not recorded   {count} planes: the index lists them without a file")
    if len(source.planned):
        named = [f"{row.well} field {row.field} {row.channel}" for row in source.planned.itertuples()]
        lines.append(f"not there      {len(source.planned)} planes were planned and are absent: {_some(named)}")
    return lines


def _left_out(source: "PlateSource", folder: Path) -> list[str]:
    """Files that are no part of the plate: those set aside by reason, and those that the layout does not know."""
    lines = []
    for reason, count in Counter(source.set_aside.values()).items():
        example = next(path for path, why in source.set_aside.items() if why == reason)
        lines.append(f"set aside      {count}: {reason} ({Path(example).name})")
    if unknown := _unknown_images(source, folder):
        lines.append(f"not matched    {len(unknown)} images belong to no plane: {_some(unknown)}")
    return lines


def _unknown_images(source: "PlateSource", folder: Path) -> list[str]:
    from equinuclei.sources.plates.folder_files import image_files

    root = folder.absolute() if folder.is_dir() else folder.absolute().parent
    known = {*source.planes["path"], *source.set_aside}
    outside = [name for name in image_files(root) if str(root / name) not in known]
    return [name for name in outside if not any(str(parent) in known for parent in (root / name).parents)]


def _some(names: Sequence[str]) -> str:
    more = f", and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return ", ".join(names[:SHOWN]) + more
