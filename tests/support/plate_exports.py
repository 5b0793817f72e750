"""Small exports as instruments write them, with random pixels, for the tests of plates."""

import itertools
from pathlib import Path

import imageio.v3 as iio
import numpy as np
import tifffile

Pixels = dict[tuple, np.ndarray]  # by well, field, channel, z

HARMONY_NAMESPACES = {
    5: "http://www.perkinelmer.com/PEHH/HarmonyV5",
    6: "http://www.perkinelmer.com/PEHH/HarmonyV6",
    7: "43B2A954-E3C3-47E1-B392-6635266B0DD3/HarmonyV7",
}
PROFILE = (
    "{Background: {Character: NonFlat, Mean: 300.5, NoiseConst: 1.3, NonFlatness: {Original: 0.4, Random: INF}, "
    "Profile: {Coefficients: [[1.25], [0.5, -0.5]], Dims: [20, 16], Origin: [9.5, 7.5], Scale: [0.05, 0.0625], "
    "Type: Polynomial}, Quality: 1.0}, Channel: 1, ChannelName: DAPI, Version: Acapella:2013}"
)


def random_image(seed: int, shape: tuple[int, int] = (16, 20), dtype: str = "uint16") -> np.ndarray:
    return np.random.default_rng(seed).integers(1, 250 if dtype == "uint8" else 60000, shape).astype(dtype)


def write_harmony(
    folder: Path,
    version: int = 5,
    wells: tuple = ((2, 3), (27, 1)),
    centres: tuple = ((0.0, 0.0), (10.0, 0.0), (0.0, -8.0)),
    channels: tuple = ("DAPI", "Brightfield"),
    planes: int = 1,
    index: str = "Images/Index.xml",
    shape: tuple[int, int] = (16, 20),
) -> Pixels:
    """Fields at `centres`, (x, y) in micrometres with y pointing up; pixels of 0.5 micrometres."""
    (folder / "Images").mkdir(parents=True, exist_ok=True)
    pixels: Pixels = {}
    facts = {
        number: f"""<ChannelName>{name}</ChannelName><ImageResolutionX Unit="m">5E-07</ImageResolutionX>
<ImageSizeX>{shape[1]}</ImageSizeX><ImageSizeY>{shape[0]}</ImageSizeY>
<MainEmissionWavelength Unit="nm">{0 if name == "Brightfield" else 400 + 56 * number}</MainEmissionWavelength>
<ObjectiveMagnification Unit="">20</ObjectiveMagnification><ObjectiveNA Unit="">0.8</ObjectiveNA>"""
        for number, name in enumerate(channels, 1)
    }
    images = []
    numbered = itertools.product(wells, enumerate(centres, 1), range(1, planes + 1), enumerate(channels, 1))
    for seed, ((row, column), (field, (x, y)), plane, (number, name)) in enumerate(numbered):
        url = f"r{row:02d}c{column:02d}f{field:02d}p{plane:02d}-ch{number}sk1fk1fl1.tiff"
        letters = chr(64 + row) if row <= 26 else "A" + chr(64 + row - 26)
        image = random_image(seed, shape)
        pixels[f"{letters}{column:02d}", field, name, plane - 1] = image
        tifffile.imwrite(folder / "Images" / url, image)
        images.append(
            f"""<Image Version="1"><id>{row}K{field}</id><URL>{url}</URL><Row>{row}</Row><Col>{column}</Col>
<FieldID>{field}</FieldID><PlaneID>{plane}</PlaneID><TimepointID>{int(version == 7)}</TimepointID>
<ChannelID>{number}</ChannelID>{facts[number] if version < 7 else ""}
<PositionX Unit="m">{x * 1e-6}</PositionX><PositionY Unit="m">{y * 1e-6}</PositionY>
<AbsTime>2024-06-24T11:48:56-04:00</AbsTime></Image>"""
        )
    entries = "".join(f'<Entry ChannelID="{number}">{text}</Entry>' for number, text in facts.items())
    (folder / index).write_text(
        f"""<?xml version="1.0" encoding="utf-8"?>
<EvaluationInputData Version="1" xmlns="{HARMONY_NAMESPACES[version]}"><InstrumentType>Phenix</InstrumentType>
<Plates><Plate><PlateID>BAR 1</PlateID><MeasurementID>m-1</MeasurementID><PlateRows>32</PlateRows>
<PlateColumns>48</PlateColumns></Plate></Plates>
<Wells><Well><id>1</id><Row>1</Row><Image id="x" /></Well></Wells>
<Maps><Map><Entry ChannelID="1"><FlatfieldProfile>{PROFILE}</FlatfieldProfile></Entry></Map>
{f"<Map>{entries}</Map>" if version == 7 else ""}</Maps>
<Images>{"".join(images)}</Images></EvaluationInputData>""",
        encoding="utf-8-sig",
    )
    return pixels


def metaseries(x: float, y: float, wave: int = 452, z_projection: bool = False) -> str:
    """What MetaXpress writes into the description of a TIFF file."""
    facts = {
        "spatial-calibration-x": 0.5,
        "spatial-calibration-units": "um",
        "stage-position-x": 20000 + x,
        "stage-position-y": 10000 + y,
        "acquisition-time-local": "20240709 13:13:03.006",
        "wavelength": wave,
        "_IllumSetting_": f"Dye {wave}",
        "_MagSetting_": "20X Plan",
        "OffsetFromWellCenterUmX": x,
        "OffsetFromWellCenterUmY": y,
    }
    properties = "".join(f'<prop id="{key}" type="string" value="{value}"/>' for key, value in facts.items())
    return f"<MetaData><PlaneInfo>{properties}</PlaneInfo></MetaData>"


def write_metaxpress(
    folder: Path,
    plate: str = "77",
    wells: tuple = ("B02", "C11"),
    sites: int = 2,
    waves: tuple = ("DAPI", "FITC"),
    steps: tuple = (),
    described: bool = True,
    htd: bool = True,
    planned: dict | None = None,
) -> Pixels:
    """`steps` are numbers of ZStep folders, 0 the projection. Sites are 9 micrometres apart in x, 1 in y."""
    pixels: Pixels = {}
    numbered = itertools.product(wells, range(1, sites + 1), enumerate(waves, 1), steps or (None,))
    for seed, (well, site, (wave, name), step) in enumerate(numbered):
        at = folder / "TimePoint_1" / ("" if step is None else f"ZStep_{step}")
        at.mkdir(parents=True, exist_ok=True)
        image = random_image(seed)
        description = metaseries(9.0 * site, 1.0 * site, 400 + 60 * wave) if described else None
        tifffile.imwrite(at / f"{plate}_{well}_s{site}_w{wave}.TIF", image, description=description, metadata=None)
        pixels[well, site, name, 0 if step is None else step - 1] = image
    if htd:
        lines = [
            '"HTSInfoFile", Version 1.0',
            '"Description", "µm"',
            '"TimePoints", 1',
            f'"ZSeries", {str(bool(steps)).upper()}',
            f'"ZSteps", {len([step for step in steps if step])}',
            '"XWells", 12',
            '"YWells", 8',
            *(
                f'"WellsSelection{row}", '
                + ", ".join(str(f"{chr(64 + row)}{column:02d}" in wells).upper() for column in range(1, 13))
                for row in range(1, 9)
            ),
            '"Sites", TRUE',
            '"YSites", 1',
            '"SiteSelection1", ' + ", ".join(["TRUE"] * sites),
            f'"NWavelengths", {len(waves)}',
            *(f'"WaveName{number}", "{name}"' for number, name in enumerate(waves, 1)),
            '"UniquePlateIdentifier", "guid-1"',
            '"EndFile"',
        ]
        for key, value in (planned or {}).items():
            lines = [line for line in lines if not line.startswith(f'"{key}"')] + [f'"{key}", {value}']
        (folder / f"{plate}.HTD").write_text("\n".join(lines), encoding="latin-1")
    return pixels


def write_cellvoyager(folder: Path, planes: int = 2, settings: bool = True) -> Pixels:
    """Two wells, two fields one above the other (stage y points up), two channels; 0.5 micrometres per pixel."""
    folder.mkdir(parents=True, exist_ok=True)
    space = 'xmlns:bts="http://www.yokogawa.co.jp/BTS/BTSSchema/1.0"'
    pixels: Pixels = {}
    records = []
    names = {1: "BP445/45", 2: "Dye"} if settings else {1: "C01", 2: "C02"}
    numbered = itertools.product(((4, 8), (6, 12)), (1, 2), range(1, planes + 1), (1, 2))
    for seed, ((row, column), field, plane, channel) in enumerate(numbered):
        name = f"p_{chr(64 + row)}{column:02d}_T0001F{field:03d}L01A0{channel}Z{plane:02d}C0{channel}.tif"
        image = random_image(seed)
        tifffile.imwrite(folder / name, image)
        pixels[f"{chr(64 + row)}{column:02d}", field, names[channel], plane - 1] = image
        records.append(
            f'<bts:MeasurementRecord bts:Type="IMG" bts:Time="2023-09-18T13:58:44+02:00" bts:Column="{column}" '
            f'bts:Row="{row}" bts:TimePoint="1" bts:FieldIndex="{field}" bts:ZIndex="{plane}" bts:TimelineIndex="1" '
            f'bts:ActionIndex="{channel}" bts:X="3.0" bts:Y="{-8.0 * field}" bts:Ch="{channel}">{name}'
            "</bts:MeasurementRecord>"
        )
    records.append('<bts:MeasurementRecord bts:Type="ERR" bts:Column="1" bts:Row="1">failed</bts:MeasurementRecord>')
    for name in ("DC_DCAM#1_CAM3.tif", "SC_BP445-45_20x v2_M01_CH01.tif"):
        tifffile.imwrite(folder / name, random_image(0))
    (folder / "MeasurementData.mlf").write_text(
        f"<bts:MeasurementData {space}>{''.join(records)}</bts:MeasurementData>", encoding="utf-8-sig"
    )
    if settings:
        channels = "".join(
            f'<bts:MeasurementChannel bts:Ch="{n}" bts:HorizontalPixelDimension="0.5" bts:HorizontalPixels="20" '
            'bts:VerticalPixels="16" />'
            for n in (1, 2, 3)
        )
        (folder / "MeasurementDetail.mrf").write_text(
            f'<bts:MeasurementDetail bts:Title="CV plate" bts:MeasurementSettingFileName="s.mes" bts:RowCount="8" '
            f'bts:ColumnCount="12" bts:TargetSystem="CV8000" {space}>{channels}</bts:MeasurementDetail>',
            encoding="utf-8-sig",
        )
        (folder / "s.mes").write_text(
            f"""<bts:MeasurementSetting {space}><bts:ChannelList>
<bts:Channel bts:Ch="1" bts:Objective="20x" bts:Acquisition="BP445/45" bts:Fluorophore="" />
<bts:Channel bts:Ch="2" bts:Acquisition="BP525/50" bts:Fluorophore="Dye" /></bts:ChannelList>
</bts:MeasurementSetting>""",
            encoding="utf-8-sig",
        )
    return pixels


def write_table(folder: Path, names: tuple[str, ...] = ("a.tif", "b.tif"), positions: bool = False) -> Pixels:
    """One well, one channel, a field per name; plate.tsv names them."""
    folder.mkdir(parents=True, exist_ok=True)
    pixels: Pixels = {}
    lines = ["\t".join(["well", "field", "channel", "path", *(["y", "x", "pixel_size"] if positions else [])])]
    for number, name in enumerate(names, 1):
        image = random_image(number)
        tifffile.imwrite(folder / name, image)
        pixels["B02", number, "DAPI", 0] = image
        place = [str(4.0 * number), str(2.5 * number), "0.5"] if positions else []
        lines.append("\t".join(["b2", str(number), "DAPI", name, *place]))
    (folder / "plate.tsv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return pixels


def write_evaluation_index(path: Path, images: list[dict[str, str]], version: int = 7, plate: str = "BAR 1") -> None:
    """An index of Harmony (version 5 to 7) or Columbus (version 0) that lists `images`: texts by name of the element.

    What an image does not say is that of well A01, field 1, plane 1, time point 0 and channel 1. "BufferNo" is the
    attribute of the URL; a URL of None leaves the element out.
    """
    namespace = HARMONY_NAMESPACES.get(version, "http://www.perkinelmer.com/Columbus")
    listed = []
    for image in images:
        facts = {"Row": "1", "Col": "1", "FieldID": "1", "PlaneID": "1", "TimepointID": "0", "ChannelID": "1"}
        facts |= {"PositionX": "0", "PositionY": "0", "ImageSizeX": "20", "ImageSizeY": "16"} | image
        page = facts.pop("BufferNo", None)
        attribute = "" if page is None else f' BufferNo="{page}"'
        texts = [
            f"<{name}{attribute if name == 'URL' else ''}>{text}</{name}>"
            for name, text in facts.items()
            if text is not None
        ]
        listed.append(f"<Image Version='1'><id>x</id>{''.join(texts)}</Image>")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(
        f"""<?xml version="1.0" encoding="utf-8"?><EvaluationInputData xmlns="{namespace}"><Plates><Plate>
<PlateID>{plate}</PlateID><MeasurementID>m-1</MeasurementID></Plate></Plates>
<Maps><Map><Entry ChannelID="1"><ChannelName>DAPI</ChannelName></Entry><Entry ChannelID="2"><ChannelName>FITC
</ChannelName></Entry></Map></Maps><Images>{"".join(listed)}</Images></EvaluationInputData>""",
        encoding="utf-8-sig",
    )


def write_records(folder: Path, records: list[dict[str, str]]) -> list[np.ndarray]:
    """A CellVoyager's list with these records, by name of the attribute; "file" is the text. Returns all images.

    What a record does not say is that of well A01, channel 1 at the first of everything. Only files of images (Type
    IMG) are written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    first = ("Row", "Column", "TimePoint", "FieldIndex", "ZIndex", "TimelineIndex", "ActionIndex", "Ch")
    listed, images = [], []
    for seed, record in enumerate(records):
        facts = {"Type": "IMG", "Time": "2024-01-01T10:00:00+01:00", "X": "0.0", "Y": "0.0", "Z": "1.0"}
        if record.get("Type", "IMG") == "IMG":
            facts |= dict.fromkeys(first, "1")
        facts |= record
        name = facts.pop("file", f"{seed}.tif")
        attributes = " ".join(f'bts:{key}="{value}"' for key, value in facts.items())
        listed.append(f"<bts:MeasurementRecord {attributes}>{name}</bts:MeasurementRecord>")
        images.append(random_image(seed))
        if facts["Type"] == "IMG":
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            tifffile.imwrite(folder / name, images[-1])
    (folder / "MeasurementData.mlf").write_text(
        f'<bts:MeasurementData xmlns:bts="http://www.yokogawa.co.jp/BTS/BTSSchema/1.0">{"".join(listed)}'
        "</bts:MeasurementData>",
        encoding="utf-8-sig",
    )
    return images


def write_columbus(folder: Path, first: int = 0) -> Pixels:
    """Two wells, a file each, whose pages are three planes in two channels."""
    images, pixels = [], {}
    for row in (1, 2):
        stack = np.stack([random_image(first + 10 * row + page) for page in range(6)])
        folder.mkdir(parents=True, exist_ok=True)
        tifffile.imwrite(folder / f"00{row}001-1.tif", stack, photometric="minisblack")
        for page, (channel, plane) in enumerate(itertools.product((1, 2), (1, 2, 3))):
            facts = {"Row": str(row), "PlaneID": str(plane), "ChannelID": str(channel), "TimepointID": "1"}
            images.append({"URL": f"00{row}001-1.tif", "BufferNo": str(page), **facts})
            pixels["AB"[row - 1] + "01", 1, ("DAPI", "FITC")[channel - 1], plane - 1] = stack[page]
    write_evaluation_index(folder / "ImageIndex.ColumbusIDX.xml", images, version=0, plate="P1")
    return pixels


def write_images(folder: Path, names: dict[str, tuple], dtype: str = "uint16") -> Pixels:
    """An image for each name, a path below the folder; its pixels by what the name stands for, () for nothing."""
    pixels: Pixels = {}
    for seed, (name, key) in enumerate(names.items()):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        image = random_image(seed, dtype=dtype)
        if path.suffix.lower() == ".png":
            iio.imwrite(path, image)
        else:
            tifffile.imwrite(path, image)
        if key:
            pixels[key] = image
    return pixels


def write_incell(
    folder: Path,
    wells: tuple = ((2, 3), (27, 1)),
    centres: tuple = ((0.0, 0.0), (9.0, 8.0)),
    planes: int = 1,
    times: int = 1,
    name: str = "",
) -> Pixels:
    """Fields at `centres`, (x, y) in micrometres with y pointing up; pixels of 0.5 micrometres. Keys have several t.

    name : of the files, instead of IN Cell's, with {number}
    """
    folder.mkdir(parents=True, exist_ok=True)
    waves = (("DAPI", "DAPI", 455), ("Blue", "FITC", 525))
    pixels: Pixels = {}
    images = []
    numbered = itertools.product(wells, enumerate(centres), range(planes), range(times), enumerate(waves))
    for seed, ((row, column), (field, (x, y)), z, t, (wave, (excitation, emission, nm))) in enumerate(numbered):
        letters = chr(64 + row) if row <= 26 else "A" + chr(64 + row - 26)
        stack = (f" z {z + 1}" if planes > 1 else "") + (f" time {t + 1} - {1000 * t}ms" if times > 1 else "")
        file = f"{letters} - {column:02d}(fld {field + 1} wv {excitation} - {emission}{stack}).tif"
        file = name.format(number=seed) or file
        tifffile.imwrite(folder / file, image := random_image(seed))
        channel = emission if excitation == emission else f"{excitation} - {emission}"
        key = (f"{letters}{column:02d}", field + 1, channel, z)
        pixels[(*key, t) if times > 1 else key] = image
        images.append(
            f"""<Image acquisition_time_ms="{t}" filename="{file}"><Well label="{letters} - {column}">
<Row number="{row}"/><Column number="{column}"/></Well>
<Identifier field_index="{field}" time_index="{t}" wave_index="{wave}" z_index="{z}"/>
<ExcitationFilter name="{excitation}" wavelength="350"/><EmissionFilter name="{emission}" wavelength="{nm}"/>
<OffsetFromWellCenter x="{x}" y="{y}"/></Image>"""
        )
    (folder / "plate.xdce").write_text(
        f"""<?xml version="1.0" encoding="UTF-8"?><ImageStack><Creation date="2024-06-14" time="12:13:14"/>
<AutoLeadAcquisitionProtocol><Plate rows="8" columns="12"/><Camera><Size height="16" width="20"/></Camera>
<ObjectiveCalibration objective_name="Nikon 20X" pixel_width="0.5" pixel_height="0.5"/></AutoLeadAcquisitionProtocol>
<Images>{"".join(images)}</Images></ImageStack>"""
    )
    return pixels
