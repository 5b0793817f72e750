"""What the workers of all environments have in common: they predict when they are told to, and tell what it took.

Imports the standard library and numpy alone, which every environment has.
"""

import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np


def read_field(folder: str) -> tuple[np.ndarray, np.ndarray]:
    """The image, uint16 (y, x), and its true labels, uint16 (y, x)."""
    return np.load(Path(folder, "image.npy")), np.load(Path(folder, "labels.npy"))


def serve(predict: Callable[[], Any], label: Callable[[Any], np.ndarray] | None = None) -> None:
    """Predict once to warm up, then once for every line of standard input, until it ends.

    predict : from the image as it is on disk to what the network makes of it.
    label : from that to labels (y, x); None for a method that makes none.

    Prints a line of JSON when it is ready, and then one per prediction: `net` and `instances`, the seconds of CPU of
    both (user and system, all threads), and `nuclei`, how many were found; the last two are null without `label`. The
    last line: `before` and `peak`, the peak of memory in MB before the first prediction and after the last.
    """
    before = _peak_memory()
    _predict(predict, label)
    _tell({"ready": True})
    for _ in sys.stdin:
        _tell(_predict(predict, label))
    _tell({"before": before, "peak": _peak_memory()})


def _predict(predict: Callable[[], Any], label: Callable[[Any], np.ndarray] | None) -> dict[str, float | None]:
    start = time.process_time()
    maps = predict()
    predicted = time.process_time()
    told = {"net": predicted - start, "instances": None, "nuclei": None}
    if label is not None:
        labels = label(maps)
        told["instances"] = time.process_time() - predicted
        told["nuclei"] = int(np.count_nonzero(np.unique(labels)))
    return told


def _tell(content: dict[str, Any]) -> None:
    print(json.dumps(content), flush=True)


def _peak_memory() -> float:
    """Peak resident memory of this process, MB; Linux. (`getrusage` counts that of the parent before exec, too.)"""
    status = Path("/proc/self/status").read_text(encoding="ascii")
    return int(next(line for line in status.splitlines() if line.startswith("VmHWM")).split()[1]) * 1024 / 1e6
