"""Seconds of CPU and peak memory of segmenting one field: the project's networks, and other programs' beside them.

Every method is a process of its own, with one thread, in the environment of its package, and gets the same simulated
field. They take turns in random order, so that a slow moment of the machine falls on all; printed are medians over the
rounds, and the median ratio to StarDist within a round. Peak memory is that of the process.

    make peers    # once: the environments of the other programs, .venv-peers/
    python -m benchmarks.peers.compare [--models fluorescence-v2] [--size 1080] [--rounds 5] [--output peers.tsv]

A program that is not installed is left out. No weights are fetched: see README.md beside this file.
"""

import argparse
import json
import os
import random
import statistics
import subprocess
import sys
import tempfile
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
import pandas as pd

from benchmarks.rounds import ratio
from equinuclei.errors import InputError
from equinuclei.library.export import export_model
from equinuclei.library.names import LAB_MODELS, find_weights
from equinuclei.runtime.files import replacing
from equinuclei.simulation.fields import simulate_field

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
REFERENCE = "StarDist"
CELL_LINE, SEED = "HeLa", 0

# One thread, on the CPU, and without what TensorFlow tells of itself. Workers set their packages' own threads.
SURROUNDINGS = {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
SURROUNDINGS |= {"CUDA_VISIBLE_DEVICES": "", "TF_CPP_MIN_LOG_LEVEL": "3"}


@dataclass(frozen=True)
class Method:
    """A way to segment the field: its name in the table, and a worker script with its arguments.

    environment : of another program, a folder in .venv-peers; None for the project's own.
    """

    name: str
    words: tuple[str | Path, ...]
    environment: str | None = None

    @property
    def python(self) -> Path:
        return ROOT / ".venv-peers" / self.environment / "bin" / "python" if self.environment else Path(sys.executable)

    @property
    def installed(self) -> bool:
        return self.environment is None or (ROOT / ".venv-peers" / self.environment / ".ready").exists()


class Worker:
    """A method's process, to be used as a context. `log` gets its messages.

    Raises InputError, with those messages, if it ends before it should.
    """

    def __init__(self, method: Method, log: Path) -> None:
        script, *words = method.words
        self.method = method
        self.log = log
        with log.open("wb") as messages:
            self.process = subprocess.Popen(
                [method.python, HERE / script, *words],
                cwd=log.parent,
                env=os.environ | SURROUNDINGS,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=messages,
                text=True,
            )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        with suppress(BrokenPipeError), self.process:
            pass

    def wait_until_ready(self) -> None:
        self._read()

    def predict(self) -> dict[str, float | None]:
        """What one prediction took: `net`, `instances`, `nuclei`; see `worker.serve`."""
        with suppress(BrokenPipeError):  # it has ended: see `_read`
            self.process.stdin.write("\n")
            self.process.stdin.flush()
        return self._read()

    def finish(self) -> dict[str, float]:
        """End it; its memory in MB, `before` and `peak`."""
        self.process.stdin.close()
        return self._read()

    def _read(self) -> dict[str, Any]:
        for line in self.process.stdout:
            if line.startswith("{"):  # packages print there, too
                return json.loads(line)
        told = self.log.read_text(encoding="utf-8", errors="replace").strip()
        raise InputError(f"{self.method.name}: its process ended without a result\n{told[-2000:]}")


def list_methods(models: list[str], folder: Path) -> list[Method]:
    """All methods. Exports the models to ONNX in the folder.

    Raises InputError for an unknown model.
    """
    weights = {model: find_weights(model, LAB_MODELS).resolve() for model in models}
    methods = []
    for number, (model, path) in enumerate(weights.items()):
        exported = folder / f"{number}.onnx"
        export_model(path, program=exported.with_suffix(".pt2"), onnx_file=exported)
        methods += [
            Method(f"{model}, float32", ("ours.py", "float32", folder, path)),
            Method(f"{model}, bfloat16", ("ours.py", "bfloat16", folder, path)),
            Method(f"{model}, ONNX Runtime", ("ours.py", "onnxruntime", folder, exported)),
        ]
    return [
        *methods,
        Method("plain net", ("ours.py", "plain", folder)),
        Method("plain net, 4x test-time augmentation", ("ours.py", "tta4", folder)),
        Method(REFERENCE, ("stardist_net.py", folder), "stardist"),
        Method("Cellpose 3", ("cellpose_net.py", folder), "cellpose"),
        Method("MONAI U-Net, sliding window", ("monai_net.py", folder), "monai"),
    ]


def write_field(folder: Path, size: int) -> int:
    """Simulate a field with its true labels for the workers; the number of its nuclei."""
    field = simulate_field(CELL_LINE, SEED, size, size)
    np.save(folder / "image.npy", field.images["fluorescence"])
    np.save(folder / "labels.npy", field.instances)
    return int(field.instances.max())


def compare(methods: list[Method], folder: Path, rounds: int) -> pd.DataFrame:
    """What the methods took, a row each: seconds, ratio to StarDist, memory in MB, nuclei."""
    with ExitStack() as stack:
        workers = []
        for number, method in enumerate(methods):
            print(f"{method.name} ...", file=sys.stderr, flush=True)
            workers.append(stack.enter_context(Worker(method, folder / f"{number}.log")))
            workers[-1].wait_until_ready()
        predictions: dict[str, list] = {method.name: [] for method in methods}
        order = list(workers)
        for _ in range(rounds):
            random.shuffle(order)
            for worker in order:
                predictions[worker.method.name].append(worker.predict())
        memory = {worker.method.name: worker.finish() for worker in workers}
    totals = {name: [told["net"] + (told["instances"] or 0) for told in of] for name, of in predictions.items()}
    rows = []
    for name, of in predictions.items():
        with_instances = of[0]["instances"] is not None
        rows.append(
            {
                "method": name,
                "net_s": statistics.median(told["net"] for told in of),
                "instances_s": statistics.median(told["instances"] for told in of) if with_instances else None,
                "total_s": statistics.median(totals[name]),
                "ratio_to_stardist": ratio(totals[name], totals[REFERENCE]) if REFERENCE in totals else None,
                "before_MB": memory[name]["before"],
                "peak_MB": memory[name]["peak"],
                "nuclei": of[0]["nuclei"],
            }
        )
    return pd.DataFrame(rows).astype({"nuclei": "Int64"})


def print_table(table: pd.DataFrame) -> None:
    """Markdown; a dash where there is nothing to tell."""
    print(f"| method | net, s | instances, s | total, s | x {REFERENCE} | memory before, MB | peak, MB | nuclei |")
    print("|---|---|---|---|---|---|---|---|")
    formats = [".2f", ".2f", ".2f", ".2f", ".0f", ".0f", "d"]
    for name, *values in table.itertuples(index=False):
        told = ["-" if pd.isna(value) else f"{value:{form}}" for value, form in zip(values, formats, strict=True)]
        print(f"| {' | '.join([name, *told])} |")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--models",
        nargs="+",
        default=["fluorescence-v2", "fluorescence-fast-v1"],
        metavar="NAME",
        help="name of a model",
    )
    parser.add_argument("--size", type=int, default=1080)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--output", type=Path, help="the table as TSV, too")
    arguments = parser.parse_args()
    if arguments.rounds < 1:
        parser.error(f"argument --rounds: {arguments.rounds} is less than 1")
    try:
        with tempfile.TemporaryDirectory() as name:
            nuclei = write_field(Path(name), arguments.size)
            methods = list_methods(arguments.models, Path(name))
            table = compare([method for method in methods if method.installed], Path(name), arguments.rounds)
        if arguments.output is not None:
            with replacing(arguments.output) as temporary:
                table.to_csv(temporary, sep="\t", index=False, float_format="%.6g", lineterminator="\n")
    except InputError as error:
        print(f"Error: {error}", file=sys.stderr)
        return 1
    print(f"{arguments.size} x {arguments.size} pixels, uint16, {nuclei} nuclei, 1 thread, {arguments.rounds} round(s)")
    print_table(table)
    for method in methods:
        if not method.installed:
            print(f"left out: {method.name}, which is not installed; `make peers` builds its environment")
    return 0


if __name__ == "__main__":
    sys.exit(main())
