"""Which planes of a plate are to be used: channels, planes of a stack, time points, acquisitions."""

from collections.abc import Iterable

import numpy as np
import pandas as pd

from equinuclei.channels import find_channel, listed
from equinuclei.errors import InputError
from equinuclei.sources.plates.planes import PROJECTION, PlateSource
from equinuclei.wells import parse_well


def choose_channels(source: PlateSource, channel: str | float | Iterable[str | float] | None = None) -> list[str]:
    """Names of the channels that `channel` selects (see `choose_planes`), in that order."""
    wavelengths = source.planes.groupby("channel")["wavelength"].agg(lambda known: known.iloc[0])
    names = list(wavelengths.index)
    if channel is None:
        return names
    wanted = [channel] if isinstance(channel, str | int | float | np.number) else channel
    plate = f"plate {source.name!r}"
    chosen = list(dict.fromkeys(find_channel(plate, wavelengths.to_dict(), one) for one in wanted))
    if not chosen:
        raise InputError(f"{plate}: no channel is selected; it has {listed(names)}")
    return chosen


def choose_planes(
    source: PlateSource,
    channel: str | float | Iterable[str | float] | None = None,
    z: int | str | None = None,
    t: int | str | None = None,
    acquisition: int | None = None,
) -> pd.DataFrame:
    """The planes of a plate that are to be used.

    Parameters
    ----------
    source
        A plate.
    channel
        Name of a channel (case-insensitive), its emission wavelength in nanometres (the nearest within
        `equinuclei.channels.WAVELENGTH_TOLERANCE`), or several of either. None: all channels.
    z
        A plane counted from 0; or "max" or "mean": all planes, for the caller to project. None is the instrument's
        projection if there is one, otherwise "max". For fields without planes (some exports contain only projections),
        the projection is used for every z; so is the plane of a channel that has a single one.
    t
        Number of a time point; "first" (or None), "last" or "all". First and last are those of each channel, and a
        channel that was imaged once, such as a stain at the end, is taken at that time whatever the number.
    acquisition
        Number of an acquisition; None: all.

    Returns
    -------
    pandas.DataFrame
        Columns of `PlateSource.planes`. Several rows of one well, field, channel and time point are planes to project.
        Within a well and field, channels are in the order in which they were selected.

    Raises
    ------
    InputError
        If there is no such channel, plane, time point or acquisition.
    """
    chosen = choose_channels(source, channel)
    planes = source.planes[source.planes["channel"].isin(chosen)]
    if acquisition is not None:
        known = sorted(set(planes["acquisition"]))
        if acquisition not in known:
            raise InputError(
                f"plate {source.name!r}: there is no acquisition {acquisition}; it has {', '.join(map(str, known))}"
            )
        planes = planes[planes["acquisition"] == acquisition]
        chosen = [name for name in chosen if name in set(planes["channel"])]
    planes = _choose_times(planes, t, source.name)
    planes = _choose_z(planes, z, source.name)
    order = {name: number for number, name in enumerate(chosen)}
    planes = planes.assign(_well=planes["well"].map(parse_well), _channel=planes["channel"].map(order))
    planes = planes.sort_values(["_well", "field", "_channel", "t", "z"], kind="stable", ignore_index=True)
    return planes.drop(columns=["_well", "_channel"])


def _choose_times(planes: pd.DataFrame, t: int | str | None, plate: str) -> pd.DataFrame:
    """The planes of the time points that t selects; see `choose_planes`."""
    if t == "all":
        return planes
    times = planes.groupby("channel")["t"]
    if t is None or t in ("first", "last"):
        return planes[planes["t"] == times.transform("max" if t == "last" else "min")]
    known = sorted({int(number) for number in planes["t"]})
    if t not in known:
        raise InputError(f"plate {plate!r}: there is no time point {t}; it has {known[0]} to {known[-1]}")
    chosen = planes[(planes["t"] == t) | (times.transform("nunique") == 1)]
    _check_channels(planes, chosen, f"time point {t}", plate)
    return chosen


def _check_channels(planes: pd.DataFrame, chosen: pd.DataFrame, what: str, plate: str) -> None:
    absent = [name for name in dict.fromkeys(planes["channel"]) if name not in set(chosen["channel"])]
    if absent:
        raise InputError(
            f"plate {plate!r}: channel {listed(absent)} has no {what}: choose the channels that have, or another one"
        )


def _choose_z(planes: pd.DataFrame, z: int | str | None, plate: str) -> pd.DataFrame:
    """The planes or projections of every well, field, channel and time point that z selects; see `choose_planes`."""
    projections, real = planes[planes["z"] == PROJECTION], planes[planes["z"] != PROJECTION]
    if z is None:
        preferred, others = projections, real
    elif z in ("max", "mean"):
        preferred, others = real, projections
    elif isinstance(z, int | np.integer) and not isinstance(z, bool):
        single = real.groupby("channel")["z"].transform("nunique") == 1
        preferred, others = real[(real["z"] == z) | (single & (real["z"] != z))], projections
        if z not in set(real["z"]) and others.empty:
            raise InputError(f"plate {plate!r}: there is no plane z {z}; it has {real['z'].min()} to {real['z'].max()}")
        _check_channels(planes, pd.concat([preferred, others]), f"plane z {z}", plate)
    else:
        raise InputError(f"z {z!r} is neither a plane counted from 0, nor 'max' or 'mean'")
    keys = ["well", "field", "channel", "t"]
    found = set(preferred[keys].itertuples(index=False, name=None))
    needed = [key not in found for key in others[keys].itertuples(index=False, name=None)]
    return pd.concat([preferred, others[np.array(needed, bool)]]) if len(others) else preferred
