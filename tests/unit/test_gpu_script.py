"""`benchmarks/gpu.sh`: the answer without a GPU, and a table that goes on after a failure."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.gpu import __main__ as gpu

ROOT = Path(__file__).parents[2]


def test_without_a_gpu_it_says_so_and_ends_well(tmp_path):
    # The script takes the first Python that has PyTorch: here, this one.
    python = tmp_path / "python3"
    python.write_text(f'#!/bin/sh\nexec "{sys.executable}" "$@"\n')
    python.chmod(0o755)
    surroundings = {"PATH": f"{tmp_path}:{os.environ['PATH']}", "CUDA_VISIBLE_DEVICES": ""}
    done = subprocess.run(
        [ROOT / "benchmarks/gpu.sh"], env=os.environ | surroundings, capture_output=True, text=True, timeout=120
    )
    assert (done.returncode, done.stdout) == (0, "No GPU that PyTorch can use: nothing was checked.\n"), done.stderr


def test_a_check_that_fails_or_hangs_does_not_end_the_others(monkeypatch, capsys):
    answers = {
        "fails": [sys.executable, "-c", "import sys; print('other bytes'); print('why', file=sys.stderr); sys.exit(1)"],
        "crashes": [sys.executable, "-c", "import os; os.abort()"],
        "hangs": [sys.executable, "-c", "import time; time.sleep(60)"],
        "needs more": [sys.executable, "-c", f"print('not installed: x'); exit({gpu.MISSING_PACKAGE})"],
        "works": [sys.executable, "-c", "print('fine')"],
    }
    start = subprocess.Popen
    monkeypatch.setattr(gpu.subprocess, "Popen", lambda command, **options: start(answers[command[-1]], **options))
    monkeypatch.setattr(gpu, "CHECKS", [gpu.Check(name, 0.2 if name == "hangs" else 30, str) for name in answers])
    assert gpu.main(["--device", "cpu"]) == 1
    rows = [line.split(" | ") for line in capsys.readouterr().out.splitlines() if line.startswith("| ")][1:]
    assert [(row[0].strip("| "), row[1], row[3].strip(" |")) for row in rows] == [
        ("fails", "other bytes", "FAILED"),
        ("crashes", "exit status -6", "FAILED"),
        ("hangs", "no result within 1 s", "FAILED"),
        ("needs more", "not installed: x", "skipped"),
        ("works", "fine", "ok"),
    ]


def test_an_unknown_check_is_refused():
    with pytest.raises(SystemExit):
        gpu.main(["no such check"])


def test_a_check_runs_on_a_cpu(capsys):
    assert gpu.main(["--device", "cpu", "maps against the CPU"]) == 0
    assert "0 pixels flipped" in capsys.readouterr().out
