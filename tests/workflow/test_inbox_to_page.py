"""Plates, from the inbox to the page: by `autorun.sh` alone, each once, and a bad one harms no other."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import tifffile
import yaml
import yaozarrs
import zarr
from conftest import WEIGHTS, project, small_disk
from lab import WELLS, Lab, jobs_of, make_old, put_plate
from ome_zarr_models.v05.hcs import HCS

from equinuclei.checksums import tree_sha256
from equinuclei.images.metrics import object_scores
from equinuclei.omezarr.plates import Plate
from equinuclei.simulation.plates import simulate_plate
from equinuclei.tables.columns import column_of, tables


def truncate_all(folder):
    for path in folder.glob("*.tif"):
        path.write_bytes(path.read_bytes()[:300])


def truncate_one(folder):
    path = next(folder.glob("B02 'f1'*"))
    path.write_bytes(path.read_bytes()[:300])


@pytest.fixture(scope="module")
def lab(tmp_path_factory, trained):
    lab = Lab(tmp_path_factory.mktemp("lab"), trained / WEIGHTS)
    put_plate(lab.inbox / "good")
    put_plate(lab.inbox / "corrupt", 1, truncate_all)
    put_plate(lab.inbox / "partly", 2, truncate_one)
    put_plate(lab.inbox / "arriving", 3)
    (lab.inbox / "arriving" / "planes.tsv").touch()  # files still arrive: newer than the quiet time
    lab.runs = [lab.tick(), lab.tick(check=False)]
    return lab


def test_complete_plates_are_processed_at_the_second_tick(lab):
    first, second = lab.runs
    assert not jobs_of(first) and set(lab.pages()) >= {"good", "partly"}
    page = lab.results / "plates.html"
    assert first.stdout.splitlines()[-1] == f"done 0, failed 0, waiting 4, excluded 0: {page}"
    assert second.stdout.splitlines()[-1] == f"done 2, failed 1, waiting 1, excluded 0: {page}"
    assert second.returncode == 1 and "Traceback" not in second.stdout  # of the corrupt one
    assert "none of 6 images can be read" in second.stdout
    assert not list(lab.inbox.parent.rglob("hacked")) and not (project() / "hacked").exists()


def test_the_converted_plate_has_every_pixel_of_its_source(lab):
    plate = lab.results / "good" / "plate.ome.zarr"
    assert Plate(plate).wells == list(WELLS)
    table = pd.read_csv(lab.inbox / "good" / "planes.tsv", sep="\t")
    for row in table.itertuples():
        image = Plate(plate).image(row.well)
        place = Plate(plate).field_table(row.well).set_index("field").loc[row.field]
        stored = image.level(0)[0, place.y0 : place.y0 + place.height, place.x0 : place.x0 + place.width]
        np.testing.assert_array_equal(np.asarray(stored), tifffile.imread(lab.inbox / "good" / row.path))


@pytest.mark.parametrize("name", ["plate.ome.zarr", "turning-v1/segmentation.ome.zarr"])
def test_both_plates_are_valid_ome_zarr(lab, name):
    path = lab.results / "good" / name
    yaozarrs.validate_zarr_store(str(path))
    plate = HCS.from_zarr(zarr.open_group(path, mode="r")).attributes.ome.plate
    assert {well.path.replace("/", "") for well in plate.wells} == set(WELLS)


def test_every_nucleus_is_a_row_and_a_label_of_its_well(lab):
    folder = lab.results / "good" / "turning-v1"
    nuclei = pd.read_parquet(folder / "nuclei.parquet")
    assert list(nuclei.columns[:3]) == ["plate", "well", "label"] and nuclei["plate"].eq("good").all()
    for well, rows in nuclei.groupby("well"):
        labels = Plate(folder / "segmentation.ome.zarr").image(well).label("nuclei").read()
        assert set(np.unique(labels)) - {0} == set(rows["label"])
        assert dict(zip(rows["label"], rows["area"], strict=True)) == {
            n: int((labels == n).sum()) for n in rows["label"]
        }
    wells = pd.read_csv(folder / "wells.tsv", sep="\t").set_index("well")
    assert wells["count"].to_dict() == nuclei.groupby("well").size().reindex(WELLS, fill_value=0).to_dict()
    assert nuclei["mean_DAPI"].gt(0).all() and len(nuclei) > 10


def test_a_field_that_cannot_be_read_is_told_and_the_rest_is_kept(lab):
    folder = lab.results / "partly"
    status = pd.read_parquet(folder / "fields.parquet").set_index(["well", "field"])["status"]
    assert status[("B02", 2)] == "truncated" and (status != "ok").sum() == 1
    wells = pd.read_csv(folder / "turning-v1" / "wells.tsv", sep="\t").set_index("well")
    assert wells["failed_fields"].to_dict() == {"A01": 0, "B02": 0.5, "H12": 0}
    page = lab.pages()["partly"].read_text()
    assert "Keep the raw folder: 1 of 6 images could not be read (1 truncated)" in page


def test_the_next_tick_submits_nothing_and_the_corrupt_plate_is_left_alone(lab):
    assert lab.status() == {"good": "ready", "partly": "ready", "corrupt": "failed", "arriving": "copying"}
    pages = {name: path.stat().st_mtime_ns for name, path in lab.pages().items()}
    run = lab.tick()
    assert not jobs_of(run) and "Telling" not in run.stdout, run.stdout
    assert lab.status()["corrupt"] == "failed" and lab.status()["arriving"] == "copying"
    assert run.stdout.splitlines()[-1].startswith("done 2, failed 1, waiting 1, excluded 0: ")
    assert "corrupt: failed: failed/corrupt.json (remove it to try again): " in run.stdout  # told again, and no news
    assert {name: path.stat().st_mtime_ns for name, path in lab.pages().items()} == pages


def test_the_finished_plates_are_compared(lab):
    table = pd.read_csv(lab.results / "plates.tsv", sep="\t", keep_default_na=False).set_index("plate")
    assert set(table.index) == {"good", "partly"} and (lab.results / "plates.html").is_file()
    assert table["raw_data"].to_dict() == {
        "good": "may be deleted", "partly": "keep: 1 of 6 images could not be read (1 truncated)",
    }  # fmt: skip


def test_a_late_file_runs_its_plate_again_and_a_deleted_folder_none(lab):
    good = (lab.results / "good" / "plate.ome.zarr" / "zarr.json").stat().st_mtime_ns
    shutil.rmtree(lab.inbox / "good")
    shutil.rmtree(lab.inbox / "corrupt")
    put_plate(lab.inbox / "corrupt", 1)  # copied again, whole
    make_old(lab.inbox / "arriving")
    lab.tick()
    run = lab.tick()
    assert set(lab.pages()) == {"good", "partly", "corrupt", "arriving"}, run.stdout
    assert lab.status() == {"good": "removed", "partly": "ready", "corrupt": "ready", "arriving": "ready"}
    assert (lab.results / "good" / "plate.ome.zarr" / "zarr.json").stat().st_mtime_ns == good
    assert not jobs_of(lab.tick())
    assert set(pd.read_csv(lab.results / "plates.tsv", sep="\t")["plate"]) == set(lab.pages())


def test_the_same_plate_gives_the_same_bytes_also_from_two_jobs(lab, tmp_path, trained):
    other = Lab(tmp_path, trained / WEIGHTS, parts=2)
    put_plate(other.inbox / "partly", 2, truncate_one)
    other.tick()
    assert len(jobs_of(other.tick())) == 6  # convert, twice segment, join, measure, report
    assert not (other.results / "partly/turning-v1/parts").exists()
    for name in ("turning-v1/segmentation.ome.zarr", "plate.ome.zarr"):
        stores = [lab_.results / "partly" / name for lab_ in (lab, other)]
        arrays = [
            {p.relative_to(store).as_posix(): p.read_bytes() for p in store.rglob("c/**/*") if p.is_file()}
            for store in stores
        ]
        assert arrays[0] and arrays[0] == arrays[1]
    digests = [tree_sha256(lab_.results / "partly/turning-v1/segmentation.ome.zarr") for lab_ in (lab, other)]
    assert digests[0] == digests[1]


def test_a_simulated_harmony_plate_is_scored_against_its_truth(tmp_path, trained):
    lab = Lab(tmp_path, trained / WEIGHTS)
    wells = ["A01", "B02"]
    plate, truth = lab.inbox / "SIM", tmp_path / "truth"
    simulate_plate(plate, truth, barcode="SIM", wells=wells, fields=4, size=96, seed=3)
    make_old(plate / "Images")
    (tmp_path / "plates.tsv").write_text("plate\ttruth\nSIM_1\ttruth\n")
    config = yaml.safe_load(lab.config.read_text())
    config["plates"]["table"] = str(tmp_path / "plates.tsv")
    lab.config.write_text(yaml.safe_dump(config))
    lab.tick(), lab.tick()
    page = lab.pages()["SIM_1"].read_text()
    shown = float(re.search(r"<b>([\d.]+)</b><span class=\"soft\">object F1 against the truth", page)[1])
    store = lab.results / "SIM_1/turning-v1/segmentation.ome.zarr"
    found = []
    for well in wells:
        labels = Plate(store).image(well).label("nuclei").read()
        found.append(object_scores(tifffile.imread(truth / f"{well}.tif"), labels, [0.5]).iloc[0])
    tp, fp, fn = (sum(int(scores[name]) for scores in found) for name in ("TP", "FP", "FN"))
    assert shown == pytest.approx(2 * tp / (2 * tp + fp + fn), abs=6e-4) and shown > 0.4
    assert r"median area, \u00b5m\u00b2" in page and "acquired 2026-01-01 00:00" in page


def test_a_full_disk_stops_a_plate_until_there_is_room(tmp_path, trained):
    with small_disk(tmp_path / "disk", 1):
        lab = Lab(tmp_path, trained / WEIGHTS, results=str(tmp_path / "disk/plates"))
        lab.results = tmp_path / "disk/plates"
        put_plate(lab.inbox / "good")
        lab.tick()
        (tmp_path / "disk/filler").write_bytes(bytes(950_000))
        run = lab.tick(check=False)
        assert run.returncode == 1 and "free some" in run.stdout
        assert "Traceback" not in run.stdout and not list(lab.results.glob("failed/*"))
        subprocess.run(["mount", "-o", "remount,size=100m", str(tmp_path / "disk")], check=True)
        lab.tick()
        assert set(lab.pages()) == {"good"}


def test_a_second_tick_beside_a_running_one_ends_at_once(lab):
    with (project() / ".autorun.lock").open("w") as lock:
        import fcntl

        fcntl.flock(lock, fcntl.LOCK_EX)
        run = lab.tick()
    assert run.stdout.strip() == "another tick is still running"


def test_what_is_not_set_is_told(lab, tmp_path):
    config = tmp_path / "empty.yaml"
    config.write_text("plates: {results: plates}\n")
    command = [str(project() / "scripts/autorun.sh"), "--configfile", str(config), "--cores", "1"]
    environment = {**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    run = subprocess.run(command, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env=environment)
    assert run.returncode == 1 and "no inbox: set `plates: {inbox: FOLDER}`" in run.stdout
    assert "Traceback" not in run.stdout


def test_every_column_that_plates_write_is_told_and_none_else(lab):
    folder = lab.results / "good"
    written = {"scan.tsv": lab.results / "scan.tsv", "fields.parquet": folder / "fields.parquet"}
    written |= {name: folder / "turning-v1" / name for name in ("nuclei.parquet", "fields.tsv", "wells.tsv")}
    written |= {"plates.tsv": lab.results / "plates.tsv", "planes.parquet": folder / "planes.parquet"}
    assert {f"plates/{name}" for name in written} == {name for name in tables() if name.startswith("plates/")}
    for name, path in written.items():
        columns = pd.read_parquet(path) if path.suffix == ".parquet" else pd.read_csv(path, sep="\t")
        assert not [column for column in columns if column_of(f"plates/{name}", column) is None], name
        unused = {c.name for c in tables()[f"plates/{name}"] if not any(map(c.fits, columns))}
        assert unused <= {"time"}, name  # of plates that are converted with several time points
