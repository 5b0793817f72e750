"""What a person sees when a job fails."""

import errno
import logging
import os
import signal
import subprocess
import sys
import warnings
from pathlib import Path

import pytest

from equinuclei.errors import InputError, UnavailableError, check_known
from equinuclei.runtime import job as job_module
from equinuclei.runtime.job import job


def test_an_input_error_is_one_message_and_exit_status_1(tmp_path, capsys):
    with pytest.raises(SystemExit) as stopped, job(tmp_path / "logs" / "a.log"):
        raise InputError("a.tif: truncated; copy it again")
    assert stopped.value.code == 1
    assert capsys.readouterr().err == "Error: a.tif: truncated; copy it again\n"
    log = (tmp_path / "logs" / "a.log").read_text()
    assert "truncated" in log and "Traceback" not in log


TOLD = [("ENOSPC", "no space is left"), ("EROFS", "read-only"), ("EACCES", "no permission"), ("EIO", "does not answer"),
        ("ESTALE", "does not answer"), ("ENOTCONN", "does not answer"), ("EMFILE", "too many files")]  # fmt: skip


@pytest.mark.parametrize("code, words", TOLD)
def test_a_disk_that_cannot_be_written_is_told_wherever_the_error_passed(tmp_path, capsys, code, words):
    with pytest.raises(SystemExit) as stopped, job(tmp_path / "a.log"):
        try:
            raise OSError(getattr(errno, code), "cannot write", "store.zarr/c")
        except OSError as error:
            raise RuntimeError("a library's own words") from error
    assert stopped.value.code == 1
    message = capsys.readouterr().err
    assert message.startswith("Error: store.zarr/c: ") and words in message and "Traceback" not in message
    assert message.endswith("and run again; finished work is kept\n")


def test_a_file_that_stops_to_answer_while_it_is_read_is_named(tmp_path, capsys):
    """The error of reading an open file has no name."""

    def read(file):
        raise OSError(errno.EIO, "Input/output error")

    def count(table):
        with table.open() as opened:
            read(opened)

    (tmp_path / "table.tsv").touch()
    with pytest.raises(SystemExit), job(tmp_path / "a.log"):
        count(tmp_path / "table.tsv")
    assert capsys.readouterr().err.startswith(f"Error: {tmp_path / 'table.tsv'}: the file system does not answer")


def test_an_error_of_the_network_is_none_of_a_file_system(tmp_path):
    with pytest.raises(OSError, match="timed out"), job(tmp_path / "a.log"):
        raise OSError(errno.ETIMEDOUT, "Connection timed out")


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        OSError(errno.ENOMEM, "Cannot allocate memory"),
        RuntimeError("[enforce fail at alloc_cpu.cpp:127] DefaultCPUAllocator: can't allocate memory: 1 bytes"),
        UnavailableError("no memory"),
    ],
)
def test_too_little_memory_is_one_message(tmp_path, capsys, error):
    with pytest.raises(SystemExit) as stopped, job(tmp_path / "a.log"):
        raise error
    message = capsys.readouterr().err
    assert stopped.value.code == 1 and "memory" in message and "Traceback" not in message


def test_a_gpu_without_memory_is_one_message(tmp_path, capsys):
    torch = pytest.importorskip("torch")
    with pytest.raises(SystemExit), job(tmp_path / "a.log"):
        raise torch.OutOfMemoryError("CUDA out of memory")
    assert "the GPU has too little free memory" in capsys.readouterr().err


def test_a_log_that_cannot_be_written_is_one_message(tmp_path, capsys):
    (tmp_path / "a.log").mkdir()
    (tmp_path / "logs").touch()
    with pytest.raises(OSError, match="directory"), job(tmp_path / "a.log"):
        pytest.fail("the log is a folder")
    assert "Traceback" not in capsys.readouterr().err
    before = logging.getLogger().handlers
    with pytest.MonkeyPatch.context() as patch, pytest.raises(SystemExit):
        patch.setattr(Path, "mkdir", full_disk)
        with job(tmp_path / "new" / "a.log"):
            pytest.fail("there is no log")
    assert "no space is left" in capsys.readouterr().err and logging.getLogger().handlers == before


def full_disk(path, **_):
    raise OSError(errno.ENOSPC, "No space left on device", str(path))


def test_another_error_keeps_its_traceback(tmp_path):
    with pytest.raises(ZeroDivisionError), job(tmp_path / "a.log"):
        raise ZeroDivisionError("a bug")
    assert "Traceback" in (tmp_path / "a.log").read_text()


def test_progress_reaches_log_and_terminal_and_warnings_the_log_alone(tmp_path, capsys):
    with job(tmp_path / "a.log"):
        logging.getLogger("equinuclei.training.train").info("epoch 1")
        logging.getLogger("another.library").info("chatter")
        warnings.warn("deprecated", DeprecationWarning, stacklevel=1)
    log = (tmp_path / "a.log").read_text()
    assert "epoch 1" in log and "deprecated" in log
    assert capsys.readouterr().err == "epoch 1\n"


def test_an_unknown_name_is_told_with_its_nearest_neighbour():
    with pytest.raises(InputError, match=r"unknown group 'trivail'. Did you mean 'trivial'\? Known: trivial, p4."):
        check_known("group", "trivail", ["trivial", "p4"])
    check_known("group", "p4", ["p4"])


def test_a_job_that_is_told_to_end_gives_up_what_it_holds(tmp_path, capsys):
    before, given_up = signal.getsignal(signal.SIGTERM), []
    with pytest.raises(SystemExit) as stopped, job(tmp_path / "a.log"):
        try:
            os.kill(os.getpid(), signal.SIGTERM)
        finally:
            given_up.append(True)
    assert stopped.value.code == 1 and given_up and signal.getsignal(signal.SIGTERM) == before
    assert capsys.readouterr().err.startswith("Error: the job received SIGTERM")


def test_a_signal_is_passed_on_to_those_who_have_a_handler_for_it():
    code = """
import os, signal, subprocess, sys
from equinuclei.runtime.job import pass_on
signal.signal(signal.SIGUSR1, pass_on)
child = '''import signal, time
told = []
signal.signal(signal.SIGUSR1, lambda *_: told.append(print("told", flush=True)))
print("ready", flush=True)
while not told:
    time.sleep(0.01)'''
ready = subprocess.Popen([sys.executable, "-c", child], stdout=subprocess.PIPE, text=True)
deaf = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
assert ready.stdout.readline() == "ready\\n"
os.kill(os.getpid(), signal.SIGUSR1)
assert ready.stdout.readline() == "told\\n"
deaf.communicate(b"\\n")
assert ready.wait() == deaf.returncode == 0
"""
    environment = {**os.environ, "PYTHONPATH": str(Path(job_module.__file__).parents[2])}
    subprocess.run([sys.executable, "-c", code], env=environment, check=True, start_new_session=True, timeout=60)


def test_a_process_stops_itself_at_the_points_that_a_test_names():
    code = """
from equinuclei.runtime.job import stop_for_a_test
for epoch in (1, 2, 3):
    stop_for_a_test(f"epoch {epoch}")
    print(epoch, flush=True)
"""
    environment = {
        **os.environ,
        "PYTHONPATH": str(Path(job_module.__file__).parents[2]),
        "EQUINUCLEI_STOP_AT": "epoch 2,epoch 3",
    }
    process = subprocess.Popen([sys.executable, "-c", code], env=environment, stdout=subprocess.PIPE, text=True)
    _, status = os.waitpid(process.pid, os.WUNTRACED)
    assert os.WIFSTOPPED(status) and process.stdout.readline() == "1\n"
    process.send_signal(signal.SIGCONT)
    _, status = os.waitpid(process.pid, os.WUNTRACED)
    assert os.WIFSTOPPED(status) and process.stdout.readline() == "2\n"
    process.send_signal(signal.SIGCONT)
    assert process.communicate()[0] == "3\n" and process.returncode == 0
