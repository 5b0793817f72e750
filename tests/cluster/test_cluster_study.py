"""The study and a plate through SLURM: the same bytes as without it."""

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pandas as pd
import pytest
import yaml
from conftest import RUN, Controller, allocation, slurm, wait_for

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
    # split_dataset runs beside Snakemake.
    assert sorted(rules) == [
        "aggregate_f1", "binarize_masks", "convert_dataset", "draw_figures", "predict_test", "record_provenance",
        "report_study", "score_otsu", "score_test", "simulate_dataset", "train_model",
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

    def start(self) -> subprocess.Popen:
        environment = {**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
        return subprocess.Popen(
            self.command, env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
        )

    def tick(self) -> str:
        process = self.start()
        said, _ = process.communicate()
        assert process.returncode == 0, said
        return said


def snakemakes(inside_jobs: bool) -> list[int]:
    """Snakemakes that work in the copied project for its plates: those inside jobs, or those that submit them."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            command = (folder / "cmdline").read_bytes().decode().split("\0")
            of_plates = "--target-jobs" in command if inside_jobs else "plates" in command
            if (folder / "cwd").readlink() == project() and of_plates:
                found += [int(folder.name)] if Path(command[0]).name.startswith("python") else []
        except OSError:
            continue
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
    options = ["--workflow-profile", "profiles/slurm", "--slurm-init-seconds-before-status-checks", "1"]
    remote = Lab(folder, "remote", weights, *options)
    remote.tick()
    tick = remote.start()
    (job,) = wait_for(converting, "the plate's conversion runs")
    for process in snakemakes(inside_jobs=True):
        os.kill(process, signal.SIGSTOP)  # so that the job, short as it is, is still there when the next tick comes
    for process in snakemakes(inside_jobs=False):
        os.kill(process, signal.SIGKILL)
    tick.communicate()
    said, state = remote.tick(), allocation(job)["JobState"]
    local.tick(), local.tick()
    return local, remote, job, state, said


def converting() -> list[str]:
    """Jobs of the copied project that convert a plate now, once their snakemake is there."""
    lines = slurm("squeue", "--noheader", "--states=RUNNING", "--format=%i|%k|%Z").splitlines()
    jobs = [line.split("|") for line in lines]
    converts = [job for job, comment, folder in jobs if "convert_plate" in comment and folder == str(project())]
    return converts if snakemakes(inside_jobs=True) else []


@pytest.mark.scenario(play=plate)
def test_a_plate_has_the_bytes_of_the_local_run_though_its_snakemake_was_killed(outcome):
    local, remote, job, state, said = outcome
    assert f"cancelling jobs that a killed snakemake left behind: {job}" in said and state == "CANCELLED"
    shutil.rmtree(local.results / "logs"), shutil.rmtree(remote.results / "logs")
    identical, _, wrong = compare(local.results, remote.results)
    assert not wrong and any(name.endswith("report.html") for name in identical)
    assert any("segmentation.ome.zarr" in name for name in identical)
