"""Checks and timings for a GPU that is at hand for a few minutes, as one table that grows line by line.

    benchmarks/gpu.sh [CHECK ...]              # all checks, or those named
    python -m benchmarks.gpu --device cpu      # try the checks themselves, without a GPU

Every check is a process of its own with a time limit: one that fails, crashes or hangs does not end the others. A check
whose packages are not installed is skipped. The exit status is 1 if a check failed, 0 otherwise; without a GPU the
script says so and ends with 0. What the failed checks printed follows the table.
"""

import argparse
import importlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from benchmarks.gpu.prediction import exact_mode, same_labels, same_maps
from benchmarks.gpu.samples import CheckError
from benchmarks.gpu.speed import network_speed, segmentation_speed, training_speed
from benchmarks.gpu.training import learning, resuming, same_bytes_twice

ROOT = Path(__file__).resolve().parents[2]
TOTAL_SECONDS = 480
PATIENCE = {"cuda": 1, "cpu": 6}
"""Time limits are multiplied by it."""

MISSING_PACKAGE = 77
"""Exit status of a check that needs a package which is not installed."""


@dataclass(frozen=True)
class Check:
    """`run` gets the device, "cuda" or "cpu", and returns the result in a few words; `seconds` is its time limit."""

    name: str
    seconds: float
    run: Callable[[str], str]


def gpu_tests(device: str) -> str:
    """The tests that are skipped on a machine without a GPU; their names end in `on_a_gpu`."""
    for package in ("pytest", "hypothesis"):
        importlib.import_module(package)
    files = [path for path in sorted((ROOT / "tests").rglob("test_*.py")) if "on_a_gpu" in path.read_text("utf-8")]
    command = [sys.executable, "-m", "pytest", "-q", "-rs", "-p", "no:cacheprovider", "-k", "on_a_gpu", *files]
    done = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    print(done.stdout, file=sys.stderr)
    summary = done.stdout.splitlines()[-1]
    if done.returncode or (device == "cuda" and "skipped" in summary):
        raise CheckError(summary)
    return f"{summary} in {len(files)} files"


CHECKS = (
    Check("GPU tests", 100, gpu_tests),
    Check("training, float32", 60, lambda device: learning(device, "float32")),
    Check("training, bfloat16", 60, lambda device: learning(device, "bfloat16")),
    Check("same bytes twice", 120, same_bytes_twice),
    Check("resuming, float32", 60, lambda device: resuming(device, "float32")),
    Check("resuming, bfloat16", 60, lambda device: resuming(device, "bfloat16")),
    Check("exact mode", 60, exact_mode),
    Check("maps against the CPU", 60, same_maps),
    Check("labels against the CPU", 90, same_labels),
    Check("network, float32", 40, lambda device: network_speed(device, "float32")),
    Check("network, bfloat16", 40, lambda device: network_speed(device, "bfloat16")),
    Check("segmentation", 40, segmentation_speed),
    Check("training speed", 60, training_speed),
)


def run_in_this_process(name: str, device: str) -> int:
    """One check; its result is the last line of the output. Returns the exit status."""
    check = next(check for check in CHECKS if check.name == name)
    try:
        print(check.run(device))
    except CheckError as error:
        print(error)
        return 1
    except ModuleNotFoundError as error:
        print(f"not installed: {error.name}")
        return MISSING_PACKAGE
    return 0


def run_in_a_process(check: Check, device: str, limit: float) -> tuple[str, str, str]:
    """Result, verdict (ok, skipped or FAILED), and what the check printed."""
    paths = os.pathsep.join(filter(None, (str(ROOT), str(ROOT / "tests"), os.environ.get("PYTHONPATH"))))
    command = [sys.executable, "-m", "benchmarks.gpu", "--device", device, "--run", check.name]
    process = subprocess.Popen(
        command,
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": paths, "CUBLAS_WORKSPACE_CONFIG": ":4096:8"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        errors="replace",
        start_new_session=True,  # so that what a check has started ends with it
    )
    try:
        output, messages = process.communicate(timeout=limit)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        _, messages = process.communicate()
        return f"no result within {limit:.0f} s", "FAILED", messages
    if process.returncode in (0, 1, MISSING_PACKAGE) and output.strip():
        verdict = {0: "ok", 1: "FAILED", MISSING_PACKAGE: "skipped"}[process.returncode]
        return output.strip().splitlines()[-1], verdict, messages
    last = [line for line in messages.splitlines() if line.strip()] or [f"exit status {process.returncode}"]
    return last[-1][:160], "FAILED", messages


def machine(device: str) -> str | None:
    """What the checks run on, in words; None where there is no GPU that PyTorch can use."""
    import torch

    if device == "cpu":
        return f"CPU, PyTorch {torch.__version__}"
    if not torch.cuda.is_available():
        return None
    cudnn = torch.backends.cudnn.version()
    return f"{torch.cuda.get_device_name()}, PyTorch {torch.__version__}, CUDA {torch.version.cuda}, cuDNN {cudnn}"


def main(words: list[str] | None = None) -> int:
    """Run the checks and print the table. Returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checks", nargs="*", metavar="CHECK", help="names as in the table; all of them by default")
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda")
    parser.add_argument("--seconds", type=float, help=f"limit of all checks (default on a GPU: {TOTAL_SECONDS})")
    parser.add_argument("--run", metavar="CHECK", help=argparse.SUPPRESS)
    arguments = parser.parse_args(words)
    if arguments.run:
        return run_in_this_process(arguments.run, arguments.device)
    if unknown := set(arguments.checks) - {check.name for check in CHECKS}:
        parser.error(f"unknown: {', '.join(sorted(unknown))}; known: {', '.join(check.name for check in CHECKS)}")
    where = machine(arguments.device)
    if where is None:
        print("No GPU that PyTorch can use: nothing was checked.")
        return 0
    print(f"{where}\n\n| check | result | seconds | |\n|---|---|---|---|", flush=True)
    patience, failed = PATIENCE[arguments.device], {}
    end = time.monotonic() + (arguments.seconds or patience * TOTAL_SECONDS)
    for check in CHECKS:
        if arguments.checks and check.name not in arguments.checks:
            continue
        start = time.monotonic()
        if end - start < 1:
            result, verdict, printed = "no time was left", "skipped", ""
        else:
            result, verdict, printed = run_in_a_process(
                check, arguments.device, min(patience * check.seconds, end - start)
            )
        print(f"| {check.name} | {result} | {time.monotonic() - start:.1f} | {verdict} |", flush=True)
        if verdict == "FAILED":
            failed[check.name] = printed
    for name, printed in failed.items():
        print(f"\n--- {name}\n" + "\n".join(printed.splitlines()[-25:]))
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
