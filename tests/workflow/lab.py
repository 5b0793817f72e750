"""A laboratory: an inbox, its results, and ticks of autorun.sh."""

import os
import re
import shutil
import subprocess
import time
from pathlib import Path

import pandas as pd
import tifffile
import yaml
from conftest import loaded, project

from equinuclei.plates.scan_table import read_scan
from equinuclei.simulation.fields import simulate_field

WELLS = ("A01", "B02", "H12")
SIZE = (96, 110)


def make_old(folder):
    """All files of a folder are a day old, so that no tick waits for more of them."""
    for path in folder.rglob("*"):
        os.utime(path, (time.time() - 86_400,) * 2)


def put_plate(folder, seed=0, damage=None):
    """A simulated plate as a table of planes: three wells of two adjoining fields; old enough to be taken."""
    folder.mkdir(parents=True)
    rows = []
    for number, well in enumerate(WELLS):
        field = simulate_field("HeLa", [seed, number], SIZE[0], 2 * SIZE[1])
        for half in (0, 1):
            name = f"{well} 'f{half}'; $(touch hacked).tif"
            image = field.images["fluorescence"][:, half * SIZE[1] : (half + 1) * SIZE[1]]
            tifffile.imwrite(folder / name, image)
            rows.append({"well": well, "field": half + 1, "channel": "DAPI", "path": name, "y": 0.0,
                         "x": half * SIZE[1] * 0.5, "pixel_size": 0.5})  # fmt: skip
    pd.DataFrame(rows).to_csv(folder / "planes.tsv", sep="\t", index=False)
    if damage is not None:
        damage(folder)
    make_old(folder)


class Lab:
    """An inbox, its results, and ticks of autorun.sh."""

    def __init__(self, folder, weights, **settings):
        self.inbox, self.results, self.config = folder / "inbox", folder / "plates", folder / "lab.yaml"
        self.inbox.mkdir()
        library = folder / "models"
        (library / "turning-v1").mkdir(parents=True)
        shutil.copy(weights, library / "turning-v1" / "weights.safetensors")
        plates = {"inbox": str(self.inbox), "results": str(self.results), "models": str(library), "channel": "dapi"}
        plates |= {
            "model": "turning-v1",
            "device": "cpu",
            "threads": 1,
            "tile": 256,
            "max_bad_fraction": 0.2,
        } | settings
        self.config.write_text(yaml.safe_dump({"plates": plates}))

    def tick(self, check=True):
        # From the folder of its configuration, whose path is given as a person there would.
        command = [str(project() / "scripts/autorun.sh"), "--configfile", self.config.name, "--cores", "2"]
        environment = {**os.environ, **loaded()}
        run = subprocess.run(
            command, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env=environment,
            cwd=self.config.parent,
        )  # fmt: skip
        assert not check or run.returncode == 0, run.stdout
        return run

    def snakemake(self, *arguments, check=True):
        """A part of a tick."""
        command = ["snakemake", *arguments, "--configfile", str(self.config), "--cores", "2"]
        command += ["--rerun-triggers", "mtime", "input"]
        run = subprocess.run(
            command, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env={**os.environ, **loaded()},
            cwd=project(),
        )  # fmt: skip
        assert not check or run.returncode == 0, run.stdout
        return run

    def status(self):
        return {row.plate: row.status for row in read_scan(self.results / "scan.tsv")}

    def folders(self):
        """Name of the inbox's folder by plate."""
        return {row.plate: Path(row.folder).name for row in read_scan(self.results / "scan.tsv")}

    def pages(self):
        return {path.parents[1].name: path for path in self.results.glob("*/turning-v1/report.html")}


def jobs_of(run):
    """Jobs that were started, but for the scan, the page of all plates, and the end of all jobs."""
    return [line for line in run.stdout.splitlines() if re.match(r"Job \d+: (?!Looking for|Telling|The )", line)]
