"""Every reader of foreign files: small inputs that it reads, which of their files are damaged, and how it is called."""

import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import imageio.v3 as iio
import numcodecs
import numpy as np
import pandas as pd
import tifffile
import yaml
import zarr

from equinuclei.cli.plate import described
from equinuclei.config.plates import Plates
from equinuclei.config.study import Study
from equinuclei.errors import InputError
from equinuclei.evaluation.examples import read_examples, write_examples
from equinuclei.networks.checkpoint import load_model, read_metadata
from equinuclei.omezarr.metadata import NgffVersion
from equinuclei.omezarr.plates import Plate
from equinuclei.omezarr.stacks import create_stack, open_stack, read_pixel_size, read_row, write_rows
from equinuclei.omezarr.writing import PlateChannel, create_image, create_plate, write_field_table, write_pixels
from equinuclei.plates.field_images import read_field
from equinuclei.plates.inbox import read_manifest, tell_failures, waiting_plates
from equinuclei.plates.quality import read_plate_map
from equinuclei.plates.scan_table import read_scan
from equinuclei.runtime.files import write_json
from equinuclei.runtime.provenance import read_run
from equinuclei.sources import read_source
from equinuclei.sources.images import read_image, read_mask
from equinuclei.sources.plates import choose_planes, find_plate_source, read_plane
from equinuclei.sources.plates.contents import Contents
from equinuclei.sources.plates.imagexpress_headers import first_header, page_count
from equinuclei.sources.plates.planes import image_header
from equinuclei.tables.files import read_table
from support import plate_exports as exports
from support.tiny_model import tiny_weights
from support.zarr_plates import random_pixels, write_zarr_plate

ROOT = Path(__file__).resolve().parents[2]
SHARED = ROOT.parent / "shared"
_PLANES_READ = 6


@dataclass(frozen=True)
class Reader:
    """A reader under test.

    seeds : each writes a small input into a folder. damaged : patterns of the files, one of which is damaged; or their
    names are, where `names` is set. read : reads a folder; raises InputError where it refuses.
    """

    seeds: Sequence[Callable[[Path], object]]
    damaged: Sequence[str]
    read: Callable[[Path], object]
    names: bool = False


def _every(*calls: Callable[[], object]) -> None:
    """Call all, so that a refusal hides no other fault; raise InputError if every one was refused."""
    refusals = []
    for call in calls:
        try:
            call()
        except InputError as error:
            refusals.append(error)
    if len(refusals) == len(calls):
        raise refusals[-1]


def _only_file(folder: Path) -> Path:
    return next(path for path in sorted(folder.rglob("*")) if path.is_file())


# Images


def _read_image(folder: Path) -> None:
    path = _only_file(folder)
    field = pd.DataFrame({"path": [str(path)], "page": [0]})
    _every(
        lambda: image_header(path),
        lambda: read_image(path),
        lambda: read_image(path, 0),
        lambda: read_image(path, 2),
        lambda: read_mask(path),
        lambda: read_field(field, (16, 20), np.dtype("uint16")),
    )


def _tiff(**options: Any) -> Callable[[Path], object]:
    shape = options.pop("shape", (16, 20))
    pixels = np.random.default_rng(1).integers(0, 200, shape).astype(options.pop("dtype", "uint16"))
    return lambda folder: tifffile.imwrite(folder / "a.tif", pixels, **options)


def _png(shape: tuple[int, ...], dtype: str, **options: Any) -> Callable[[Path], object]:
    pixels = np.random.default_rng(1).integers(0, 200, shape).astype(dtype)
    return lambda folder: iio.imwrite(folder / "a.png", pixels, extension=".png", **options)


def _misnamed(extension: str) -> Callable[[Path], object]:
    pixels = np.random.default_rng(1).integers(0, 200, (16, 20)).astype("uint8")
    return lambda folder: iio.imwrite(folder / "a.png", pixels, extension=extension)


def _copy_of(path: Path) -> Callable[[Path], object]:
    return lambda folder: shutil.copy(path, folder / path.name)


def _shared_images(suffix: str) -> list[Callable[[Path], object]]:
    return [_copy_of(path) for path in sorted(SHARED.glob(f"cases/images/*.{suffix}")) if path.stat().st_size < 2**20]


_TIFFS = (
    _tiff(),
    _tiff(compression="zlib"),
    _tiff(compression="lzw", predictor=True),
    _tiff(compression="packbits", dtype="uint8"),
    _tiff(compression="zstd", tile=(16, 16)),
    _tiff(compression="jpeg", dtype="uint8"),
    _tiff(shape=(3, 16, 20), imagej=True),
    _tiff(shape=(3, 16, 20), photometric="minisblack"),
    _tiff(shape=(2, 16, 20), photometric="minisblack", ome=True, metadata={"axes": "CYX"}),
    _tiff(shape=(16, 20, 3), dtype="uint8", photometric="rgb"),
    _tiff(dtype="float32", bigtiff=True),
    _tiff(dtype="bool"),
)
_PNGS = (_png((16, 20), "uint8"), _png((16, 20), "uint16"), _png((16, 20, 3), "uint8"), _png((16, 20, 2), "uint8"))


def _read_headers(folder: Path) -> None:
    paths = sorted(folder.rglob("*.tif"))
    _every(lambda: first_header(paths), lambda: page_count(paths))


_HEADERS = (
    _tiff(description=exports.metaseries(1.0, 2.0), metadata=None),
    _tiff(shape=(3, 16, 20), imagej=True),
    _tiff(shape=(2, 16, 20), photometric="minisblack", ome=True, metadata={"axes": "CYX"}),
)


# Plates


def _read_plate(folder: Path) -> None:
    source = find_plate_source(folder)
    planes = source.planes.drop_duplicates(["path", "page"])
    readings = [
        lambda path=plane.path, page=plane.page: read_plane(path, page)
        for plane in planes.head(_PLANES_READ).itertuples()
    ]
    _every(lambda: Contents.of(source), lambda: described(source, folder), lambda: choose_planes(source), *readings)


def _shared_plate(place: str) -> list[Callable[[Path], object]]:
    """An odd or a real plate, without what is large."""
    if not (origin := SHARED / place).is_dir():
        return []

    def copy(folder: Path) -> None:
        large = [path.name for path in origin.rglob("*") if path.is_file() and path.stat().st_size > 200_000]
        shutil.copytree(origin, folder, dirs_exist_ok=True, ignore=shutil.ignore_patterns(*large))

    return [copy]


def _zarr_2(folder: Path) -> None:
    images = [{"name": "0", "pixels": random_pixels(1), "labels": ("DAPI", "FITC"), "corner": (0.0, 0.0), "levels": 2}]
    write_zarr_plate(folder / "P.zarr", {"B/02": images, "B/03": images}, ({"id": 0, "name": "first"},))


def _zarr_plate(version: NgffVersion) -> Callable[[Path], None]:
    """A plate as this program writes it; the reader of foreign plates reads it too."""

    def write(folder: Path) -> None:
        plate = create_plate(folder / "P.zarr", "P", ("B02", "B03"), version)
        placed = pd.DataFrame({"field": [1, 2], "y0": [0, 0], "x0": [0, 32], "height": [48, 48], "width": [32, 32]})
        for well in plate.wells:
            image = create_image(plate, well, [PlateChannel("DAPI", 455.0)], (48, 64), "uint16", 0.5)
            write_pixels(image, lambda c, y, x: random_pixels(1, 1, (48, 64))[c, y, x])
        write_field_table(plate, dict.fromkeys(plate.wells, placed))

    return write


def _read_zarr_plate(folder: Path) -> None:
    _read_plate(folder / "P.zarr")


def _read_own_plate(folder: Path) -> None:
    plate = Plate(folder / "P.zarr")
    for well in plate.wells[:2]:
        image = plate.image(well)
        _every(
            image.read,
            lambda image=image: image.read_channel(0),
            lambda well=well: plate.field_table(well),
            image.checksums,
        )
    plate.channel_index(None)


def _compressed(**options: Any) -> Callable[[Path], None]:
    """A plate of one image (c, y, x), whose array has these compressors, shards or chunks."""

    def write(folder: Path) -> None:
        pixels = random_pixels(1, shape=(32, 32))
        write_zarr_plate(folder / "P.zarr", {"B/02": [{"name": "0", "pixels": pixels, "corner": (0.0, 0.0)}]})
        shutil.rmtree(at := folder / "P.zarr/B/02/0/0")
        array = zarr.create_array(at, shape=pixels.shape, dtype=pixels.dtype, **({"chunks": (1, 16, 32)} | options))
        array[:] = pixels

    return write


def _write_stack(folder: Path) -> None:
    stack = create_stack(folder / "images.zarr", "fluorescence/16x20", 3, 16, 20, "uint16", 0.5)
    write_rows(stack, 0, np.random.default_rng(1).integers(0, 999, (3, 16, 20)).astype("uint16"))


def _read_stack(folder: Path) -> None:
    stack = open_stack(folder / "images.zarr", "fluorescence/16x20")
    read_row(stack, 0)
    read_pixel_size(folder / "images.zarr", "fluorescence/16x20")


_NAMES = {
    "incell": "B - 02(fld 1 wv DAPI - DAPI).tif",
    "cytation": "A1_01_1_1_DAPI_001.tif",
    "arrayscan": "MFGTMP-PC_140206180002_A01f00d0.TIF",
    "incucyte": "VID1234_A1_1_2020y01m01d_00h00m.tif",
    "scanr": "A1--W00001--P00001--Z00000--T00000--DAPI.tif",
    "micromanager": "A1-Site_0/img_channel000_position000_time000000000_z000.tif",
    "metaxpress": "P1_B02_s1_w1.TIF",
    "columbus": "002003-1-001001001.tif",
    "plain": "image 1.tif",
}


def _named(name: str) -> Callable[[Path], None]:
    def write(folder: Path) -> None:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        tifffile.imwrite(path, exports.random_image(1))
        tifffile.imwrite(path.with_name(f"{path.stem.replace('1', '2', 1)}{path.suffix}"), exports.random_image(2))

    return write


# Tables


def _text(name: str, content: str) -> Callable[[Path], object]:
    return lambda folder: (folder / name).write_text(content, encoding="utf-8")


def _data_set(folder: Path) -> None:
    for name in ("images/a.tif", "masks/a.tif", "images/b.tif", "masks/b.tif"):
        (folder / name).parent.mkdir(exist_ok=True)
        tifffile.imwrite(folder / name, exports.random_image(1))
    _text("split.csv", "name,group,split\na,g1,train\nb,g2,test\n")(folder)
    lines = [f"{name}\tfluorescence\timages/{name}.tif\tmasks/{name}.tif\tg{name}\t" for name in "ab"]
    _text("t.tsv", "\n".join(["image_id\tmodality\timage\tmask\tgroup\tsplit", *lines, ""]))(folder)


def _read_data_set(folder: Path) -> None:
    _every(
        lambda: read_source({"layout": "table", "path": str(folder / "t.tsv")}),
        lambda: read_source({"layout": "folder", "path": str(folder), "modality": "fluorescence"}),
    )


def _section(folder: Path) -> dict[str, Any]:
    section: dict[str, Any] = yaml.safe_load((ROOT / "config/config.yaml").read_text(encoding="utf-8"))["plates"]
    return section | {"table": str(folder / "plates.tsv"), "results": str(folder / "results"), "layout": None}


def _read_plates_table(folder: Path) -> None:
    plates = Plates(_section(folder))
    for plate in plates.named or ("P1",):
        _every(
            lambda: plates.excluded,
            lambda plate=plate: plates.channel_of(plate),
            lambda plate=plate: plates.plate_map_of(plate),
            lambda plate=plate: plates.model_of(plate),
            lambda: plates.digest,
        )


_SCAN = "plate\tfolder\tstatus\twhy\tlayout\tfiles\tbytes\tcontent\nP1\t/data/P1\tready\t\tharmony\t12\t3456\tabc\n"
_PLATES = "plate\tchannel\tmodel\texclude\tplate_map\tproject\nP1\tDAPI\tfluorescence-v2\tno\tmap.tsv\tscreen\n"
_MAP = "well\ttreatment\tconcentration\tcontrol\nB02\tDMSO\t0\tnegative\nb3\tdrug\t1.5\tpositive\n"


_WELLS = "well\tcount\tmedian_area\nB02\t12\t34.5\nB03\t\tNaN\n"
_OVERVIEW = "plate\twells\tmodel\tz_prime\nP1\t12\tfluorescence-v2\t0.5\n"


def _read_own_table(folder: Path) -> None:
    path = _only_file(folder)
    read_table(path, f"plates/{path.name}")


# Weights, records, configuration


def _write_weights(folder: Path) -> None:
    shutil.copy(tiny_weights(), folder / "weights.safetensors")


def _read_weights(folder: Path) -> None:
    path = _only_file(folder)
    _every(lambda: read_metadata(path), lambda: load_model(path))


def _write_records(folder: Path) -> None:
    content = {"plate": "P1", "folder": "/data/P1", "layout": "harmony", "files": 12, "bytes": 345, "content": "abc"}
    write_json(folder / "manifests/P1.json", content)
    write_json(folder / "run.json", {"seed": 1, "modality": "fluorescence", "epochs": 12})
    write_json(
        folder / "failed/P1.json", {"content": "abc", "settings": "s", "software": "x", "changed": 1, "why": "w"}
    )
    _text("scan.tsv", _SCAN)(folder)


def _read_records(folder: Path) -> None:
    _every(
        lambda: read_manifest(folder / "manifests/P1.json"),
        lambda: read_run(folder / "run.json"),
        lambda: read_scan(folder / "scan.tsv"),
        lambda: waiting_plates(folder, "s"),
        lambda: tell_failures(folder / "scan.tsv", folder, "s"),
    )


def _read_config(folder: Path) -> None:
    schema = yaml.safe_load((ROOT / "workflow/schemas/config.schema.yaml").read_text(encoding="utf-8"))
    try:
        config = yaml.safe_load(_only_file(folder).read_bytes())
    except (yaml.YAMLError, ValueError, TypeError, RecursionError, AttributeError):
        return  # Snakemake says so
    if isinstance(config, Mapping):  # Snakemake refuses others, and puts a study's file over the defaults
        Study({**yaml.safe_load((ROOT / "config/config.yaml").read_text(encoding="utf-8")), **config}, schema)


def _write_examples(folder: Path) -> None:
    plane = np.zeros((4, 4), np.float32)
    arrays = dict.fromkeys(("image", "truth", "classes", "instances", "probability", "probability_sum"), plane)
    write_examples(folder / "examples.npz", [{**arrays, "image_id": "a", "cell_line": "HeLa"}])


def _with_files(seed: Callable[[Path], object], **options: Any) -> Callable[[Path], object]:
    return lambda folder: seed(folder, **options)


_CASE = "cases/plates"
_DATA = "data/plates"

READERS: dict[str, Reader] = {
    "tiff": Reader([*_TIFFS, *_shared_images("tif")], ["*.tif"], _read_image),
    "png": Reader([*_PNGS, *map(_misnamed, (".jpg", ".gif", ".bmp"))], ["*.png"], _read_image),
    "imagexpress headers": Reader(_HEADERS, ["*.tif"], _read_headers),
    "harmony": Reader(
        [
            exports.write_harmony,
            _with_files(exports.write_harmony, version=7),
            *_shared_plate(f"{_CASE}/harmony_bufferno"),
            *_shared_plate(f"{_CASE}/harmony_time_z"),
            *_shared_plate(f"{_DATA}/harmony_v7_index_only"),
        ],
        ["*.xml"],
        _read_plate,
    ),
    "columbus": Reader([exports.write_columbus, *_shared_plate(f"{_CASE}/columbus_export")], ["*.xml"], _read_plate),
    "cellvoyager": Reader(
        [exports.write_cellvoyager, *_shared_plate(f"{_CASE}/cellvoyager_two_timelines/PL")],
        ["*.mlf", "*.mrf", "*.mes"],
        _read_plate,
    ),
    "metaxpress": Reader(
        [
            exports.write_metaxpress,
            _with_files(exports.write_metaxpress, steps=(0, 1, 2), planned={"ZProjection": "TRUE"}),
            *_shared_plate(f"{_CASE}/metaxpress_partial_copy"),
        ],
        ["*.HTD"],
        _read_plate,
    ),
    "incell": Reader([exports.write_incell, _with_files(exports.write_incell, planes=2)], ["*.xdce"], _read_plate),
    "file names": Reader([_named(name) for name in _NAMES.values()], ["*.tif", "*.TIF"], _read_plate, names=True),
    "table of planes": Reader(
        [exports.write_table, _with_files(exports.write_table, positions=True)], ["*.tsv"], _read_plate
    ),
    "zarr plate": Reader(
        [_zarr_2, _zarr_plate("0.4"), _zarr_plate("0.5")],
        [".zattrs", ".zarray", ".zgroup", "zarr.json"],
        _read_zarr_plate,
    ),
    "zarr chunks": Reader(
        [
            _compressed(zarr_format=2, compressors=numcodecs.Blosc()),
            _compressed(zarr_format=2, compressors=numcodecs.Zlib()),
            _compressed(zarr_format=2, compressors=numcodecs.LZ4()),
            _compressed(zarr_format=2, compressors=numcodecs.Zstd()),
            _compressed(zarr_format=3),
            _compressed(zarr_format=3, compressors=zarr.codecs.GzipCodec()),
            _compressed(zarr_format=3, compressors=zarr.codecs.BloscCodec()),
            _compressed(zarr_format=3, shards=(2, 32, 32)),
        ],
        ["P.zarr/B/02/0/0/**/*"],
        _read_zarr_plate,
    ),
    "own plate": Reader(
        [_zarr_plate("0.4"), _zarr_plate("0.5")],
        [".zattrs", ".zarray", ".zgroup", "zarr.json", "*.csv"],
        _read_own_plate,
    ),
    "own stack": Reader([_write_stack], ["*"], _read_stack),
    "data set": Reader([_data_set], ["*.tsv", "*.csv"], _read_data_set),
    "plate map": Reader([_text("map.tsv", _MAP)], ["*.tsv"], lambda folder: read_plate_map(_only_file(folder))),
    "table of plates": Reader([_text("plates.tsv", _PLATES)], ["*.tsv"], _read_plates_table),
    "scan table": Reader([_text("scan.tsv", _SCAN)], ["*.tsv"], lambda folder: read_scan(_only_file(folder))),
    "own tables": Reader([_text("plates.tsv", _OVERVIEW), _text("wells.tsv", _WELLS)], ["*.tsv"], _read_own_table),
    "weights": Reader([_write_weights], ["*.safetensors"], _read_weights),
    "records": Reader([_write_records], ["*.json", "*.tsv"], _read_records),
    "examples": Reader([_write_examples], ["*.npz"], lambda folder: read_examples(_only_file(folder))),
    "configuration": Reader(
        [_copy_of(ROOT / f"config/{name}.yaml") for name in ("config", "tiny", "targets")], ["*.yaml"], _read_config
    ),
}
