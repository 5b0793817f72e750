"""Snakemake in a process that has loaded it already: half of a short call is its import.

    python loaded_snakemake.py SOCKET

Every connection (`bin/snakemake`) is one call, and runs in a fork: arguments, working directory and environment as
JSON, with the standard streams of the caller, who is sent the exit status. All ends with the standard input.
"""

import json
import os
import select
import socket
import sys

from snakemake.cli import main

MOST = 1 << 20
"""Bytes of a call."""


def run(connection: socket.socket) -> None:
    """One call, in this process, which ends with it."""
    request, streams, *_ = socket.recv_fds(connection, MOST, 3)
    for number, stream in enumerate(streams):
        os.dup2(stream, number)
        os.close(stream)
    connection.close()
    arguments, folder, variables = json.loads(request)
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(variables)
    sys.argv = ["snakemake", *arguments]
    sys.exit(main())


def serve(path: str) -> None:
    """Take one call after the other."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as server:
        server.bind(path)
        server.listen()
        print("ready", flush=True)
        while sys.stdin not in select.select([server, sys.stdin], [], [])[0]:
            connection, _ = server.accept()
            with connection:
                if (process := os.fork()) == 0:
                    server.close()
                    run(connection)
                _, status = os.waitpid(process, 0)
                connection.sendall(b"%d" % os.waitstatus_to_exitcode(status))


if __name__ == "__main__":
    serve(sys.argv[1])
