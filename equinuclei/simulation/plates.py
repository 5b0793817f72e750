"""A simulated plate with its truth, in the layout of PerkinElmer's Harmony."""

import math
import multiprocessing
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path
from xml.sax.saxutils import escape

from equinuclei.errors import InputError, check_known
from equinuclei.images.tiff import write_tiff
from equinuclei.runtime.files import replacing
from equinuclei.simulation.cell_lines import CELL_LINES
from equinuclei.simulation.fields import simulate_field
from equinuclei.wells import parse_well, well_name

CHANNELS = (("DAPI", 456, "fluorescence"), ("Brightfield", 0, "brightfield"))
"""Name, emission wavelength (nm) and modality of the channels, in the order of their numbers."""

PIXEL_SIZE = 0.5  # micrometres


def simulate_plate(
    folder: str | Path,
    truth: str | Path,
    *,
    barcode: str,
    wells: Sequence[str],
    fields: int,
    size: int,
    seed: int,
    cell_line: str = "HeLa",
    processes: int = 1,
) -> None:
    """Write a plate as the microscope's software would: `Images/Index.idx.xml` and a TIFF per field and channel.

    The fields of a well form a square and are cut from one simulated sample, so nuclei lie across their edges.

    Parameters
    ----------
    folder
        Folder of the export to write.
    truth
        Folder for `<well>.tif`, the labels of the well's whole mosaic, uint16 (y, x).
    barcode
        Barcode of the plate.
    wells
        Names such as "B02".
    fields
        Fields per well: a square number.
    size
        Edge of a field in pixels, at least 32.
    seed
        Equal seeds give equal bytes, for any number of processes.

    Raises
    ------
    InputError
        If an argument is invalid.
    """
    folder, truth, edge = Path(folder), Path(truth), math.isqrt(fields)
    check_known("cell line", cell_line, CELL_LINES)
    if fields < 1 or edge * edge != fields:
        raise InputError(f"{fields} fields per well: give a square number, such as 1, 4 or 9")
    try:
        positions = [parse_well(well) for well in wells]
    except ValueError as error:
        raise InputError(f"wells: {error}") from error
    for path in (folder / "Images", truth):
        path.mkdir(parents=True, exist_ok=True)
    write = partial(_write_well, folder=folder, truth=truth, edge=edge, size=size, seed=seed, cell_line=cell_line)
    if processes == 1:
        entries = [write(position) for position in positions]
    else:
        with ProcessPoolExecutor(processes, mp_context=multiprocessing.get_context("spawn")) as pool:
            entries = list(pool.map(write, positions))
    with replacing(folder / "Images" / "Index.idx.xml") as temporary:
        # With a byte-order mark, as Harmony writes it.
        temporary.write_text(_index(barcode, [entry for well in entries for entry in well]), encoding="utf-8-sig")


def _write_well(
    position: tuple[int, int], *, folder: Path, truth: Path, edge: int, size: int, seed: int, cell_line: str
) -> list[str]:
    row, column = position
    sample = simulate_field(cell_line, [seed, row, column], edge * size, edge * size)
    write_tiff(truth / f"{well_name(row, column)}.tif", sample.instances, compression="zlib")
    entries = []
    for number in range(edge * edge):
        y, x = (index * size for index in divmod(number, edge))
        for channel, (name, wavelength, modality) in enumerate(CHANNELS, 1):
            url = f"r{row:02d}c{column:02d}f{number + 1:02d}p01-ch{channel}sk1fk1fl1.tiff"
            pixels = sample.images[modality][y : y + size, x : x + size]
            write_tiff(folder / "Images" / url, pixels, compression="zlib")
            # Positions are those of the centres, in metres from the middle of the well; y points up.
            half = (edge - 1) * size / 2
            values = {
                "id": f"{row:02d}{column:02d}K1F{number + 1}P1R{channel}", "URL": url, "Row": row, "Col": column,
                "FieldID": number + 1, "PlaneID": 1, "TimepointID": 0, "ChannelID": channel, "ChannelName": name,
                "ImageSizeX": size, "ImageSizeY": size, "MainEmissionWavelength": wavelength,
                "ImageResolutionX": PIXEL_SIZE * 1e-6, "ImageResolutionY": PIXEL_SIZE * 1e-6,
                "PositionX": (x - half) * PIXEL_SIZE * 1e-6, "PositionY": -(y - half) * PIXEL_SIZE * 1e-6,
                "ObjectiveMagnification": 20, "ObjectiveNA": 0.8, "AbsTime": "2026-01-01T00:00:00.000+00:00",
            }  # fmt: skip
            entries.append("".join(f"<{key}>{escape(str(value))}</{key}>" for key, value in values.items()))
    return entries


def _index(barcode: str, entries: Sequence[str]) -> str:
    images = "\n".join(f'    <Image Version="1">{entry}</Image>' for entry in entries)
    return f"""<?xml version="1.0" encoding="utf-8"?>
<EvaluationInputData xmlns="http://www.perkinelmer.com/PEHH/HarmonyV5" Version="1">
  <InstrumentType>Simulated</InstrumentType>
  <Plates>
    <Plate><PlateID>{escape(barcode)}</PlateID><MeasurementID>1</MeasurementID><Name>{escape(barcode)}</Name></Plate>
  </Plates>
  <Images>
{images}
  </Images>
</EvaluationInputData>
"""
