"""What clusters do to jobs. Whatever it is, the training ends in the same bytes as one that was left alone.

A training stops itself when it has a checkpoint, before something is done to its job, so that it does not end before.
"""

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import pytest
from conftest import HERE, ROOT, RUN, STOPS, WEIGHTS, Controller, allocation, slurm, stopped, wait_for

from verify_reproducibility import compare

ON_C1 = "train_model:slurm_extra='--signal=USR1@120 --nodelist=c1'"


def same_bytes(controller: Controller, undisturbed: Path) -> bool:
    """Whether the training left the files of the undisturbed one, each once, and no unfinished work."""
    folder = controller.folder / RUN
    names = sorted(path.name for path in folder.iterdir())
    assert names == ["history.csv", "run.json", "weights.safetensors"]
    *_, wrong = compare(controller.folder / "results", undisturbed / "results")
    return not [name for name in wrong if not name.endswith("(in one of them only)")]


def trained_epochs(log: str) -> list[int]:
    """The epochs that a training itself made."""
    return [int(number) for number in re.findall(r"epoch (\d+)/12", log)]


def resumed(log: str) -> bool:
    """Whether a training went on after an epoch that an earlier one made, says so, and made those that follow alone."""
    after, made = int(re.search(r"resuming after epoch (\d+) of 12", log)[1]), trained_epochs(log)
    return after >= 2 and made == list(range(after + 1, after + 1 + len(made)))


def start_again_now(job: str, *changes: str) -> None:
    """Spare a job that SLURM puts back into its queue the two minutes that it lies there."""

    def is_back():
        facts = allocation(job)
        return facts["Restarts"] == "1" and facts["JobState"] == "PENDING"

    wait_for(is_back, f"job {job} is put back into the queue")
    slurm("scontrol", "update", f"jobid={job}", *changes, "StartTime=now")


@dataclass(frozen=True)
class Ends:
    """One training whose first three jobs end early. `logs` are those of its second to last job."""

    controller: Controller
    status: int
    given: list[dict[str, str]]
    logs: list[str]

    @property
    def states(self) -> list[str]:
        return [job["state"] for job in self.controller.jobs()]


def three_ends(scene):
    """A job reaches its time limit, with memory and time as the rule declares. The one after it is cancelled. The third
    gets SLURM's signal before the end of the time, as the profile asks for it."""
    controller = scene.trainer("three_ends", stop_at=STOPS)
    controller.start("--set-resources", ON_C1)
    first = controller.running()["id"]
    controller.training(first)
    given = [allocation(first)]
    slurm("scontrol", "update", f"jobid={first}", "TimeLimit=1")

    second = controller.running(2)["id"]
    controller.training(second)
    given, logs = [*given, allocation(second)], [controller.log]
    slurm("scancel", second)

    third = controller.running(3)["id"]
    training = controller.training(third)
    # The signal comes two minutes before the end, so at once. Then the job has all the time to end by itself.
    hours, minutes, _ = allocation(third)["RunTime"].split(":")
    slurm("scontrol", "update", f"jobid={third}", f"TimeLimit={60 * int(hours) + int(minutes) + 2}")
    wait_for(lambda: training.was_sent(signal.SIGUSR1), "the signal before the end")
    slurm("scontrol", "update", f"jobid={third}", "TimeLimit=480")
    training.go_on()
    wait_for(lambda: "told to end" in controller.log, "the training saves itself")
    logs.append(controller.log)

    controller.training(controller.running(4)["id"]).go_on_to_the_end()
    status = controller.wait()
    return Ends(controller, status, given, [*logs, controller.log])


@pytest.mark.scenario(play=three_ends)
def test_a_job_that_ran_out_of_time_is_submitted_with_more(outcome):
    first, second = outcome.given
    assert outcome.states[0] == "TIMEOUT" and resumed(outcome.logs[0])
    assert (first["TimeLimit"], second["TimeLimit"]) == ("08:00:00", "16:00:00")
    assert "mem=16000M" in first["TRES"] and "mem=32000M" in second["TRES"]


@pytest.mark.scenario(play=three_ends)
def test_a_cancelled_job_is_submitted_again(outcome):
    assert outcome.states[1] == "CANCELLED" and resumed(outcome.logs[1])


@pytest.mark.scenario(play=three_ends)
def test_a_training_that_is_warned_saves_itself_and_ends(outcome):
    log = outcome.logs[1]
    assert "the job was told to end (SIGUSR1): the training is saved after step" in log and "Traceback" not in log
    assert outcome.states[2] == "FAILED" and resumed(outcome.logs[2])


@pytest.mark.scenario(play=three_ends)
def test_a_training_whose_jobs_ended_early_has_the_bytes_of_an_undisturbed_one(outcome, undisturbed):
    assert outcome.states == ["TIMEOUT", "CANCELLED", "FAILED", "COMPLETED"]
    assert outcome.status == 0 and same_bytes(outcome.controller, undisturbed)


def preempted(scene):
    """A job of a partition with priority needs the node: SLURM ends the training and puts it back into the queue.

    When it has run to its end, its weights are seen late, as network file systems may do.
    """
    extra = ["train_model:slurm_partition=scavenge", "train_model:slurm_extra='--nodelist=g2'"]
    controller = scene.trainer("preempted", stop_at=STOPS)
    controller.start("--set-resources", *extra)
    job = controller.running()["id"]
    before = controller.training(job)
    slurm("sbatch", "--partition=gpu", "--nodelist=g2", "--exclusive", "--output=/dev/null", "--wrap=sleep 2")
    start_again_now(job)
    wait_for(before.has_ended, "the preempted training ends")

    training = controller.training(job)
    weights, unseen = controller.folder / WEIGHTS, controller.folder / "unseen"
    snakemake = training.snakemake()
    os.kill(snakemake, signal.SIGSTOP)
    training.go_on_to_the_end()
    weights.rename(unseen)
    os.kill(snakemake, signal.SIGCONT)
    waits = "seconds for missing files"
    wait_for(lambda: any(waits in log.read_text() for log in controller.job_logs()), "Snakemake waits for the file")
    state = controller.jobs()[0]["state"]
    unseen.rename(weights)
    return controller, state, controller.wait()


@pytest.mark.scenario(play=preempted)
def test_a_preempted_job_goes_on_when_slurm_starts_it_again(outcome, undisturbed):
    controller, _, status = outcome
    assert [job["state"] for job in controller.jobs()] == ["COMPLETED"]
    assert status == 0 and resumed(controller.log) and same_bytes(controller, undisturbed)


@pytest.mark.scenario(play=preempted)
def test_a_file_that_is_seen_late_is_waited_for(outcome):
    controller, state, status = outcome
    assert state == "RUNNING" and status == 0 and len(controller.jobs()) == 1


def dead_node(scene):
    """The node's daemon is killed. What ran there goes on, unseen by SLURM, when everything is over."""
    controller = scene.trainer("dead_node")
    controller.start("--set-resources", "train_model:slurm_partition=doomed", "train_model:slurm_extra='--exclude=c1'")
    job = controller.running()["id"]
    training = controller.training(job)
    daemon = int((scene.cluster / "run/slurmd-d1.pid").read_text())
    subprocess.run(["kill", "-9", str(daemon)], check=True)
    # SLURM would see it by itself, after minutes (SlurmdTimeout).
    slurm("scontrol", "update", "nodename=d1", "state=down", "reason=its daemon was killed")
    start_again_now(job, "ExcNodeList=d1")
    status = controller.wait()
    before = {path: path.read_bytes() for path in (controller.folder / RUN).iterdir()}
    training.go_on()
    wait_for(training.has_ended, "the late training ends")
    subprocess.run(["slurmd", "-N", "d1"], check=True)
    after = {path: path.read_bytes() for path in (controller.folder / RUN).iterdir()}
    return controller, status, before == after


@pytest.mark.scenario(play=dead_node)
def test_the_job_of_a_dead_node_runs_elsewhere_and_its_late_process_writes_nothing(outcome, undisturbed):
    controller, status, untouched = outcome
    assert status == 0 and resumed(controller.log) and same_bytes(controller, undisturbed) and untouched


def out_of_memory(scene):
    """The first allocation is too small for torch. The training stops itself, so that SLURM has the time to see it."""
    memory = "train_model:mem_mb=300 * 8 ** (attempt - 1)"
    controller = scene.trainer("out_of_memory")
    controller.start("--set-resources", memory, ON_C1)
    second = controller.running(2)["id"]

    def ends():
        # Where the first training was killed before it stopped itself, the second comes by that point.
        if training := controller.stopped_training(second):
            training.go_on()
        return controller.process.poll() is not None

    wait_for(ends, "the second job ends")
    return controller, controller.wait(), allocation(controller.jobs()[0]["id"]), allocation(second)


@pytest.mark.scenario(play=out_of_memory)
def test_a_job_that_ran_out_of_memory_is_submitted_with_more(outcome, undisturbed):
    controller, status, first, second = outcome
    assert controller.jobs()[0]["state"] in ("OUT_OF_MEMORY", "FAILED", "CANCELLED")
    assert "mem=300M" in first["TRES"] and "mem=2400M" in second["TRES"]
    assert status == 0 and same_bytes(controller, undisturbed)


def interrupted(scene):
    """Ctrl-C. Called again, Snakemake is killed (`kill -9`), and called once more while its job still runs."""
    controller = scene.trainer("interrupted", stop_at=STOPS)
    controller.start("--set-resources", ON_C1, LOOKS="none")
    controller.training(controller.running()["id"])
    controller.process.send_signal(signal.SIGINT)
    status = controller.wait()
    wait_for(lambda: controller.jobs()[0]["state"] == "CANCELLED", "the job is cancelled")

    controller.start("--set-resources", ON_C1)
    second = controller.running(2)["id"]
    training, log = controller.training(second), controller.log
    with training.beating():
        controller.kill()
        controller.finish("--unlock")
        controller.start("--set-resources", ON_C1)
        controller.running(3)
        waits = f"waiting for its owner, SLURM job {second} on "
        wait_for(lambda: waits in controller.log, "the third job waits")
    training.go_on_to_the_end()
    return controller, status, log, controller.wait()


@pytest.mark.scenario(play=interrupted)
def test_an_interrupted_snakemake_cancels_its_jobs_and_goes_on_when_called_again(outcome):
    controller, interrupted, log, _ = outcome
    assert interrupted == 1 and controller.jobs()[0]["state"] == "CANCELLED" and resumed(log)


@pytest.mark.scenario(play=interrupted)
def test_a_job_that_is_submitted_twice_runs_once(outcome, undisturbed):
    controller, _, _, status = outcome
    assert [job["state"] for job in controller.jobs()] == ["CANCELLED", "COMPLETED", "COMPLETED"]
    assert "finished by the job that this one waited for" in controller.log and not trained_epochs(controller.log)
    assert status == 0 and same_bytes(controller, undisturbed)


def half_of_a_job(scene):
    """The scores of what a job predicted cannot be written: something is in the way, which is taken away."""
    controller = scene.trainer("half_of_a_job", stop_at="deployed-array-0")
    controller.command[controller.command.index(WEIGHTS)] = f"{RUN}/scores.parquet"
    folder = controller.folder / RUN
    folder.mkdir(parents=True)
    for name in ("weights.safetensors", "history.csv", "run.json"):
        shutil.copy2(scene.undisturbed / RUN / name, folder)
    controller.start()
    first, predicting = half_way(controller, 1)
    in_the_way = folder / "crop_scores.parquet/in_the_way"
    in_the_way.mkdir(parents=True)
    os.kill(predicting, signal.SIGCONT)
    second, predicting = half_way(controller, 2)
    shutil.rmtree(in_the_way.parent)
    os.kill(predicting, signal.SIGCONT)
    return controller, controller.wait(), allocation(first), allocation(second)


def half_way(controller: Controller, number: int) -> tuple[str, int]:
    """The `number`-th job of a controller, and its process that has predicted and stopped."""
    job = controller.running(number)["id"]
    process, *_ = wait_for(lambda: next(stopped(job), None), f"job {job} has predicted")
    return job, process


@pytest.mark.scenario(play=half_of_a_job)
def test_a_job_of_two_rules_whose_second_fails_is_submitted_again(outcome, undisturbed):
    controller, status, first, second = outcome
    assert [job["state"] for job in controller.jobs()] == ["FAILED", "COMPLETED"]
    # The memory of the larger rule, and the time of both.
    assert "mem=8000M" in first["TRES"] and first["TimeLimit"] == "03:00:00"
    assert "mem=16000M" in second["TRES"] and second["TimeLimit"] == "06:00:00"
    assert status == 0 and same_scores(controller, undisturbed)


def same_scores(controller: Controller, undisturbed: Path) -> bool:
    """Whether predictions and scores are those of the undisturbed run."""
    identical, _, wrong = compare(controller.folder / RUN, undisturbed / RUN)
    return {"scores.parquet", "crop_scores.parquet", "predictions.tsv", "examples.npz"} <= set(identical) and not wrong


ELSEWHERE = ("unshare", "--pid", "--fork", "--mount-proc")
"""Where the processes of this host are not to be seen, as on another login node."""


def another_login_node(scene):
    """A controller lives on one host. From another one somebody unlocks the folder, takes its lock away by hand and
    starts a second controller there; and unlocks once more, when the first was killed and its heart is silent."""
    controller = scene.trainer("another_login_node")
    controller.start("--set-resources", ON_C1)
    job = controller.running()["id"]
    controller.training(job)
    (record,) = controller.folder.glob(".snakemake/controllers/owner-*")
    respected = unlock(controller)
    locked = any(controller.folder.glob(".snakemake/locks/*"))
    shutil.rmtree(controller.folder / ".snakemake/locks")
    second = subprocess.run([*ELSEWHERE, *controller.command], cwd=controller.folder, capture_output=True, text=True)
    state = allocation(job)["JobState"]

    controller.kill()
    os.utime(record, (time.time() - 600,) * 2)
    cleared = unlock(controller)
    return controller, respected, locked, second, state, cleared, controller.start().wait()


def unlock(controller: Controller) -> subprocess.CompletedProcess:
    """What `unlock.sh` does in the folder of a controller, on another host."""
    path = f"{HERE / 'bin'}:{Path(sys.executable).parent}:{os.environ['PATH']}"
    command = [*ELSEWHERE, ROOT / "scripts/unlock.sh", *controller.command[controller.command.index("--configfile") :]]
    environment = os.environ | {"PATH": path}
    return subprocess.run(command, cwd=controller.folder, env=environment, capture_output=True, text=True)


@pytest.mark.scenario(play=another_login_node)
def test_a_controller_that_lives_on_another_host_is_respected(outcome):
    _, respected, locked, second, state, *_ = outcome
    who = f"snakemake of root on {os.uname().nodename} "
    assert respected.returncode == 75 and who in respected.stderr and "nothing is done" in respected.stderr
    assert second.returncode == 1 and who in second.stderr and "makes the same files and is alive" in second.stderr
    assert locked and state == "RUNNING"


@pytest.mark.scenario(play=another_login_node)
def test_a_controller_that_died_on_another_host_is_cleared(outcome, undisturbed):
    controller, *_, cleared, status = outcome
    first, *_ = controller.jobs()
    assert cleared.returncode == 0 and f"left behind: {first['id']}" in cleared.stderr
    assert first["state"] == "CANCELLED" and "ended without a word" in cleared.stderr
    assert status == 0 and resumed(controller.log) and same_bytes(controller, undisturbed)
    assert not any(controller.folder.glob(".snakemake/controllers/owner-*"))


def full_disk(scene):
    """The results lie on a disk too small for them."""
    controller = scene.trainer("full_disk", stop_at=None)
    results = controller.folder / "results"
    kept = results.rename(controller.folder / "kept")
    results.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", results], check=True)
    shutil.copytree(kept, results, dirs_exist_ok=True)
    filler = results / "filler"
    filler.write_bytes(bytes(shutil.disk_usage(results).free - 250_000))
    try:
        first = controller.start("--retries", "0", "--set-resources", ON_C1).wait()
        said = controller.said
        filler.unlink()
        second = controller.start("--set-resources", ON_C1).wait()
        shutil.copytree(results, kept, dirs_exist_ok=True)
    finally:
        subprocess.run(["umount", "--lazy", results], check=True)
    shutil.rmtree(results)
    kept.rename(results)
    return controller, first, said, second


@pytest.mark.scenario(play=full_disk)
def test_a_full_disk_is_told_and_the_rerun_completes(outcome, undisturbed):
    controller, first, said, second = outcome
    assert first == 1 and "no space is left on the disk: free some, and run again" in said
    assert second == 0 and same_bytes(controller, undisturbed)
