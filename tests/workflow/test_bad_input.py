"""A user's mistake: one clear message, exit status 1, no traceback, nothing half-written."""

import copy
import os
import re
import subprocess

import numpy as np
import pandas as pd
import pytest
import tifffile
import yaml
from conftest import TINY, planned_jobs, small_disk, snakemake

from equinuclei.dataset.convert import ConvertedFiles, convert_dataset
from equinuclei.dataset.parts import read_fields, read_splits
from equinuclei.images.intensity import normalize
from equinuclei.omezarr.stacks import open_stack
from equinuclei.runtime.job import job

SHAPE = (64, 72)
IDS = ["a b", 'it\'s "quoted"', "Zelle µ ü 细胞", "007", "NA", "$(touch hacked)"]
COUNTS = [2, 2, 2]


def refused(folder, config, *arguments):
    run = snakemake(folder, *(arguments or ("study",)), config=config, check=False)
    assert run.returncode == 1, run.stdout
    assert "Traceback" not in run.stdout, run.stdout
    return run.stdout


@pytest.mark.parametrize(
    "change, message",
    [
        (
            {"models": ["simplified-p5"]},
            "unknown model 'simplified-p5'. Did you mean 'simplified-p4'? Known: unet, unet-aug,",
        ),
        ({"evaluation": {"mirored": True}}, "evaluation: unknown key 'mirored' (did you mean 'mirrored'?)"),
        (
            {"contrasts": [{"a": "turnin", "b": "plain"}]},
            "contrasts: unknown model 'turnin'. Did you mean 'turning'? Known: plain, turning, otsu.",
        ),
        ({"training": {"epochs": "many"}}, "training.epochs: 'many' is not of type 'integer'"),
    ],
)
def test_a_configuration_that_cannot_be_used_is_refused_before_any_job(tmp_path, change, message):
    output = refused(tmp_path, {**copy.deepcopy(TINY), **change})
    assert message in output
    assert not (tmp_path / "results").exists()


def fields(ids=IDS):
    """Images and three-class masks by id: squares on noise."""
    rng = np.random.default_rng(0)
    drawn = {}
    for image_id in ids:
        mask = np.zeros(SHAPE, np.uint8)
        y, x = rng.integers(0, 40, 2)
        mask[y : y + 12, x : x + 12] = 2
        drawn[image_id] = [(rng.integers(90, 110, SHAPE) + 40 * mask).astype(np.uint16), mask]
    return drawn


def write(folder, drawn, table=None):
    """Files with plain numbers as names, and the table of `drawn`, which `table` may change."""
    folder.mkdir(parents=True)
    rows = []
    for number, (image_id, (image, mask)) in enumerate(drawn.items()):
        row = {"image_id": image_id, "modality": "fluorescence", "cell_line": "A", "group": image_id}
        row |= {"image": f"{number}.tif", "mask": f"{number}_mask.tif"}
        tifffile.imwrite(folder / row["image"], image)
        tifffile.imwrite(folder / row["mask"], mask)
        rows.append(row)
    frame = pd.DataFrame(rows)
    (frame if table is None else table(frame)).to_csv(folder / "images.tsv", sep="\t", index=False)


def cut(path, size):
    path.write_bytes(path.read_bytes()[:size])


def no_mask(folder):
    (folder / "3_mask.tif").unlink()


def other_size(folder):
    tifffile.imwrite(folder / "3_mask.tif", np.zeros((40, 72), np.uint8))


def colour(folder):
    tifffile.imwrite(folder / "3.tif", np.random.default_rng(0).integers(0, 255, (*SHAPE, 3), np.uint8))


def float_with(value):
    def change(folder):
        image = tifffile.imread(folder / "3.tif").astype(np.float32)
        image[5, 6] = value
        tifffile.imwrite(folder / "3.tif", image)

    return change


def unknown_code(folder):
    mask = tifffile.imread(folder / "3_mask.tif")
    mask[0, 0] = 9
    tifffile.imwrite(folder / "3_mask.tif", mask)


def with_ids(image_id):
    return lambda frame: frame.assign(image_id=frame["image_id"].where(frame.index != 3, image_id))


FAULTS = {
    # name: what is done to the files, to the table, and what the message says of which file
    "no_mask": (no_mask, None, r"3_mask.tif does not exist"),
    "other_size": (other_size, None, r"3.tif is 64 x 72 pixels, but its mask .*3_mask.tif is 40 x 72 pixels"),
    "colour": (colour, None, r"3.tif: a colour image, shape \(64, 72, 3\).*save the one to use"),
    "truncated": (lambda folder: cut(folder / "3.tif", 5000), None, r"3.tif: cannot be read"),
    "zero_byte": (lambda folder: cut(folder / "3.tif", 0), None, r"3.tif: cannot be read"),
    "zero_byte_mask": (lambda folder: cut(folder / "3_mask.tif", 0), None, r"3_mask.tif: cannot be read"),
    "not_a_number": (float_with(np.nan), None, r"3.tif: 1 pixels are NaN or infinite: give them a value"),
    "infinite": (float_with(np.inf), None, r"3.tif: 1 pixels are NaN or infinite"),
    "unknown_code": (unknown_code, None, r"3_mask.tif: the three-class mask holds the value 9; its codes are"),
    "duplicate": (None, with_ids("a b"), r"image_id 'a b' occurs more than once"),
    "parent": (None, with_ids(".."), r"image_id '..' is a path"),
    "path": (None, with_ids("../../b"), r"image_id '../../b' is a path"),
}


# Those that go through Snakemake: one of a file, an image, a mask and the table. All of them go through the job.
THROUGH_SNAKEMAKE = ("no_mask", "truncated", "unknown_code", "duplicate")


@pytest.fixture(scope="module")
def faulty(tmp_path_factory):
    """One run over sets with faults, and over three that are sound; its folder and output."""
    folder = tmp_path_factory.mktemp("faulty")
    config = copy.deepcopy(TINY)
    dataset = config.pop("datasets")[0] | {"split": COUNTS}
    sets = {}
    for name in THROUGH_SNAKEMAKE:
        write_faulty(folder / "data" / name, name)
        sets[name] = dataset
    drawn = fields()
    drawn["007"] = [np.full(SHAPE, 500, np.uint16), np.zeros(SHAPE, np.uint8)]  # constant; without a nucleus
    write(folder / "data" / "sound", drawn)
    sets["sound"] = dataset
    write(folder / "data" / "not_to_be_split", drawn)
    sets["not_to_be_split"] = dataset | {"split": [3, 2, 2]}
    write(folder / "data" / "large_group", drawn, lambda frame: frame.assign(group=["one"] * 5 + ["other"]))
    sets["large_group"] = dataset
    config["datasets"] = [
        setting | {"name": name, "source": {"layout": "table", "path": f"{name}/images.tsv"}}
        for name, setting in sets.items()
    ]
    targets = [f"results/{name}/{file}" for name in sets for file in ("splits.tsv", "targets.zarr")]
    run = snakemake(folder, "--keep-going", *targets, config=config, check=False)
    return folder, run


def write_faulty(folder, name):
    change, table, _ = FAULTS[name]
    write(folder, fields(), table)
    if change is not None:
        change(folder)


def test_every_fault_ends_in_exit_status_1_without_a_traceback(faulty):
    _, run = faulty
    assert run.returncode == 1 and "Traceback" not in run.stdout, run.stdout


def check_message(name, log, seen, results):
    message = log[log.index("ERROR Error: ") + len("ERROR ") :].strip()
    assert re.search(FAULTS[name][2], message) and f"/{name}" in message, log
    assert message in seen and "Traceback" not in log  # the person at the terminal sees it too
    assert not [*results.glob("*")]


@pytest.mark.parametrize("name", THROUGH_SNAKEMAKE)
def test_a_fault_is_told_with_its_file_and_remedy_and_leaves_nothing(faulty, name):
    folder, run = faulty
    log = (folder / "results/logs/convert_dataset" / f"{name}.log").read_text()
    check_message(name, log, run.stdout, folder / "results" / name)


@pytest.mark.parametrize("name", FAULTS)
def test_the_job_tells_a_fault_with_its_file_and_remedy_and_leaves_nothing(tmp_path, capsys, name):
    folder, results = tmp_path / name, tmp_path / "results"
    write_faulty(folder, name)
    results.mkdir()
    source = {"layout": "table", "path": str(folder / "images.tsv"), "mask": TINY["datasets"][0]["mask"]}
    names = ("images.zarr", "annotations.zarr", "fields.tsv", "source.json")
    with pytest.raises(SystemExit) as ended, job(tmp_path / "log"):
        convert_dataset(source, ConvertedFiles(*(results / file for file in names)), workers=1)
    assert ended.value.code == 1
    check_message(name, (tmp_path / "log").read_text(), capsys.readouterr().err, results)


def test_the_work_on_sound_sets_is_kept(faulty):
    folder, _ = faulty
    sound = folder / "results" / "sound"
    assert sorted(read_splits(sound / "splits.tsv")["image_id"]) == sorted(IDS)
    files = {path.name for path in folder.rglob("*")}
    assert not files & {"hacked", *IDS}  # ids are data, never names of files or words of a shell
    for name in ("not_to_be_split", "large_group"):
        assert (folder / "results" / name / "targets.zarr").is_dir()
        assert not (folder / "results" / name / "splits.tsv").exists()


def test_images_copied_anew_rerun_nothing_and_a_changed_one_does(faulty):
    folder, _ = faulty
    config = yaml.safe_load((folder / "study.yaml").read_text())
    target = "results/sound/targets.zarr"
    image, *_ = sorted((folder / "data" / "sound").rglob("*.tif"))
    before = image.read_bytes()
    try:
        for path in (folder / "data" / "sound").rglob("*"):
            os.utime(path, (10**9, 10**9))
        assert "Nothing to be done" in snakemake(folder, "--dry-run", target, config=config).stdout
        image.write_bytes(before[:-1] + bytes([before[-1] ^ 1]))
        changed = snakemake(folder, "--dry-run", target, config=config)
        assert planned_jobs(changed) == {"convert_dataset": 1, "binarize_masks": 1}
    finally:
        image.write_bytes(before)


def test_a_constant_image_becomes_zeros_and_a_mask_may_be_empty(faulty):
    folder, _ = faulty
    sound = folder / "results" / "sound"
    rows = read_fields(sound / "fields.tsv").set_index("image_id")
    array, row = rows.loc["007", ["array", "row"]]
    image = np.asarray(open_stack(sound / "images.zarr", array)[int(row)])
    assert (image == 500).all() and (normalize(image) == 0).all()
    assert not np.asarray(open_stack(sound / "targets.zarr", f"binary/{array}")[int(row)]).any()


@pytest.mark.parametrize(
    "name, message",
    [
        ("not_to_be_split", "sizes 3 + 2 + 2 = 7, but the data set has 6 images: give numbers with that sum"),
        ("large_group", "group 'one' has 5 images, more than any part of this cell line"),
    ],
)
def test_a_split_that_cannot_be_had_is_told(faulty, name, message):
    folder, run = faulty
    assert message in (folder / "results/logs/split_dataset" / f"{name}.log").read_text() and message in run.stdout


def test_data_that_are_not_there_are_told_and_nothing_is_trained(tmp_path):
    config = copy.deepcopy(TINY)
    config["datasets"][0]["source"] = {"layout": "table", "path": "imagse.tsv"}
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "images.tsv").touch()
    output = refused(tmp_path, config)
    assert "imagse.tsv does not exist; did you mean 'images.tsv'?" in output
    assert not (tmp_path / "results" / "tiny").exists() or not list((tmp_path / "results" / "tiny").iterdir())


def test_a_gpu_that_is_not_there_stops_training(trained):
    config = {**TINY, "training": {**TINY["training"], "device": "cuda"}, "contrasts": []}
    config["models"] = [{"name": "on-gpu", "preset": "simplified", "widths": [2, 4]}]
    target = "results/tiny/models/on-gpu/fluorescence/seed0/weights.safetensors"
    output = refused(trained, config, target)
    assert "this job finds no GPU" in output
    assert not (trained / target).exists()


def test_a_full_disk_is_told_and_the_run_goes_on_when_there_is_room(tmp_path):
    config = {**copy.deepcopy(TINY), "results": "disk/results"}
    target = "disk/results/tiny/splits.tsv"
    with small_disk(tmp_path / "disk", 1):
        output = refused(tmp_path, config, target)
        assert "free some" in output
        assert not (tmp_path / "disk/results/tiny/fields.tsv").exists()
        subprocess.run(["mount", "-o", "remount,size=100m", str(tmp_path / "disk")], check=True)
        snakemake(tmp_path, target, config=config)
        assert len(read_fields(tmp_path / "disk/results/tiny/fields.tsv")) == 56


def test_results_that_cannot_be_written_are_told(tmp_path):
    with small_disk(tmp_path / "disk", 1):
        subprocess.run(["mount", "-o", "remount,ro", str(tmp_path / "disk")], check=True)
        output = refused(tmp_path, {**copy.deepcopy(TINY), "results": "disk/results"})
        assert "Read-only file system" in output and "disk/results" in output
