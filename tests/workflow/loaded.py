"""Snakemake, and the Python of its jobs, with what they import already loaded: most of the time of a short call.

    python loaded.py SOCKET

Every connection (`bin/snakemake`, `bin/python`) is one call, which runs in a fork: command, working directory and
environment as JSON, with the standard streams of the caller, who is sent the exit status. All ends with the standard
input. Nothing of the project is loaded here.
"""

import atexit
import gc
import json
import os
import runpy
import select
import signal
import socket
import sys
import threading
import traceback
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import NoReturn

import dask.array  # noqa: F401
import imageio.v3  # noqa: F401
import jsonschema  # noqa: F401
import lightning  # noqa: F401
import matplotlib.figure  # noqa: F401
import ngio  # noqa: F401
import pandas  # noqa: F401
import pyarrow.parquet  # noqa: F401
import scipy.ndimage
import scipy.stats  # noqa: F401
import skimage.measure
import skimage.segmentation  # noqa: F401
import tifffile  # noqa: F401
import torch  # noqa: F401
from snakemake.cli import main

PYTHON = Path(__file__).with_name("bin") / "python"
MOST = 1 << 20
"""Bytes of a call."""


def run(connection: socket.socket) -> None:
    """One call, in this process."""
    request, streams, *_ = socket.recv_fds(connection, MOST, 3)
    for number, stream in enumerate(streams):
        os.dup2(stream, number)
        os.close(stream)
    connection.close()
    command, folder, variables = json.loads(request)
    # For whoever looks for a process: `snakemake`, or the name of a script, as `job:train_model`.
    called = Path(command[0]).name
    Path("/proc/self/comm").write_text(
        called if called == "snakemake" else f"job:{Path(command[1]).stem.split('.')[-1]}"
    )
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(variables)
    if called == "snakemake":
        sys.argv, sys.executable = command, str(PYTHON)
        main()
    else:
        sys.argv = command[1:]
        added = variables.get("PYTHONPATH", "").split(os.pathsep)
        sys.path[:0] = [str(Path(sys.argv[0]).absolute().parent), *filter(None, added)]
        runpy.run_path(sys.argv[0], run_name="__main__")


def end(work: Callable[[], None]) -> NoReturn:
    """Work, and end this process as Python does, but without taking apart what is loaded: that takes longer."""
    status = 0
    try:
        work()
    except SystemExit as ended:
        status = ended.code if isinstance(ended.code, int) else int(ended.code is not None)
    except BaseException:
        traceback.print_exc()
        status = 1
    threading._shutdown()  # as multiprocessing ends its forks
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)


def answer(connection: socket.socket) -> None:
    """Run one call in a fork, and send its exit status."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    if (process := os.fork()) == 0:
        end(partial(run, connection))
    _, status = os.waitpid(process, 0)
    with suppress(BrokenPipeError):  # the caller was killed
        connection.sendall(b"%d" % os.waitstatus_to_exitcode(status))


def serve(path: str) -> None:
    """Take calls, many at the same time."""
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for those that answer
    gc.freeze()  # or every fork looks through all that is loaded, and so copies it
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as server:
        server.bind(path)
        server.listen()
        print("ready", flush=True)
        while sys.stdin not in select.select([server, sys.stdin], [], [])[0]:
            connection, _ = server.accept()
            with connection:
                if os.fork() == 0:
                    server.close()
                    answer(connection)
                    os._exit(0)


if __name__ == "__main__":
    serve(sys.argv[1])
