"""The processes of one scene: found by a mark in their environment, signalled, and all ended at the end."""

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

MARK = "EQUINUCLEI_CAMPAIGN"
WORKFLOW = Path(__file__).parents[1] / "workflow"

SILENCE = 4
"""Seconds without a heartbeat after which a job counts as dead here (`equinuclei.runtime.owners.STALE`)."""


@dataclass(frozen=True)
class Process:
    """number : its id. name : `snakemake`, `job:<script>`, or the program. state : a letter; T is stopped."""

    number: int
    name: str
    state: str

    @property
    def is_job(self) -> bool:
        return self.name.startswith("job:")


def bound_by_permissions() -> list[str] | None:
    """Words before a command by which permissions bind it, also one that root calls; None where that cannot be."""
    if os.geteuid() != 0:
        return []
    words = ["setpriv", "--bounding-set=-dac_override,-dac_read_search"]
    with suppress(OSError):
        if subprocess.run([*words, "true"], capture_output=True).returncode == 0:
            return words
    return None


def name_of(command: str) -> str:
    """`snakemake`, or `job:<script>`, of a command with its words apart by zeros; empty if it is neither."""
    if script := re.search(r"/\.snakemake/scripts/\w+\.(\w+)\.py\0", command):
        return f"job:{script[1]}"
    # The one inside a job of a cluster is no controller.
    return "snakemake" if re.search(r"/snakemake\0", command) and "--target-jobs" not in command else ""


class Machine:
    """Snakemake and its jobs, here in forks of a process that has loaded their imports (`tests/workflow/loaded.py`).

    home : a folder of its own. is_cluster : jobs run on the nodes of a cluster, and nothing is forked. variables : of
    the environment of the processes
    """

    def __init__(self, home: Path, *, is_cluster: bool = False, **variables: str) -> None:
        home.mkdir(parents=True, exist_ok=True)
        self.mark, self.words = f"processes of {home.resolve()};", bound_by_permissions() or []
        self.is_closed = False
        self._strangers: set[int] = set()
        self.server: subprocess.Popen | None = None
        path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
        self.environment = {**os.environ, MARK: self.mark, "HOME": str(home), "PATH": path, "CI": ""}
        self.environment |= {"OMP_NUM_THREADS": "1", "EQUINUCLEI_STALE": str(SILENCE), **variables}
        self.kill_all()  # what a campaign that was killed left behind
        if not is_cluster:
            self._load(home)

    def _load(self, home: Path) -> None:
        socket = home / "socket"
        socket.unlink(missing_ok=True)
        programs = [Path(__file__).parent / "bin", WORKFLOW / "bin", self.environment["PATH"]]
        self.environment |= {"LOADED": str(socket), "PATH": ":".join(map(str, programs))}
        self.server = self.start(
            [sys.executable, "-P", str(WORKFLOW / "loaded.py"), str(socket)],
            home,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        assert self.server.stdout is not None and self.server.stdout.readline() == b"ready\n"

    def start(self, command: list[str], folder: Path, **options: object) -> subprocess.Popen:
        """Start a program in a process group of its own, which heeds SIGINT."""
        return subprocess.Popen(
            [*self.words, "env", "--default-signal=INT", *command],
            cwd=folder,
            env=self.environment,
            start_new_session=True,
            **options,
        )

    def processes(self) -> list[Process]:
        """All processes of this machine but the server, by number: the ones that have ended are left out."""
        numbers = {int(name) for name in os.listdir("/proc") if name.isdigit()}  # noqa: PTH208 (twice as fast)
        self._strangers &= numbers
        found = []
        server = {self.server.pid} if self.server is not None else set()
        for number in sorted(numbers - self._strangers - server):
            with suppress(OSError):
                if self.mark.encode() not in Path(f"/proc/{number}/environ").read_bytes():
                    self._strangers.add(number)
                    continue
                name, state = re.search(r"\((.*)\) (\w)", Path(f"/proc/{number}/stat").read_text(), re.S).groups()
                if self.server is None and name.startswith("python"):
                    name = name_of(Path(f"/proc/{number}/cmdline").read_text()) or name
                if state not in "ZX":
                    found.append(Process(number, name, state))
        return found

    def jobs(self) -> list[Process]:
        return [process for process in self.processes() if process.is_job]

    def controllers(self) -> list[Process]:
        return [process for process in self.processes() if process.name == "snakemake"]

    def work(self) -> int:
        """Ticks of the processor that the processes have used: it grows while anything works."""
        total = 0
        for process in self.processes():
            with suppress(OSError):
                fields = Path(f"/proc/{process.number}/stat").read_text().rpartition(")")[2].split()
                total += int(fields[11]) + int(fields[12])
        return total

    def signal(self, number: signal.Signals, processes: Iterable[Process]) -> None:
        for process in processes:
            with suppress(ProcessLookupError):
                os.kill(process.number, number)

    def kill_all(self) -> None:
        """As a reboot would, but for the server. Returns when all are gone; waits 20 s at most."""
        for _ in range(200):
            if not (left := self.processes()):
                return
            self.signal(signal.SIGKILL, left)
            time.sleep(0.1)

    def close(self) -> None:
        self.is_closed = True
        self.kill_all()
        if self.server is not None:
            self.server.kill()
            self.server.wait()
