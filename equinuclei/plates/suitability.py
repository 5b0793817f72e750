"""Whether the settings suit a plate: told at the scan, before anything of it is converted."""

from collections.abc import Sequence
from pathlib import Path

from equinuclei.channels import ChannelChoice, find_channel
from equinuclei.errors import InputError, UnavailableError, is_of_the_system
from equinuclei.plates.quality import read_plate_map
from equinuclei.plates.scan_table import BAD_MAP, NO_CHANNEL
from equinuclei.sources.plates.contents import Contents
from equinuclei.wells import few, parse_well


def find_problem(
    contents: Contents,
    channel: ChannelChoice | None,
    channels: Sequence[str | float] | None = None,
    acquisition: int | None = None,
    plate_map: str | Path | None = None,
) -> tuple[str, str] | None:
    """Status and reason of a plate whose channel or plate map cannot be used; None where all is well.

    channel : the one that nuclei are seen in; channels, acquisition : those to convert, None for all; plate_map : the
    file that says what is in its wells, or nothing. Raises UnavailableError if that cannot be read now.
    """
    plate = f"plate {contents.barcode!r}"
    try:
        names = contents.channels if channels is None else [find_channel(plate, contents.channels, c) for c in channels]
        converted = [name for name in names if acquisition in (None, contents.acquisitions.get(name))]
        find_channel(plate, {name: contents.channels[name] for name in converted}, channel)
    except InputError as error:
        return NO_CHANNEL, str(error)
    try:
        if plate_map:
            _check_plate_map(contents, plate_map)
    except InputError as error:
        if is_of_the_system(error) and not isinstance(error.__cause__, FileNotFoundError):
            raise UnavailableError(f"{plate_map}: cannot be read now ({error.__cause__})") from error
        return BAD_MAP, str(error)
    return None


def not_to_be_converted(
    contents: Contents, channels: Sequence[str | float] | None, t: int | str | None, acquisition: int | None
) -> list[str]:
    """What these settings leave out of a plate, in words; `equinuclei.plates.ledger` knows it exactly afterwards."""
    found = []
    if contents.times > 1 and t != "all":
        found.append(f"{contents.times - 1} of {contents.times} time points are not converted (t: {t or 'first'})")
    if contents.depth > 1:
        found.append(f"of {contents.depth} planes of a stack, one or a projection is kept")
    plate = f"plate {contents.barcode!r}"
    chosen = contents.channels if channels is None else [find_channel(plate, contents.channels, c) for c in channels]
    left = [
        name
        for name in contents.channels
        if name not in chosen or acquisition not in (None, contents.acquisitions.get(name))
    ]
    return [*found, f"not converted: channel {few(left)}"] if left else found


def _check_plate_map(contents: Contents, path: str | Path) -> None:
    """Raise InputError for a plate map that cannot be read, or is that of another plate."""
    wells = list(read_plate_map(path)["well"])
    if contents.shape is not None:
        rows, columns = contents.shape
        outside = [well for well in wells if parse_well(well)[0] > rows or parse_well(well)[1] > columns]
        if outside:
            raise InputError(f"{path}: well {few(outside)} is not on a plate of {rows} rows and {columns} columns")
    if not contents.wells & set(wells):
        imaged = few(sorted(contents.wells, key=parse_well))
        raise InputError(f"{path}: none of its wells was imaged: these were {imaged}")
