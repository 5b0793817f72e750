"""The study and a plate through SLURM: the same bytes as without it."""

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import pandas as pd
import pytest
import yaml
from conftest import HERE, PATIENCE, RUN, Controller, allocation, stopped, wait_for, words_of

from equinuclei.simulation.plates import simulate_plate
from project_copy import project
from verify_reproducibility import compare

GPU = [f"train_model:{setting}" for setting in ("gpu=1", "slurm_partition=gpu", "gpu_model=a100")]


def study(scene):
    """The small study; its training has a GPU, which it does not use."""
    controller = Controller(scene.folder / "study", "study", "--slurm-efficiency-report")
    return controller.finish("--set-resources", *GPU)


@pytest.mark.scenario(play=study)
def test_the_study_has_the_bytes_of_the_local_run(outcome, undisturbed):
    identical, _, wrong = compare(outcome.folder / "results", undisturbed / "results")
    assert not wrong and any(name.endswith("weights.safetensors") for name in identical)
    assert any(name.endswith("f1.png") for name in identical) and len(identical) > 50


@pytest.mark.scenario(play=study)
def test_every_job_runs_once_and_tells_a_person_what_it_is(outcome):
    jobs = outcome.jobs()
    assert {job["state"] for job in jobs} == {"COMPLETED"}, outcome.said
    rules = [re.match("rule_([a-z0-9_]+?)(_wildcards|$)", job["comment"])[1] for job in jobs]
    # split_dataset runs beside Snakemake; one job predicts with a model and scores what it predicted.
    assert sorted(rules) == [
        "aggregate_f1", "binarize_masks", "convert_dataset", "draw_figures", "record_provenance", "report_study",
        "score_otsu", "simulate_dataset", "tiny_turning_fluorescence_seed0_predict_test_score_test", "train_model",
    ], outcome.said  # fmt: skip
    assert all(re.fullmatch("equinuclei_[0-9a-f-]{36}", job["name"]) for job in jobs)
    training = next(job for job in jobs if "train_model" in job["comment"])
    assert training["comment"].endswith("wildcards_tiny_turning_fluorescence_0")
    given = allocation(training["id"])
    assert given["Partition"] == "gpu" and "gres/gpu=1" in given["TRES"] and given["TresPerJob"] == "gres:gpu:a100:1"


@pytest.mark.scenario(play=study)
def test_the_efficiency_report_has_a_row_per_job(outcome):
    (report,) = outcome.folder.glob("efficiency_report_equinuclei_*.csv")
    assert pd.read_csv(report)["RuleName"].nunique() == len(outcome.jobs())


class Lab:
    """Ticks of autorun.sh over an inbox with one plate, with results and options of its own."""

    def __init__(self, folder: Path, name: str, weights: Path, *options: str) -> None:
        self.results, self.config = folder / name, folder / f"{name}.yaml"
        plates = {"inbox": str(folder / "inbox"), "results": str(self.results), "model": str(weights)}
        plates |= {"device": "cpu", "threads": 1, "channel": "DAPI"}
        self.config.write_text(yaml.safe_dump({"plates": plates}))
        self.command = [project() / "scripts/autorun.sh", "--configfile", self.config, *options]

    def start(self, **variables: str) -> subprocess.Popen:
        path = f"{HERE / 'bin'}:{Path(sys.executable).parent}:{os.environ['PATH']}"
        environment = {**os.environ, "PATH": path, **variables}
        return subprocess.Popen(
            self.command, env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
        )

    def tick(self) -> str:
        process = self.start()
        said, _ = process.communicate(timeout=2 * PATIENCE)
        assert process.returncode == 0, said
        return said


def controllers() -> list[int]:
    """Snakemakes that submit the jobs of plates in the copied project."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            words = words_of(int(folder.name))
            if "plates" in words and "--target-jobs" not in words and (folder / "cwd").readlink() == project():
                found.append(int(folder.name))
    return found


def plate(scene):
    """A plate by ticks of autorun.sh. The one that converts it is killed, with its snakemake, while the job runs."""
    folder = scene.folder / "plate"
    images = folder / "inbox/SIM"
    simulate_plate(images, folder / "truth", barcode="SIM", wells=["A01", "B02"], fields=1, size=96, seed=3)
    for path in (images / "Images").iterdir():
        os.utime(path, (time.time() - 86_400,) * 2)
    weights = scene.undisturbed / RUN / "weights.safetensors"
    local = Lab(folder, "local", weights, "--cores", "2")
    remote = Lab(folder, "remote", weights, "--workflow-profile", "profiles/slurm")
    remote.tick()
    tick = remote.start(EQUINUCLEI_STOP_AT="A01")
    job = wait_for(converting, "the plate's conversion has a well")
    tick.kill()
    for process in controllers():
        os.kill(process, signal.SIGKILL)
    tick.communicate()
    said, state = remote.tick(), allocation(job)["JobState"]
    local.tick(), local.tick()
    return local, remote, job, state, said


def converting() -> str | None:
    """The job of the copied project that has converted the first well of a plate, and has stopped."""
    return next((job for _, job, folder in stopped() if folder == project()), None)


@pytest.mark.scenario(play=plate)
def test_a_plate_has_the_bytes_of_the_local_run_though_its_snakemake_was_killed(outcome):
    local, remote, job, state, said = outcome
    assert f"cancelling jobs that a killed snakemake left behind: {job}" in said and state == "CANCELLED"
    shutil.rmtree(local.results / "logs"), shutil.rmtree(remote.results / "logs")
    identical, _, wrong = compare(local.results, remote.results)
    assert not wrong and any(name.endswith("report.html") for name in identical)
    assert any("segmentation.ome.zarr" in name for name in identical)
