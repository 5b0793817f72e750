"""The index that PerkinElmer / Revvity software writes (`EvaluationInputData`): Harmony and Columbus share it."""

import itertools
import json
import math
import re
from collections.abc import Collection, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from xml.etree.ElementTree import Element

import pandas as pd

from equinuclei.errors import InputError, reading
from equinuclei.sources.plates.listing import locate_listed
from equinuclei.sources.plates.planes import (
    NO_FILE,
    child_text,
    fill_missing_sizes,
    make_planes,
    parse_xml,
    to_float,
    unique_names,
)
from equinuclei.wells import well_name

ROOT = "EvaluationInputData"

_NUMBERS = r"(\[[^\]]*\])"
_PROFILE = re.compile(
    r"(Background|Foreground): \{(?:(?!Background: |Foreground: ).)*?Profile: \{Coefficients: (\[\[.*?\]\]), "
    rf"Dims: {_NUMBERS}, Origin: {_NUMBERS}, Scale: {_NUMBERS}, Type: (\w+)\}}",
    re.DOTALL,
)
_MEAN = re.compile(r"Background: \{(?:(?!Profile: ).)*?Mean: ([-+.\dEe]+)", re.DOTALL)
_PLANE = ("Row", "Col", "FieldID", "ChannelID", "PlaneID")
# What differs between any two images, and distinguishes none.
_ALWAYS_DIFFERENT = {"id", "URL", "AbsTime", "MeasurementTimeOffset", "PositionZ", "AbsPositionZ"}

Moment = tuple[int, ...]


@dataclass(frozen=True)
class EvaluationIndex:
    """An index: where it lies, its root without the images, and what it says of each image, by name of the element.

    `BufferNo` is the attribute of that name of an image's `URL`. Facts on the channel are filled in.
    """

    path: Path
    root: Element
    images: list[dict[str, str]]

    @property
    def plate(self) -> Element:
        found = self.root.find("Plates/Plate")
        return Element("Plate") if found is None else found


def is_index(path: Path) -> bool:
    """Whether a file begins like such an index: other software writes an `Index.xml` too."""
    with reading(path), path.open("rb") as file:
        return ROOT.encode() in file.read(4096)


def read_index(path: Path) -> EvaluationIndex:
    """Read an index.

    Raises
    ------
    InputError
        If it is not such an index, damaged, or lists no image.
    """
    images: list[dict[str, str]] = []

    def keep(element: Element) -> None:
        # In the lists of wells, images are only named by their id.
        if len(element):
            image = {child.tag: (child.text or "").strip() for child in element}
            url = element.find("URL")
            if url is not None and url.get("BufferNo") is not None:
                image["BufferNo"] = url.get("BufferNo", "")
            images.append(image)

    root = parse_xml(path, path, each={"Image": keep})
    if root.tag != ROOT:
        raise InputError(f"{path}: begins with {root.tag!r}, not with {ROOT!r}: it is not a Harmony index")
    if not images:
        raise InputError(f"{path}: lists no image")
    channels = channel_facts(root)
    for image in images:
        for key, value in channels.get(image.get("ChannelID", ""), {}).items():
            image.setdefault(key, value)
    return EvaluationIndex(path, root, images)


def read_planes(indexes: Sequence[EvaluationIndex], index_names: Collection[str]) -> tuple[pd.DataFrame, dict]:
    """The table of planes (see `make_planes`) of indexes of one plate, in the order of time, and metadata on them.

    The stage's y axis points up and positions are those of the centres of fields; both are converted. An image without
    URL was not recorded. The metadata has `flat_field`, profiles by channel; and `times`, a name for each time point,
    where time points consist of several things.

    index_names : names of such indexes; folders with one of their own are not searched for images.

    Raises
    ------
    InputError
        If an image's facts cannot be used, images cannot be kept apart, or the plate is a measurement of fluorescence
        lifetimes (FLIM).
    """
    images = [image for index in indexes for image in index.images]
    where = indexes[0].path
    if not any(image.get("URL") for image in images):
        raise InputError(f"{where}: names a file for none of its {len(images)} images: the instrument recorded none")
    _check_no_lifetimes(images, where)
    names = unique_names({image.get("ChannelID", ""): image.get("ChannelName", "") for image in images})
    rows: list[dict] = []
    for index in indexes:
        places = locate_listed(
            index.path, {image["URL"]: None for image in index.images if image.get("URL")}, index_names
        )
        rows += [_row(image, names, places, index.path) for image in index.images]
    fill_missing_sizes(rows, where)
    lowest = min(row["z"] for row in rows)
    for row in rows:
        row["z"] -= min(lowest, 0)  # of planes that are counted from 0
    metadata: dict = {
        "flat_field": {
            names[number]: profile
            for number, facts in channel_facts(indexes[0].root).items()
            if number in names and (profile := flat_field(facts.get("FlatfieldProfile", "")))
        }
    }
    times = _set_times(rows, images, indexes)
    if times:
        metadata["times"] = times

    def record(row: int) -> dict[str, str]:
        return {name: value for name, value in images[row].items() if name not in _ALWAYS_DIFFERENT}

    return make_planes(rows, where, record), metadata


def flat_field(text: str) -> dict:
    """Flat-field profiles of a channel, as Harmony writes them.

    Returns
    -------
    dict
        `background` and `foreground`, if they are given as polynomials: coefficients by degree (of x^i y^j, with i + j
        the degree), dims (x, y), origin and scale in pixels, or the type "damaged" alone; and `mean`, the mean of the
        background, if it is known. Empty for a channel without profile.
    """
    profile: dict = {}
    for which, coefficients, *pairs, kind in _PROFILE.findall(text):
        try:
            rows, (dims, origin, scale) = json.loads(coefficients), map(json.loads, pairs)
            sound = all(_are_numbers(row, degree + 1) for degree, row in enumerate(rows))
            sound = sound and all(_are_numbers(pair, 2) for pair in (dims, origin, scale))
        except (ValueError, RecursionError):
            sound = False
        # Whoever asks for the correction is told.
        known = {"type": kind, "coefficients": rows, "dims": dims, "origin": origin, "scale": scale} if sound else {}
        profile[which.lower()] = known or {"type": "damaged"}
    mean = _MEAN.search(text)
    if profile and mean:
        profile["mean"] = to_float(mean[1])
    return profile


def _are_numbers(values: object, count: int) -> bool:
    """Whether something is a list of so many finite numbers."""
    if not isinstance(values, list) or len(values) != count:
        return False
    return all(type(value) in (int, float) and math.isfinite(value) for value in values)


def channel_facts(root: Element) -> dict[str, dict[str, str]]:
    """Facts by ChannelID. V7 spreads them over several maps; V5 only has the flat-field profiles there."""
    facts: dict[str, dict[str, str]] = {}
    for entry in root.iterfind("Maps/Map/Entry"):
        known = facts.setdefault(entry.get("ChannelID", ""), {})
        known.update({child.tag: (child.text or "").strip() for child in entry if child.tag != "SkewcropParameters"})
    return facts


def plate_facts(index: EvaluationIndex) -> dict:
    """What an index says of the plate, for the metadata."""
    plate, image = index.plate, index.images[0]
    magnification, aperture = image.get("ObjectiveMagnification", ""), image.get("ObjectiveNA", "")
    return {
        "instrument": child_text(index.root, "InstrumentType"),
        "objective": (f"{magnification}x" if magnification else "") + (f" NA {aperture}" if aperture else ""),
        "barcode": child_text(plate, "PlateID"),
        "measurement": child_text(plate, "MeasurementID"),
        "started": child_text(plate, "MeasurementStartTime"),
        "plate_type": child_text(plate, "PlateTypeName"),
        "rows": _count(child_text(plate, "PlateRows")),
        "columns": _count(child_text(plate, "PlateColumns")),
        "index": str(index.path),
    }


def _check_no_lifetimes(images: Sequence[Mapping[str, str]], where: Path) -> None:
    lifetimes: dict[tuple[str, str], dict[str, None]] = {}
    for image in images:
        if image.get("FlimID"):
            channel = (image.get("ChannelID", ""), image.get("ChannelName", ""))
            lifetimes.setdefault(channel, {})[image["FlimID"]] = None
    several = [f"{name or number!r} (FlimID {', '.join(i)})" for (number, name), i in lifetimes.items() if len(i) > 1]
    if several:
        raise InputError(
            f"{where}: is a measurement of fluorescence lifetimes (FLIM): a plane has several images in the channels "
            f"{', '.join(several)}. Lifetimes are not read: export the intensity images alone, and give that export"
        )


def _row(image: Mapping[str, str], names: Mapping[str, str], places: Mapping[str, str], index: Path) -> dict:
    try:
        well = well_name(int(image["Row"]), int(image["Col"]))
        number, plane, time = int(image["FieldID"]), int(image["PlaneID"]), int(image.get("TimepointID") or 0)
        page = int(image.get("BufferNo") or 0)
        if page < 0:
            raise ValueError(f"BufferNo {page} is negative")
    except (KeyError, ValueError) as error:
        raise InputError(f"{index}: image {image.get('id', '?')!r} cannot be used: {error}") from error
    height, width = _count(image.get("ImageSizeY")), _count(image.get("ImageSizeX"))
    metres = to_float(image.get("ImageResolutionX"))
    pixel_size = metres * 1e6 if metres > 0 else math.nan
    emission = to_float(image.get("MainEmissionWavelength"))
    y, x = -to_float(image.get("PositionY")) * 1e6, to_float(image.get("PositionX")) * 1e6
    url = image.get("URL", "")
    return {
        "well": well,
        "field": number,
        "channel": names[image.get("ChannelID", "")],
        "wavelength": emission if emission > 0 else math.nan,  # 0 for transmitted light
        "z": plane - 1,
        "t": time,
        "path": places[url] if url else NO_FILE,
        "page": page if url else 0,
        "y": y - height * pixel_size / 2,
        "x": x - width * pixel_size / 2,
        "height": height,
        "width": width,
        "pixel_size": pixel_size,
        "acquired": image.get("AbsTime", ""),
    }


def _set_times(
    rows: Sequence[dict], images: Sequence[Mapping[str, str]], indexes: Sequence[EvaluationIndex]
) -> list[str]:
    """Number the time points of rows, in place, where they are not TimepointIDs alone; then their names, in order.

    A plane can be imaged several times within a time point (SequenceID, fast kinetics), and each index of several can
    count its own time points. Each such moment becomes a time point of its own.

    Raises
    ------
    InputError
        If no order of the moments is that of the times at which the images were taken.
    """
    planes = [tuple(image.get(name, "") for name in _PLANE) for image in images]
    moments: list[Moment] = [(row["t"],) for row in rows]
    parts = ["time"]
    folders = [number for number, index in enumerate(indexes) for _ in index.images]
    if _several_each(zip(planes, moments, strict=True), folders):
        moments = [(folder, *moment) for folder, moment in zip(folders, moments, strict=True)]
        parts = ["folder", "time"]
    sequences = [image.get("SequenceID", "") for image in images]
    if _several_each(zip(planes, moments, strict=True), sequences):
        if not all(number.isdecimal() for number in sequences):
            raise InputError(f"{indexes[0].path}: an image has the SequenceID {min(sequences)!r}, which is no number")
        moments = [(*moment, int(number)) for moment, number in zip(moments, sequences, strict=True)]
        parts.append("sequence")
    if parts == ["time"]:
        return []
    taken = [_seconds(image.get("AbsTime", "")) for image in images]
    if not _is_order_of_time(planes, moments, taken) and parts[-1] == "sequence":
        # All time points of one sequence before those of the next.
        moments, parts = [(*m[:-2], m[-1], m[-2]) for m in moments], [*parts[:-2], parts[-1], parts[-2]]
    if not _is_order_of_time(planes, moments, taken):
        raise InputError(
            f"{indexes[0].path}: images of a plane differ in {' and '.join(parts)}, and no order of these is the order "
            "of their AbsTime: export one of them at a time"
        )
    ordered = sorted(set(moments))
    numbers = {moment: number for number, moment in enumerate(ordered)}
    for row, moment in zip(rows, moments, strict=True):
        row["t"] = numbers[moment]
    return [
        ", ".join(
            f"{part} {indexes[value].path.parent.name if part == 'folder' else value}"
            for part, value in zip(parts, moment, strict=True)
        )
        for moment in ordered
    ]


def _several_each(keys: Iterable[Hashable], values: Iterable[Hashable]) -> bool:
    """Whether one key has different values."""
    first: dict[Hashable, Hashable] = {}
    return any(first.setdefault(key, value) != value for key, value in zip(keys, values, strict=True))


def _is_order_of_time(planes: Sequence[tuple], moments: Sequence[Moment], taken: Sequence[float]) -> bool:
    """Whether the images of every plane, in the order of their moments, were taken one after the other."""
    by_plane: dict[tuple, list[tuple[Moment, float]]] = {}
    for plane, moment, seconds in zip(planes, moments, taken, strict=True):
        if not math.isnan(seconds):
            by_plane.setdefault(plane, []).append((moment, seconds))
    return all(
        earlier[1] <= later[1] for images in by_plane.values() for earlier, later in itertools.pairwise(sorted(images))
    )


def _seconds(text: str) -> float:
    try:
        return datetime.fromisoformat(text).timestamp()
    except (ValueError, OverflowError):
        return math.nan


def _count(text: str | None) -> int:
    value = to_float(text)
    return int(value) if value > 0 else 0
