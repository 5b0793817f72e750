"""Layout "harmony": PerkinElmer / Revvity Harmony exports (Opera Phenix, Operetta), XML of versions V5, V6 and V7."""

import json
import math
import re
from pathlib import Path
from xml.etree.ElementTree import Element

from equinuclei.errors import InputError
from equinuclei.sources.plates.planes import (
    PlateSource,
    child_text,
    fill_missing_sizes,
    listed_path,
    make_planes,
    parse_xml,
    to_float,
    unique_names,
)
from equinuclei.wells import well_name

INDEX_NAMES = ("Index.idx.xml", "Index.xml")
LOOKED_FOR = "Index.idx.xml or Index.xml, here, in Images/ or one folder above"

_NUMBERS = r"(\[[^\]]*\])"
_PROFILE = re.compile(
    r"(Background|Foreground): \{(?:(?!Background: |Foreground: ).)*?Profile: \{Coefficients: (\[\[.*?\]\]), "
    rf"Dims: {_NUMBERS}, Origin: {_NUMBERS}, Scale: {_NUMBERS}, Type: (\w+)\}}",
    re.DOTALL,
)
_MEAN = re.compile(r"Background: \{(?:(?!Profile: ).)*?Mean: ([-+.\dEe]+)", re.DOTALL)


def find_harmony(path: Path) -> Path | None:
    """The index of a Harmony export at or beside `path`, or None."""
    if path.is_file():
        return path if path.name in INDEX_NAMES else None
    for folder in (path, path / "Images", path.parent):
        # The folder above is searched only for the export's own folder of images.
        if folder == path.parent and path.name != "Images":
            continue
        for name in INDEX_NAMES:
            if (folder / name).is_file():
                return folder / name
    return None


def read_harmony(path: Path) -> PlateSource:
    """Read a Harmony export (see `equinuclei.sources.plates.find_plate_source`).

    The stage's y axis points up and its positions are those of the centres of fields; both are converted.

    Raises
    ------
    InputError
        If there is no index, or it is not one of Harmony, damaged or incomplete.
    """
    index = find_harmony(path)
    if index is None:
        raise InputError(f"{path}: no Harmony export: looked for {LOOKED_FOR}")
    images: list[dict[str, str]] = []

    def keep(element: Element) -> None:
        # In the lists of wells, images are only named by their id.
        if len(element):
            images.append({child.tag: (child.text or "").strip() for child in element})

    root = parse_xml(index, index, each={"Image": keep})
    if root.tag != "EvaluationInputData":
        raise InputError(
            f"{index}: begins with {root.tag!r}, not with 'EvaluationInputData': it is not a Harmony index"
        )
    if not images:
        raise InputError(f"{index}: lists no image")
    channels = _channel_facts(root)
    for image in images:
        for key, value in channels.get(image.get("ChannelID", ""), {}).items():
            image.setdefault(key, value)
    folder = _image_folder(index, images[0].get("URL", ""))
    names = unique_names({image.get("ChannelID", ""): image.get("ChannelName", "") for image in images})
    found = root.find("Plates/Plate")
    plate = Element("Plate") if found is None else found
    barcode = child_text(plate, "PlateID")
    metadata = {
        "instrument": child_text(root, "InstrumentType"),
        "objective": _objective(images[0]),
        "barcode": barcode,
        "measurement": child_text(plate, "MeasurementID"),
        "started": child_text(plate, "MeasurementStartTime"),
        "plate_type": child_text(plate, "PlateTypeName"),
        "rows": _count(child_text(plate, "PlateRows")),
        "columns": _count(child_text(plate, "PlateColumns")),
        "index": str(index),
        "flat_field": {
            names[number]: profile
            for number, facts in channels.items()
            if number in names and (profile := flat_field(facts.get("FlatfieldProfile", "")))
        },
    }
    rows = [_row(image, names, folder, index) for image in images]
    fill_missing_sizes(rows, index)
    name = barcode or child_text(plate, "Name") or folder.parent.name
    return PlateSource(name, "harmony", make_planes(rows, index), metadata)


def flat_field(text: str) -> dict:
    """Flat-field profiles of a channel, as Harmony writes them.

    Returns
    -------
    dict
        `background` and `foreground`, if they are given as polynomials: coefficients by degree (of x^i y^j, with i + j
        the degree), dims (x, y), origin and scale in pixels; and `mean`, the mean of the background, if it is known.
        Empty for a channel without profile.
    """
    profile: dict = {}
    for which, coefficients, dims, origin, scale, kind in _PROFILE.findall(text):
        try:
            profile[which.lower()] = {
                "type": kind,
                "coefficients": json.loads(coefficients),
                "dims": json.loads(dims),
                "origin": json.loads(origin),
                "scale": json.loads(scale),
            }
        except ValueError:
            continue
    mean = _MEAN.search(text)
    if profile and mean:
        profile["mean"] = to_float(mean[1])
    return profile


def _channel_facts(root: Element) -> dict[str, dict[str, str]]:
    """Facts by ChannelID. V7 spreads them over several maps; V5 only has the flat-field profiles there."""
    facts: dict[str, dict[str, str]] = {}
    for entry in root.iterfind("Maps/Map/Entry"):
        known = facts.setdefault(entry.get("ChannelID", ""), {})
        known.update({child.tag: (child.text or "").strip() for child in entry if child.tag != "SkewcropParameters"})
    return facts


def _image_folder(index: Path, name: str) -> Path:
    """Where the files lie: beside the index, or in `Images/` beside the index."""
    for folder in (index.parent, index.parent / "Images"):
        if name and Path(listed_path(folder, name, index)).exists():
            return folder
    beside = index.parent / "Images"
    return beside if beside.is_dir() else index.parent


def _row(image: dict[str, str], names: dict, folder: Path, index: Path) -> dict:
    try:
        well = well_name(int(image["Row"]), int(image["Col"]))
        number, plane, time = int(image["FieldID"]), int(image["PlaneID"]), int(image.get("TimepointID") or 0)
        url = image["URL"]
    except (KeyError, ValueError) as error:
        raise InputError(f"{index}: image {image.get('id', '?')!r} cannot be used: {error}") from error
    height, width = _count(image.get("ImageSizeY")), _count(image.get("ImageSizeX"))
    metres = to_float(image.get("ImageResolutionX"))
    pixel_size = metres * 1e6 if metres > 0 else math.nan
    emission = to_float(image.get("MainEmissionWavelength"))
    y, x = -to_float(image.get("PositionY")) * 1e6, to_float(image.get("PositionX")) * 1e6
    return {
        "well": well,
        "field": number,
        "channel": names[image.get("ChannelID", "")],
        "wavelength": emission if emission > 0 else math.nan,  # 0 for transmitted light
        "z": plane - 1,
        "t": time,
        "path": listed_path(folder, url, index),
        "y": y - height * pixel_size / 2,
        "x": x - width * pixel_size / 2,
        "height": height,
        "width": width,
        "pixel_size": pixel_size,
        "acquired": image.get("AbsTime", ""),
    }


def _count(text: str | None) -> int:
    value = to_float(text)
    return int(value) if value > 0 else 0


def _objective(image: dict[str, str]) -> str:
    magnification, aperture = image.get("ObjectiveMagnification", ""), image.get("ObjectiveNA", "")
    return (f"{magnification}x" if magnification else "") + (f" NA {aperture}" if aperture else "")
