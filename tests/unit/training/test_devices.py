"""One training shared by two devices: the gradient of the whole batch, one log, one writer."""

import json
import os
import socket
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import pandas as pd
import pytest
import torch
from safetensors.torch import load_file

from equinuclei.errors import InputError
from equinuclei.training.devices import environment_of_followers, folder_of_leader, share_of
from support.training import changed, part, train

ROOT = Path(__file__).parents[3]

# As Snakemake runs a rule: a script, which Lightning starts again for every further device.
SCRIPT = """
import os, signal, sys
from pathlib import Path

sys.path[:0] = [{root!r}, {tests!r}]
import torch

from equinuclei.networks.network import SegmentationNetwork
from equinuclei.runtime.job import job
from support.training import changed, part
from equinuclei.specs import ModelSpec
from equinuclei.training.task import SegmentationTask
from equinuclei.training.train import TrainingFiles, train_model

folder = Path({folder!r})
stop_at = {stop_at}
if stop_at is not None and os.environ.get("LOCAL_RANK") == "1":
    hook, at_step = stop_at
    original = getattr(SegmentationTask, hook)
    def end(self, batch, index):
        if self.global_step == at_step:
            os.kill(os.getpid(), signal.SIGUSR1)
        return original(self, batch, index)
    setattr(SegmentationTask, hook, end)
if {dead}:
    original_prior, networks = SegmentationNetwork.set_prior, []
    def set_prior(self, prior):
        original_prior(self, prior)
        if not networks:
            with torch.no_grad():
                [parameter.zero_() for parameter in self.parameters()]
                self.head.bias.fill_(-20.0)
        networks.append(self)
    SegmentationNetwork.set_prior = set_prior
with job(folder / "train.log"):
    train_model(ModelSpec("simplified", "p4", (2, 4)), part(11), part(5, seed=1),
                changed(devices=2, batch_size=5), seed=3, files=TrainingFiles.inside(folder))
"""


def train_on_two(folder, stop_at=None, dead=False):
    folder.mkdir(exist_ok=True)
    script = folder / "script.py"
    values = {"root": str(ROOT), "tests": str(ROOT / "tests"), "folder": str(folder)}
    script.write_text(SCRIPT.format(**values, stop_at=stop_at, dead=dead))
    environment = {**os.environ, "MASTER_PORT": str(free_port())}
    return subprocess.run([sys.executable, script], capture_output=True, text=True, timeout=600, env=environment)


def free_port():
    """A port that no other program gets by chance until the training takes it: those lie at 32768 and above."""
    for port in range(20_000 + os.getpid() % 10_000, 32_768):
        with socket.socket() as end, suppress(OSError):
            end.bind(("127.0.0.1", port))
            return port


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    folders = {devices: tmp_path_factory.mktemp(f"devices{devices}") for devices in (1, 2)}
    train(folders[1], changed(batch_size=5), validation=part(5, seed=1), training=part(11))
    run = train_on_two(folders[2])
    assert run.returncode == 0, run.stdout + run.stderr
    return folders


def test_two_devices_learn_what_one_learns(runs):
    """11 crops in batches of 5: each is shared unevenly, and the last leaves nothing for one of the devices.

    Sums in another order make the rest of the gap.
    """
    history = {devices: pd.read_csv(folder / "history.csv") for devices, folder in runs.items()}
    assert history[2].columns.tolist() == history[1].columns.tolist()
    pd.testing.assert_frame_equal(history[1], history[2], rtol=2e-3, atol=2e-3)
    weights = {devices: load_file(folder / "weights.safetensors") for devices, folder in runs.items()}
    for name, tensor in weights[1].items():
        torch.testing.assert_close(weights[2][name], tensor, rtol=1e-3, atol=1e-4)


def test_the_leader_alone_writes(runs):
    log = (runs[2] / "train.log").read_text()
    assert log.count("epoch 4/4") == 1
    assert json.loads((runs[2] / "run.json").read_text())["training"]["devices"] == 2
    assert sorted(path.name for path in runs[2].iterdir() if not path.name.startswith("__")) == [
        "history.csv", "run.json", "script.py", "train.log", "weights.safetensors",
    ]  # fmt: skip


def test_a_follower_whose_job_ends_stops_all_and_they_resume_bit_for_bit(runs, tmp_path):
    """Within an epoch, and then at the end of one."""
    folder, log = tmp_path / "a", tmp_path / "a/train.log"
    resuming = ""
    for stop_at, saved in ((("training_step", 4), "epoch 1"), (("validation_step", 6), "step 6")):
        stopped = train_on_two(folder, stop_at=stop_at)
        told = log.read_text()  # the leader's: it did not lose its follower, it stopped with it
        assert stopped.returncode == 1 and f"the training is saved after {saved}" in told, stopped.stderr
        assert resuming in told
        resuming = "resuming after epoch 1 of 4"
    resumed = train_on_two(folder)
    assert resumed.returncode == 0, resumed.stderr
    assert "resuming after epoch 2 of 4" in log.read_text()
    for name in ("weights.safetensors", "history.csv"):
        assert (folder / name).read_bytes() == (runs[2] / name).read_bytes()


def test_devices_start_again_together_when_the_training_collapsed(tmp_path):
    run = train_on_two(tmp_path / "a", dead=True)
    assert run.returncode == 0, run.stdout + run.stderr
    first, second = json.loads((tmp_path / "a/run.json").read_text())["attempts"]
    assert (first["collapsed"], first["steps"], second["steps"]) == ("finds nothing", 12, 12)
    log = (tmp_path / "a/train.log").read_text()
    assert log.count("attempt 1 of 5 has collapsed") == 1 and log.count("epoch 4/4") == 2
    if second["collapsed"] is None:
        assert pd.read_csv(tmp_path / "a/history.csv")["train_F1"].iloc[-1] > 0


def test_followers_keep_to_the_threads_of_the_settings(tmp_path, monkeypatch):
    """Lightning would share the cores out among the devices, and leave its variables behind."""
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.delenv("LOCAL_RANK", raising=False)
    with environment_of_followers(tmp_path, changed(torch_threads=3)):
        assert os.environ["OMP_NUM_THREADS"] == "3" and folder_of_leader() == tmp_path
        os.environ["LOCAL_RANK"] = "0"  # as Lightning does
    assert "OMP_NUM_THREADS" not in os.environ and "LOCAL_RANK" not in os.environ


@pytest.mark.parametrize("crops, shares", [(5, [3, 2]), (4, [2, 2]), (1, [1, 1])])
def test_shares_of_a_batch_make_up_the_whole(crops, shares):
    batch = torch.arange(crops), torch.arange(crops)
    taken = [share_of(batch, rank, 2) for rank in range(2)]
    assert [len(share.crops) for share in taken] == shares
    counted = torch.cat([share.crops for share in taken if share.weight])
    assert sorted(counted.tolist()) == list(range(crops))
    # The average of the weighted means over devices is the mean over the batch.
    means = [share.crops.double().mean() * share.weight for share in taken]
    assert sum(means) / 2 == pytest.approx(batch[0].double().mean())


def test_more_devices_than_crops_in_a_batch_are_refused():
    with pytest.raises(InputError, match="batches of 4 cannot be shared by 5 devices"):
        changed(devices=5)
