"""A cluster without accounting, such as small ones are, whose controller goes away. The last tests of the session, as
they change the cluster."""

import os
import signal
import subprocess
from pathlib import Path

import pytest
from conftest import HERE, RUN, Controller, allocation, slurm, wait_for

from verify_reproducibility import compare


@pytest.fixture(scope="module")
def without_accounting(cluster) -> Path:
    subprocess.run([HERE / "stop_slurm.sh", cluster], check=True)
    subprocess.run([HERE / "start_slurm.sh", cluster, "--no-accounting"], check=True)
    return cluster


def test_the_same_profile_serves_a_cluster_without_accounting(without_accounting, scene, undisturbed):
    assert "accounting_storage/none" in slurm("scontrol", "show", "config")
    controller = scene.trainer("without_accounting", stop_at=None).finish()
    assert has_the_bytes(controller, undisturbed)


def has_the_bytes(controller: Controller, undisturbed: Path) -> bool:
    """Whether the training left the files of the undisturbed one."""
    names = sorted(path.suffix for path in (controller.folder / RUN).iterdir())
    identical, *_ = compare(controller.folder / "results", undisturbed / "results")
    return names == [".csv", ".json", ".safetensors"] and (
        f"{RUN}/weights.safetensors".removeprefix("results/") in identical
    )


def test_slurm_may_be_away_while_a_job_is_submitted_and_while_it_runs(without_accounting, scene, undisturbed):
    """The controller of SLURM is frozen with the submission in its inbox, and later killed while the job runs."""
    pid_file = without_accounting / "run/slurmctld.pid"
    controller = scene.trainer("slurm_away")
    # As long as SLURM's default is the patience of its programs too long for a test.
    short = (without_accounting / "etc/slurm.conf").read_text()
    short = short.replace("MessageTimeout=60", "MessageTimeout=4").replace("TCPTimeout=30", "TCPTimeout=2")
    (without_accounting / "etc/short.conf").write_text(short)
    partition = ("--default-resources", "slurm_partition=cpu", "mem_mb=2000", "runtime=60")

    os.kill(int(pid_file.read_text()), signal.SIGSTOP)
    controller.start(*partition, SLURM_CONF=str(without_accounting / "etc/short.conf"))
    wait_for(lambda: "SLURM does not answer (sbatch: " in controller.said, "it is told that SLURM does not answer")
    os.kill(int(pid_file.read_text()), signal.SIGCONT)
    job = controller.running()["id"]
    training = controller.training(job)
    wait_for(lambda: controller.said.count("SLURM answers again") == 1, "it is told that SLURM answers")

    os.kill(int(pid_file.read_text()), signal.SIGKILL)
    wait_for(lambda: controller.said.count("SLURM does not answer") > 1, "it is told again")
    subprocess.run(["slurmctld"], check=True)
    wait_for(lambda: subprocess.run(["scontrol", "ping"], capture_output=True).returncode == 0, "SLURM is back")
    training.go_on_to_the_end()
    assert controller.wait() == 0, controller.said
    assert [(one["id"], one["state"]) for one in controller.jobs()] == [(job, "COMPLETED")]
    given = allocation(job)
    assert given["TimeLimit"] == "08:00:00" and "mem=16000M" in given["TRES"]
    assert has_the_bytes(controller, undisturbed)
