"""Speed of the conversion of a plate, as a ratio measured side by side: against a plain copy of the same files into one
array per well, of the same chunks, shards and compression; what the ledger of the raw folder takes of it; and the
seconds that planning 1,000 plates takes, all but 10 of which are finished.

    python -m benchmarks.plates [--wells 4] [--fields 9] [--size 1080] [--rounds 3] [--workers 2]
                                [--plates 1000]
"""

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from unittest import mock

import numpy as np
import tifffile
import yaml
import zarr

from benchmarks.rounds import measure, ratio
from equinuclei.omezarr.blocks import CHUNK
from equinuclei.omezarr.stacks import SHARD_BYTES, ZSTD_LEVEL
from equinuclei.plates import convert as conversion
from equinuclei.plates import mosaic
from equinuclei.plates.convert import PlateExport, convert_plate
from equinuclei.plates.scan_table import ScannedPlate, write_scan
from equinuclei.simulation.plates import CHANNELS, simulate_plate

ROOT = Path(__file__).parents[1]


def convert(source: Path, target: Path, workers: int) -> None:
    """The conversion, anew."""
    shutil.rmtree(target, ignore_errors=True)
    convert_plate(PlateExport(source), target / "plate.ome.zarr", target / "fields.parquet", workers=workers)


def ledger_share(source: Path, target: Path) -> float:
    """Share of a conversion's time, by one thread, that the checksums of its planes and the ledger take."""
    spent = 0.0

    def timed(function: Callable) -> Callable:
        def call(*arguments: object) -> object:
            nonlocal spent
            start = time.perf_counter()
            try:
                return function(*arguments)
            finally:
                spent += time.perf_counter() - start

        return call

    with ExitStack() as patches:
        for module, names in (
            (mosaic, ["visible_checksum"]),
            (conversion, ["make_ledger", "write_ledger", "left_out"]),
        ):
            for name in names:
                patches.enter_context(mock.patch.object(module, name, timed(getattr(module, name))))
        start = time.perf_counter()
        convert(source, target, workers=1)
        return spent / (time.perf_counter() - start)


def plain_copy(source: Path, target: Path, workers: int, edge: int, size: int) -> None:
    """Every image into its place of its well's array, and nothing else: no pyramid, no check, no metadata."""
    shutil.rmtree(target, ignore_errors=True)
    files = sorted((source / "Images").glob("*.tiff"))
    wells = sorted({path.name[:6] for path in files})
    length = -(-edge * size // CHUNK) * CHUNK
    depth = min(len(CHANNELS), max(1, SHARD_BYTES // (2 * length * length)))

    def write(well: str) -> None:
        array = zarr.create_array(
            target / well, shape=(len(CHANNELS), edge * size, edge * size), dtype="uint16", chunks=(1, CHUNK, CHUNK),
            shards=(depth, length, length), compressors=zarr.codecs.ZstdCodec(level=ZSTD_LEVEL, checksum=True),
        )  # fmt: skip
        pixels = np.empty(array.shape, array.dtype)
        for path in files:
            if path.name.startswith(well):
                field, channel = int(path.name[7:9]) - 1, int(path.name[path.name.index("-ch") + 3]) - 1
                y, x = (index * size for index in divmod(field, edge))
                pixels[channel, y : y + size, x : x + size] = tifffile.imread(path)
        array[:] = pixels

    with zarr.config.set({"async.concurrency": workers, "threading.max_workers": workers}):
        list(ThreadPoolExecutor(workers).map(write, wells))


def measure_planning(plates: int, waiting: int = 10) -> None:
    """Seconds in which Snakemake plans the plates that are left among many, and the comparison of all."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "models/m-v1").mkdir(parents=True)
        (folder / "models/m-v1/weights.safetensors").touch()
        (folder / "results/manifests").mkdir(parents=True)
        scanned = []
        for number in range(plates):
            plate = f"P{number:04d}"
            record = ScannedPlate(plate, str(folder / "inbox" / plate), "ready", "", "harmony", 1, 1, "0")
            scanned.append(record)
            manifest = {key: value for key, value in vars(record).items() if key not in ("status", "why")}
            (folder / f"results/manifests/{plate}.json").write_text(json.dumps(manifest))
            if number >= waiting:
                results = folder / "results" / plate
                # In the order in which the rules make them.
                for path in ("plate.ome.zarr/", "fields.parquet", "m-v1/segmentation.ome.zarr/", "m-v1/nuclei.parquet",
                             "m-v1/fields.tsv", "m-v1/wells.tsv", "m-v1/report.html"):  # fmt: skip
                    made = results / path / ".snakemake_timestamp" if path.endswith("/") else results / path
                    made.parent.mkdir(parents=True, exist_ok=True)
                    made.touch()
        write_scan(folder / "results/scan.tsv", scanned)
        config = {"plates": {"inbox": str(folder / "inbox"), "results": str(folder / "results"), "model": "m-v1"}}
        config["plates"] |= {"models": str(folder / "models"), "channel": "DAPI"}
        (folder / "lab.yaml").write_text(yaml.safe_dump(config))
        for target in ("plates", "overview"):
            command = [sys.executable, "-m", "snakemake", target, "-n", "--rerun-triggers", "mtime", "input"]
            command += ["--snakefile", str(ROOT / "Snakefile"), "--directory", name]
            command += ["--workflow-profile", str(ROOT / "profiles/default"), "--configfile", str(folder / "lab.yaml")]
            seconds = []
            for _ in range(3):
                start = time.perf_counter()
                run = subprocess.run(command, check=True, capture_output=True, text=True, env=os.environ | {"CI": ""})
                seconds.append(time.perf_counter() - start)
            rows = [line.split() for line in run.stdout.splitlines() if line.startswith("total ")]
            jobs = rows[0][1] if rows else "0"
            print(f"planning `{target}`, {plates} plates, {plates - waiting} finished: "
                  f"{statistics.median(seconds):.1f} s, {jobs} jobs")  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--wells", type=int, default=4)
    parser.add_argument("--fields", type=int, default=9, help="per well: a square number")
    parser.add_argument("--size", type=int, default=1080)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--plates", type=int, default=1000, help="how many to plan")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder, workers = Path(name), arguments.workers
        wells = [f"A{number:02d}" for number in range(1, arguments.wells + 1)]
        simulate_plate(folder / "SIM", folder / "truth", barcode="SIM", wells=wells, fields=arguments.fields,
                       size=arguments.size, seed=0, processes=workers)  # fmt: skip
        edge = round(arguments.fields**0.5)
        seconds = measure(
            {
                "convert_plate": lambda: convert(folder / "SIM", folder / "converted", workers),
                "plain copy": lambda: plain_copy(folder / "SIM", folder / "plain", workers, edge, arguments.size),
            },
            arguments.rounds,
        )
        planes = arguments.wells * arguments.fields * len(CHANNELS)
        print(f"{planes} planes of {arguments.size} x {arguments.size} pixels, uint16, {workers} threads")
        for what, times in seconds.items():
            print(f"{what:14s} {statistics.median(times):6.2f} s, {planes / statistics.median(times):5.1f} planes/s")
        share = 1 / ratio(seconds["convert_plate"], seconds["plain copy"])
        print(f"the conversion has {share:.2f} of the speed of a plain copy")
        shares = [ledger_share(folder / "SIM", folder / "converted") for _ in range(arguments.rounds)]
        print(f"the ledger takes {statistics.median(shares):.1%} of a conversion by one thread")
    measure_planning(arguments.plates)


if __name__ == "__main__":
    main()
