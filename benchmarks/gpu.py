"""Checks and timings for a GPU that is at hand for a few minutes, as one table that grows line by line.

    benchmarks/gpu.sh [CHECK ...]              # all checks, or those named
    python -m benchmarks.gpu --device cpu      # try the checks themselves, without a GPU

Every check is a process of its own with a time limit: one that fails, crashes or hangs does not end the others. A check
whose packages are not installed is skipped. The exit status is 1 if a check failed, 0 otherwise; without a GPU the
script says so and ends with 0. What the failed checks printed follows the table.
"""

import argparse
import hashlib
import importlib
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    import torch

ROOT = Path(__file__).resolve().parents[1]
TOTAL_SECONDS = 480
MODEL = "fluorescence-fast-v1"
FIELD = 1080
"""Height and width in pixels of the fields that are timed."""

SMALL_FIELD = 256
"""The same where a CPU stands in for the GPU."""

PATIENCE = {"cuda": 1, "cpu": 6}
"""Time limits are multiplied by it."""

MISSING_PACKAGE = 77
"""Exit status of a check that needs a package which is not installed."""


class CheckError(Exception):
    """A check found what may not be."""


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


def learning(device: str, precision: str) -> str:
    """A network of seconds learns discs."""
    import pandas as pd

    from support.training import changed, train

    with scratch() as folder:
        start = time.monotonic()
        files = train(folder, changed(device=device, precision=precision, epochs=40))
        seconds = time.monotonic() - start
        last = pd.read_csv(files["history"]).iloc[-1]
    result = f"F1 {last['train_F1']:.3f}, loss {last['train_loss']:.4f} after 120 steps ({120 / seconds:.0f} steps/s)"
    if not last["train_F1"] > 0.9:
        raise CheckError(result)
    return result


def same_bytes_twice(device: str) -> str:
    """Every architecture, trained twice: a step without a deterministic algorithm raises an error."""
    from equinuclei.specs import ARCHITECTURES, ModelSpec
    from support.training import changed, train

    different, count = [], 0
    for architecture in ARCHITECTURES:
        for precision in ("float32", "bfloat16"):
            spec = ModelSpec(architecture, "p4m", (2, 4, 4))
            settings = changed(device=device, precision=precision, epochs=2, zoom=1.5, photometric=True)
            with scratch() as folder:
                pair = [train(folder / name, settings, spec=spec) for name in ("a", "b")]
                count += 1
                if any(checksum(pair[0][file]) != checksum(pair[1][file]) for file in ("weights", "history")):
                    different.append(f"{architecture} in {precision}")
    if different:
        raise CheckError(f"other bytes: {', '.join(different)}")
    return f"{count} of {count} trainings give the same weights twice"


def resuming(device: str, precision: str) -> str:
    """A training that is told to end, between two epochs and within one, and goes on."""
    from equinuclei.errors import StoppedError
    from equinuclei.training.train import SegmentationTask
    from support.training import changed, part, train

    settings, followed = changed(device=device, precision=precision), part(4, seed=1)
    training_step = SegmentationTask.training_step
    with scratch() as folder:
        undisturbed = train(folder / "whole", settings, validation=followed)
        for stop in (5, 6):  # of 12 steps, three to an epoch

            def stopping_step(task, batch, index, stop=stop):
                if task.global_step == stop - 1:
                    os.kill(os.getpid(), signal.SIGUSR1)
                return training_step(task, batch, index)

            SegmentationTask.training_step = stopping_step
            try:
                train(folder / str(stop), settings, validation=followed)
                raise CheckError(f"the training did not stop after step {stop}")
            except StoppedError:
                SegmentationTask.training_step = training_step
            resumed = train(folder / str(stop), settings, validation=followed)
            for file in ("weights", "history"):
                if checksum(resumed[file]) != checksum(undisturbed[file]):
                    raise CheckError(f"stopped after step {stop} of 12: {file} has other bytes")
    return "stopped after steps 5 and 6 of 12: the bytes of an undisturbed run"


def exact_mode(device: str) -> str:
    """The shipped model in exact mode gives the same bits for the turned field, turned back."""
    import torch

    from equinuclei.inference.whole_images import predict_maps

    network, results = shipped_network(device), []
    image = torch.from_numpy(normalised_field(device, network))[None, None].to(device)
    with torch.inference_mode():
        for dtype in (torch.float32, torch.bfloat16):
            network, image = network.to(dtype), image.to(dtype)
            largest = {}
            for exact in (True, False):
                maps = predict_maps(network, image, exact=exact)
                largest[exact] = max(
                    (g.inverse(predict_maps(network, g(image).contiguous(), exact=exact)) - maps).abs().max().item()
                    for g in network.group.elements
                )
            results.append(f"{str(dtype).removeprefix('torch.')} {largest[True]:g} (as trained {largest[False]:.1e})")
            if largest[True] != 0:
                raise CheckError(f"largest difference under turns: {results[-1]}")
    return f"largest difference under turns: {', '.join(results)}"


def same_maps(device: str) -> str:
    """The maps of a field on the GPU and on the CPU, whole and in tiles."""
    import numpy as np

    from equinuclei.inference.tiling import predict_mosaic
    from equinuclei.networks.folding import fold

    image = simulated_field(device)
    reference = predict_mosaic(fold(shipped_network("cpu")), image)
    network = fold(shipped_network(device))
    whole, again = (predict_mosaic(network, image, device=device) for _ in range(2))
    tiled = predict_mosaic(network, image, device=device, tile=len(image) // 3, whole_pixels=0)
    if not np.array_equal(whole, again):
        raise CheckError("the same field has other maps the second time")
    scale = np.abs(reference).max()
    errors = [np.abs(maps - of).max() / scale for maps, of in ((whole, reference), (tiled, whole))]
    flipped = np.count_nonzero((whole[0] > 0) != (reference[0] > 0))
    result = f"largest relative difference {errors[0]:.1e}, {flipped} pixels flipped; in tiles {errors[1]:.1e}"
    if max(errors) > 1e-3 or flipped > image.size / 1e4:
        raise CheckError(result)
    return result


def same_labels(device: str) -> str:
    """`equinuclei segment` on the GPU and on the CPU."""
    import numpy as np
    import tifffile

    from equinuclei.images.metrics import object_scores

    with scratch() as folder:
        (folder / "images").mkdir()
        for seed in range(3):
            tifffile.imwrite(folder / "images" / f"{seed}.tif", simulated_field(device, seed))
        for where, on in (("gpu", device), ("cpu", "cpu")):
            command = [sys.executable, "-m", "equinuclei", "segment", "--device", on]
            subprocess.run([*command, folder / "images", folder / where], check=True)
        pairs = [
            [tifffile.imread(folder / where / "labels" / f"{seed}.tif") for where in ("cpu", "gpu")]
            for seed in range(3)
        ]
    identical = sum(np.array_equal(*pair) for pair in pairs)
    worst = min(float(object_scores(*pair, (0.9,))["F1"].iloc[0]) for pair in pairs)
    nuclei = sum(int(pair[0].max()) for pair in pairs)
    result = f"{identical} of 3 label images equal, {nuclei} nuclei, least object F1 at IoU 0.9: {worst:.4f}"
    if worst < 0.99:
        raise CheckError(result)
    return result


def network_speed(device: str, precision: str) -> str:
    """Fields per second of the default network alone, padding included, one field and eight at a time."""
    import torch

    from equinuclei.inference.whole_images import predict_maps
    from equinuclei.networks.folding import fold

    network = fold(shipped_network(device))
    field = torch.from_numpy(normalised_field(device, network))[None, None].to(device)
    results = []
    for batch in (1, 8) if device == "cuda" else (1,):
        fields = field.expand(batch, -1, -1, -1).contiguous()
        reset_peak_memory(device)
        with torch.inference_mode(), torch.autocast(device, torch.bfloat16, enabled=precision == "bfloat16"):
            seconds = seconds_per_call(lambda fields=fields: predict_maps(network, fields), device)
        results.append(f"{batch / seconds:.1f} (batches of {batch}{peak_memory(device)})")
    return f"fields per second: {', '.join(results)}"


def segmentation_speed(device: str) -> str:
    """Fields per second from pixels in memory to labels."""
    from equinuclei.inference.nuclei import segment_image
    from equinuclei.networks.folding import fold

    network, image = fold(shipped_network(device)), simulated_field(device)
    reset_peak_memory(device)
    seconds = seconds_per_call(lambda: segment_image(network, image, diameter=None, device=device), device)
    return f"fields per second: {1 / seconds:.1f}{peak_memory(device)}"


def training_speed(device: str) -> str:
    """Steps per second in bfloat16, batches of 16 crops of 256 x 256 pixels."""
    import torch
    from torch.nn import functional

    from equinuclei.networks.build import build_model
    from equinuclei.networks.device import prepare_torch
    from equinuclei.networks.layers import use_channels_last
    from equinuclei.specs import PRESETS

    prepare_torch(device, 1, deterministic=True)
    batch, crop = (16, 256) if device == "cuda" else (2, 64)
    images = torch.randn(batch, 1, crop, crop, device=device)
    truth, results = (images > 1).float(), []
    for preset in ("simplified-p4", "unet-p4m"):
        network = build_model(PRESETS[preset]).to(device)
        use_channels_last(network)
        optimizer = torch.optim.Adam(network.parameters())

        def step(network=network, optimizer=optimizer):
            optimizer.zero_grad()
            with torch.autocast(device, torch.bfloat16):
                maps = network(images).float()
            functional.binary_cross_entropy_with_logits(maps, truth).backward()
            optimizer.step()

        reset_peak_memory(device)
        results.append(f"{preset} {1 / seconds_per_call(step, device):.1f}{peak_memory(device)}")
    return f"steps per second: {', '.join(results)}"


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


@contextmanager
def scratch() -> Iterator[Path]:
    """A folder for a while."""
    with tempfile.TemporaryDirectory() as name:
        yield Path(name)


def checksum(path: Path) -> str:
    """SHA-256 of a file."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def simulated_field(device: str, seed: int = 0) -> "np.ndarray":
    """A fluorescence image, uint16 (y, x)."""
    from equinuclei.simulation.fields import simulate_field

    size = FIELD if device == "cuda" else SMALL_FIELD
    return simulate_field("HeLa", seed, size, size).images["fluorescence"]


def normalised_field(device: str, network: "torch.nn.Module") -> "np.ndarray":
    """The same as a network sees it, float32 (y, x)."""
    from equinuclei.images.intensity import normalize

    return normalize(simulated_field(device), network.normalization)


def shipped_network(device: str) -> "torch.nn.Module":
    """The model that `equinuclei segment` takes by default, on the device, not folded."""
    from equinuclei.library.names import LAB_MODELS, find_weights
    from equinuclei.networks.checkpoint import load_model
    from equinuclei.networks.device import prepare_torch

    return load_model(find_weights(MODEL, LAB_MODELS), prepare_torch(device, 1, deterministic=True))


def seconds_per_call(function: Callable[[], object], device: str, budget: float = 8.0) -> float:
    """Median seconds of a call, over as many as fit in `budget` seconds (at most 30); the first two are not counted."""
    import statistics

    import torch

    def timed() -> float:
        start = time.perf_counter()
        function()
        if device == "cuda":
            torch.cuda.synchronize()
        return time.perf_counter() - start

    warm = [timed() for _ in range(2)]
    return statistics.median(timed() for _ in range(max(3, min(30, int(budget / warm[-1])))))


def reset_peak_memory(device: str) -> None:
    """Begin to measure anew."""
    import torch

    if device == "cuda":
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()


def peak_memory(device: str) -> str:
    """In words, for a table; empty on a CPU."""
    import torch

    return f", peak {torch.cuda.max_memory_allocated() / 2**30:.2f} GiB" if device == "cuda" else ""


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
