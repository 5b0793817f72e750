"""What is away for a while marks nothing: ticks say so, and finish the plates when it is back."""

import shutil
import subprocess
from contextlib import contextmanager

import pytest
from conftest import WEIGHTS
from lab import Lab, put_plate


@contextmanager
def mounted(source, at):
    """A folder, mounted at another one. The test is skipped where only the administrator may mount one."""
    try:
        subprocess.run(["mount", "--bind", str(source), str(at)], check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError) as error:
        pytest.skip(f"a folder cannot be mounted here: {error}")
    try:
        yield
    finally:
        subprocess.run(["umount", "--lazy", str(at)], check=True)


def stopped(lab, run, message):
    """A tick that stopped: one message, exit status 1, and no plate marked or forgotten."""
    assert run.returncode == 1 and message in run.stdout and "Traceback" not in run.stdout, run.stdout
    assert not list(lab.results.glob("failed/*"))
    assert set(lab.status().values()) == {"ready"}
    assert not lab.pages()


def test_a_mount_and_weights_that_are_away_for_a_while(tmp_path, trained):
    lab = Lab(tmp_path, trained / WEIGHTS)
    server = tmp_path / "server"
    put_plate(server / "one"), put_plate(server / "two", 1)
    with mounted(server, lab.inbox):
        lab.tick()
        lab.snakemake("scan_plates", "--forcerun", "scan_plates")
    run = lab.snakemake("plates", "--keep-going", check=False)  # a node without the mount
    stopped(lab, run, f"{lab.inbox}/one: cannot be looked at now")
    run = lab.tick(check=False)
    stopped(lab, run, f"inbox {lab.inbox} is empty, where 2 plates lay at the last scan: is it mounted?")

    weights = next(tmp_path.glob("models/*/weights.safetensors"))
    shutil.move(weights, tmp_path / "sound")
    weights.write_bytes(b"garbage")
    with mounted(server, lab.inbox):
        run = lab.tick(check=False)
    stopped(lab, run, f"{weights}: ")
    assert "one: stopped: segment_plate_0 stopped on" in run.stdout
    assert run.stdout.splitlines()[-1].startswith("done 0, failed 2, waiting 0, excluded 0: ")
    assert "segment_plate_0 stopped on" in (lab.results / "plates.html").read_text()

    shutil.move(tmp_path / "sound", weights)
    with mounted(server, lab.inbox):
        run = lab.tick()
    assert set(lab.pages()) == {"one", "two"} and not list(lab.results.glob("stopped/*"))
    assert run.stdout.splitlines()[-1].startswith("done 2, failed 0, waiting 0, excluded 0: ")
