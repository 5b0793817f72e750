"""What clusters do to jobs. Whatever it is, the training ends in the same bytes as one that was left alone.

The scenarios run beside each other, as most of their time is waiting for SLURM. A training that has a checkpoint is
stopped (SIGSTOP) before something is done to its job, so that it does not end before.
"""

import re
import shutil
import signal
import subprocess
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import pytest
from conftest import RUN, Controller, allocation, slurm, wait_for

from verify_reproducibility import compare

ON_C1 = "train_model:slurm_extra='--signal=USR1@120 --nodelist=c1'"

SCENARIOS: list[Callable] = []


def scenario(function: Callable) -> Callable:
    SCENARIOS.append(function)
    return function


@pytest.fixture(scope="module")
def played(cluster, trainer) -> dict[str, Future]:
    """The scenarios, under way: what each returns, by its name."""
    make = {function: trainer(function.__name__) for function in SCENARIOS}
    with ThreadPoolExecutor(len(SCENARIOS)) as pool:
        yield {function.__name__: pool.submit(function, controller, cluster) for function, controller in make.items()}


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


@scenario
def time_out(controller, cluster):
    """The job reaches its time limit, with memory and time as the rule declares."""
    controller.start("--set-resources", ON_C1)
    first = controller.running()["id"]
    controller.training(first)
    before = allocation(first)
    slurm("scontrol", "update", f"jobid={first}", "TimeLimit=1")
    second = controller.running(2)["id"]
    return controller, controller.wait(), before, allocation(second)


def test_a_job_that_ran_out_of_time_is_submitted_with_more(played, undisturbed):
    controller, status, first, second = played["time_out"].result()
    assert status == 0 and controller.jobs()[0]["state"] == "TIMEOUT"
    assert (first["TimeLimit"], second["TimeLimit"]) == ("08:00:00", "16:00:00")
    assert "mem=16000M" in first["TRES"] and "mem=32000M" in second["TRES"]
    assert resumed(controller) and same_bytes(controller, undisturbed)


@scenario
def warning_before_the_end(controller, cluster):
    """SLURM's signal before the end of the time, as the profile asks for it."""
    controller.start("--set-resources", ON_C1)
    first = controller.running()["id"]
    training = controller.training(first)
    slurm("scontrol", "update", f"jobid={first}", "TimeLimit=2")
    wait_for(lambda: training.was_sent(signal.SIGUSR1), "the signal before the end")
    log = next(controller.folder.glob("results/logs/train_model/tiny/*.log"))
    training.go_on()
    wait_for(lambda: "told to end" in log.read_text(), "the training saves itself")
    return controller, log.read_text(), controller.wait()


def test_a_training_that_is_warned_saves_itself_and_ends(played, undisturbed):
    controller, first, status = played["warning_before_the_end"].result()
    assert "the job was told to end (SIGUSR1): the training is saved after step" in first and "Traceback" not in first
    assert [job["state"] for job in controller.jobs()] == ["FAILED", "COMPLETED"]
    assert status == 0 and resumed(controller) and same_bytes(controller, undisturbed)


@scenario
def cancelled(controller, cluster):
    controller.start("--set-resources", ON_C1)
    first = controller.running()["id"]
    controller.training(first)
    slurm("scancel", first)
    return controller, controller.wait()


def test_a_cancelled_job_is_submitted_again(played, undisturbed):
    controller, status = played["cancelled"].result()
    assert [job["state"] for job in controller.jobs()] == ["CANCELLED", "COMPLETED"]
    assert status == 0 and resumed(controller) and same_bytes(controller, undisturbed)


@scenario
def preempted(controller, cluster):
    """A job of a partition with priority needs the node: SLURM ends the training and puts it back into the queue."""
    extra = ["train_model:slurm_partition=scavenge", "train_model:slurm_extra='--nodelist=g2'"]
    controller.start("--set-resources", *extra)
    job = controller.running()["id"]
    controller.training(job)
    slurm("sbatch", "--partition=gpu", "--nodelist=g2", "--exclusive", "--output=/dev/null", "--wrap=sleep 2")
    start_again_now(job)
    return controller, controller.wait()


def test_a_preempted_job_goes_on_when_slurm_starts_it_again(played, undisturbed):
    controller, status = played["preempted"].result()
    assert [job["state"] for job in controller.jobs()] == ["COMPLETED"]
    assert status == 0 and resumed(controller) and same_bytes(controller, undisturbed)


@scenario
def dead_node(controller, cluster):
    """The node's daemon is killed. What ran there goes on, unseen by SLURM, when everything is over."""
    controller.start("--set-resources", "train_model:slurm_extra='--exclude=c1,g2'")
    job = controller.running()["id"]
    training = controller.training(job)
    daemon = int((cluster / "run/slurmd-g1.pid").read_text())
    subprocess.run(["kill", "-9", str(daemon)], check=True)
    start_again_now(job, "ExcNodeList=g1")
    status = controller.wait()
    before = {path: path.read_bytes() for path in (controller.folder / RUN).iterdir()}
    training.go_on()
    wait_for(lambda: not Path(f"/proc/{training.process}").exists(), "the late training ends")
    subprocess.run(["slurmd", "-N", "g1"], check=True)
    after = {path: path.read_bytes() for path in (controller.folder / RUN).iterdir()}
    return controller, status, before == after


def test_the_job_of_a_dead_node_runs_elsewhere_and_its_late_process_writes_nothing(played, undisturbed):
    controller, status, untouched = played["dead_node"].result()
    assert status == 0 and resumed(controller) and same_bytes(controller, undisturbed) and untouched


@scenario
def out_of_memory(controller, cluster):
    """The first allocation is too small for torch."""
    memory = "train_model:mem_mb=300 * 8 ** (attempt - 1)"
    controller.start("--set-resources", memory, ON_C1)
    second = controller.running(2)["id"]
    return controller, controller.wait(), allocation(controller.jobs()[0]["id"]), allocation(second)


def test_a_job_that_ran_out_of_memory_is_submitted_with_more(played, undisturbed):
    controller, status, first, second = played["out_of_memory"].result()
    assert controller.jobs()[0]["state"] in ("OUT_OF_MEMORY", "FAILED", "CANCELLED")
    assert "mem=300M" in first["TRES"] and "mem=2400M" in second["TRES"]
    assert status == 0 and same_bytes(controller, undisturbed)


@scenario
def killed_controller(controller, cluster):
    """`kill -9` of Snakemake; it is started again while its job still runs."""
    controller.start("--set-resources", ON_C1)
    first = controller.running()["id"]
    training = controller.training(first)
    controller.kill()
    controller.finish("--unlock")
    controller.start("--set-resources", ON_C1)
    controller.running(2)
    log = next(controller.folder.glob("results/logs/train_model/tiny/*.log"))

    def waits():
        training.beat()
        return f"waiting for its owner, SLURM job {first} on " in log.read_text()

    wait_for(waits, "the second job waits")
    training.go_on()
    return controller, controller.wait()


def test_a_job_that_is_submitted_twice_runs_once(played, undisturbed):
    controller, status = played["killed_controller"].result()
    assert [job["state"] for job in controller.jobs()] == ["COMPLETED", "COMPLETED"]
    assert "finished by the job that this one waited for" in controller.log and not trained_epochs(controller)
    assert status == 0 and same_bytes(controller, undisturbed)


@scenario
def interrupted(controller, cluster):
    """Ctrl-C."""
    controller.start("--set-resources", ON_C1)
    first = controller.running()["id"]
    controller.training(first)
    controller.process.send_signal(signal.SIGINT)
    status = controller.wait()
    wait_for(lambda: controller.jobs()[0]["state"] == "CANCELLED", "the job is cancelled")
    return controller, status, controller.start().wait()


def test_an_interrupted_snakemake_cancels_its_jobs_and_goes_on_when_called_again(played, undisturbed):
    controller, interrupted, status = played["interrupted"].result()
    assert interrupted == 1 and len(controller.jobs()) == 2
    assert status == 0 and resumed(controller) and same_bytes(controller, undisturbed)


@scenario
def full_disk(controller, cluster):
    """The results lie on a disk too small for them."""
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


def test_a_full_disk_is_told_and_the_rerun_completes(played, undisturbed):
    controller, first, said, second = played["full_disk"].result()
    assert first == 1 and "no space is left on the disk: free some, and run again" in said
    assert second == 0 and same_bytes(controller, undisturbed)
