"""What clusters do to jobs. Whatever it is, the training ends in the same bytes as one that was left alone.

A training stops itself when it has a checkpoint, before something is done to its job, so that it does not end before.
"""

import os
import re
import shutil
import signal
import subprocess
from pathlib import Path

import pytest
from conftest import RUN, WEIGHTS, Controller, allocation, slurm, wait_for

from verify_reproducibility import compare

ON_C1 = "train_model:slurm_extra='--signal=USR1@120 --nodelist=c1'"


def same_bytes(controller: Controller, undisturbed: Path) -> bool:
    """Whether the training left the files of the undisturbed one, each once, and no unfinished work."""
    folder = controller.folder / RUN
    names = sorted(path.name for path in folder.iterdir())
    assert names == ["history.csv", "run.json", "weights.safetensors"]
    *_, wrong = compare(controller.folder / "results", undisturbed / "results")
    return not [name for name in wrong if not name.endswith("(in one of them only)")]


def trained_epochs(controller: Controller) -> list[int]:
    """The epochs that the last training of a controller itself made."""
    return [int(number) for number in re.findall(r"epoch (\d+)/12", controller.log)]


def resumed(controller: Controller) -> bool:
    """Whether the last training went on after an epoch, says so, and made the rest of the epochs alone."""
    after = int(re.search(r"resuming after epoch (\d+) of 12", controller.log)[1])
    return after >= 1 and trained_epochs(controller) == list(range(after + 1, 13))


def start_again_now(job: str, *changes: str) -> None:
    """Spare a job that SLURM puts back into its queue the two minutes that it lies there."""

    def is_back():
        facts = allocation(job)
        return facts["Restarts"] == "1" and facts["JobState"] == "PENDING"

    wait_for(is_back, f"job {job} is put back into the queue")
    slurm("scontrol", "update", f"jobid={job}", *changes, "StartTime=now")


def time_out(scene):
    """The job reaches its time limit, with memory and time as the rule declares."""
    controller = scene.trainer("time_out")
    controller.start("--set-resources", ON_C1)
    first = controller.running()["id"]
    controller.training(first)
    before = allocation(first)
    slurm("scontrol", "update", f"jobid={first}", "TimeLimit=1")
    second = controller.running(2)["id"]
    return controller, controller.wait(), before, allocation(second)


@pytest.mark.scenario(play=time_out)
def test_a_job_that_ran_out_of_time_is_submitted_with_more(outcome, undisturbed):
    controller, status, first, second = outcome
    assert status == 0 and controller.jobs()[0]["state"] == "TIMEOUT"
    assert (first["TimeLimit"], second["TimeLimit"]) == ("08:00:00", "16:00:00")
    assert "mem=16000M" in first["TRES"] and "mem=32000M" in second["TRES"]
    assert resumed(controller) and same_bytes(controller, undisturbed)


def warning_before_the_end(scene):
    """SLURM's signal before the end of the time, as the profile asks for it."""
    controller = scene.trainer("warning_before_the_end")
    controller.start("--set-resources", ON_C1)
    first = controller.running()["id"]
    training = controller.training(first)
    # The signal comes two minutes before the end, so at once. Then the job has all the time to end by itself.
    minutes = int(allocation(first)["RunTime"].split(":")[1])
    slurm("scontrol", "update", f"jobid={first}", f"TimeLimit={minutes + 2}")
    wait_for(lambda: training.was_sent(signal.SIGUSR1), "the signal before the end")
    slurm("scontrol", "update", f"jobid={first}", "TimeLimit=480")
    training.go_on()
    wait_for(lambda: "told to end" in controller.log, "the training saves itself")
    return controller, controller.log, controller.wait()


@pytest.mark.scenario(play=warning_before_the_end)
def test_a_training_that_is_warned_saves_itself_and_ends(outcome, undisturbed):
    controller, first, status = outcome
    assert "the job was told to end (SIGUSR1): the training is saved after step" in first and "Traceback" not in first
    assert [job["state"] for job in controller.jobs()] == ["FAILED", "COMPLETED"]
    assert status == 0 and resumed(controller) and same_bytes(controller, undisturbed)


def cancelled(scene):
    controller = scene.trainer("cancelled")
    controller.start("--set-resources", ON_C1)
    first = controller.running()["id"]
    controller.training(first)
    slurm("scancel", first)
    return controller, controller.wait()


@pytest.mark.scenario(play=cancelled)
def test_a_cancelled_job_is_submitted_again(outcome, undisturbed):
    controller, status = outcome
    assert [job["state"] for job in controller.jobs()] == ["CANCELLED", "COMPLETED"]
    assert status == 0 and resumed(controller) and same_bytes(controller, undisturbed)


def preempted(scene):
    """A job of a partition with priority needs the node: SLURM ends the training and puts it back into the queue."""
    extra = ["train_model:slurm_partition=scavenge", "train_model:slurm_extra='--nodelist=g2'"]
    controller = scene.trainer("preempted")
    controller.start("--set-resources", *extra)
    job = controller.running()["id"]
    controller.training(job)
    slurm("sbatch", "--partition=gpu", "--nodelist=g2", "--exclusive", "--output=/dev/null", "--wrap=sleep 2")
    start_again_now(job)
    return controller, controller.wait()


@pytest.mark.scenario(play=preempted)
def test_a_preempted_job_goes_on_when_slurm_starts_it_again(outcome, undisturbed):
    controller, status = outcome
    assert [job["state"] for job in controller.jobs()] == ["COMPLETED"]
    assert status == 0 and resumed(controller) and same_bytes(controller, undisturbed)


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
    assert status == 0 and resumed(controller) and same_bytes(controller, undisturbed) and untouched


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


def killed_controller(scene):
    """`kill -9` of Snakemake; it is started again while its job still runs."""
    controller = scene.trainer("killed_controller")
    controller.start("--set-resources", ON_C1)
    first = controller.running()["id"]
    training = controller.training(first)
    with training.beating():
        controller.kill()
        controller.finish("--unlock")
        controller.start("--set-resources", ON_C1)
        controller.running(2)
        waits = f"waiting for its owner, SLURM job {first} on "
        wait_for(lambda: waits in controller.log, "the second job waits")
    training.go_on()
    return controller, controller.wait()


@pytest.mark.scenario(play=killed_controller)
def test_a_job_that_is_submitted_twice_runs_once(outcome, undisturbed):
    controller, status = outcome
    assert [job["state"] for job in controller.jobs()] == ["COMPLETED", "COMPLETED"]
    assert "finished by the job that this one waited for" in controller.log and not trained_epochs(controller)
    assert status == 0 and same_bytes(controller, undisturbed)


def interrupted(scene):
    """Ctrl-C."""
    controller = scene.trainer("interrupted")
    controller.start("--set-resources", ON_C1, LOOKS="none")
    first = controller.running()["id"]
    controller.training(first)
    controller.process.send_signal(signal.SIGINT)
    status = controller.wait()
    wait_for(lambda: controller.jobs()[0]["state"] == "CANCELLED", "the job is cancelled")
    return controller, status, controller.start().wait()


@pytest.mark.scenario(play=interrupted)
def test_an_interrupted_snakemake_cancels_its_jobs_and_goes_on_when_called_again(outcome, undisturbed):
    controller, interrupted, status = outcome
    assert interrupted == 1 and len(controller.jobs()) == 2
    assert status == 0 and resumed(controller) and same_bytes(controller, undisturbed)


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


def slow_file_system(scene):
    """The weights are seen seconds after the training that wrote them has ended, as network file systems may do."""
    controller = scene.trainer("slow_file_system")
    controller.start("--set-resources", ON_C1)
    training = controller.training(controller.running()["id"])
    weights, unseen = controller.folder / WEIGHTS, controller.folder / "unseen"
    snakemake = training.snakemake()
    os.kill(snakemake, signal.SIGSTOP)
    training.go_on()
    wait_for(training.has_ended, "the end of the training")
    weights.rename(unseen)
    os.kill(snakemake, signal.SIGCONT)
    waits = "seconds for missing files"
    wait_for(lambda: any(waits in log.read_text() for log in controller.job_logs()), "Snakemake waits for the file")
    state = controller.jobs()[0]["state"]
    unseen.rename(weights)
    return controller, state, controller.wait()


@pytest.mark.scenario(play=slow_file_system)
def test_a_file_that_is_seen_late_is_waited_for(outcome, undisturbed):
    controller, state, status = outcome
    assert state == "RUNNING" and [job["state"] for job in controller.jobs()] == ["COMPLETED"]
    assert status == 0 and same_bytes(controller, undisturbed)
