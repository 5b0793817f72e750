"""Training learns, is reproducible, and resumes bit for bit."""

import os
import signal

import numpy as np
import pandas as pd
import pytest
import torch

from equinuclei.checksums import sha256
from equinuclei.dataset.parts import Part
from equinuclei.errors import InputError, StoppedError
from equinuclei.images.masks import to_distance, to_instances, to_three_class
from equinuclei.inference.whole_images import predict_transforms
from equinuclei.networks.checkpoint import load_model
from equinuclei.networks.targets import target_of
from equinuclei.runtime.files import write_json
from equinuclei.runtime.provenance import read_run
from equinuclei.specs import ModelSpec
from equinuclei.symmetry import IDENTITY
from equinuclei.training.settings import resolve_settings
from equinuclei.training.task import DivergedError, SegmentationTask, learning_rate_factor
from support.training import SETTINGS, SPEC, changed, part, train


def interrupt_after_epoch_2(monkeypatch, folder):
    """Train for two epochs, as if they had taken 100 seconds."""

    def interrupt(task):
        if task.current_epoch == 2:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises((KeyboardInterrupt, SystemExit)):
        patch.setattr(SegmentationTask, "on_train_epoch_start", interrupt)
        patch.setattr(SegmentationTask, "seconds", 100.0)
        train(folder)


@pytest.mark.parametrize(
    "architecture, group",
    [("simplified", "p4m"), *(pytest.param("unet", group, marks=pytest.mark.nightly) for group in ("p4", "trivial"))],
)
def test_a_small_network_learns_discs(tmp_path, architecture, group):
    train(tmp_path, changed(epochs=40), spec=ModelSpec(architecture, group, (4, 8)))
    history = pd.read_csv(tmp_path / "history.csv")
    assert history["train_F1"].iloc[-1] > 0.95


@pytest.mark.parametrize("target", ["distance", "three_class"])
def test_a_small_network_learns_every_target(tmp_path, target):
    discs, derive = part(), {"distance": to_distance, "three_class": to_three_class}[target]
    labels = [to_instances(mask, "binary") for mask in discs.targets]
    truths = [derive(of_image, "instances", border_as="nucleus") for of_image in labels] if target == "distance" else [
        derive(of_image, "instances") for of_image in labels]  # fmt: skip
    files = train(
        tmp_path,
        changed(epochs=40),
        spec=ModelSpec("simplified", "p4", (4, 8), target=target),
        training=Part(discs.fields, discs.images, truths),
    )
    history = pd.read_csv(files["history"])
    assert history["train_F1"].iloc[-1] > 0.95  # of the foreground, the same for all targets
    network = load_model(files["weights"])
    maps = [predict_transforms(network, image, [IDENTITY])[IDENTITY] for image in discs.images]
    codes, truth = np.stack([target_of(target).codes(of_image) for of_image in maps]), np.stack(truths)
    both = (codes > 0) & (truth > 0)
    if target == "distance":
        assert np.corrcoef(codes[both], truth[both])[0, 1] > 0.8
    else:
        assert (codes[both] == truth[both]).mean() > 0.8


def test_the_learning_rate_rises_and_falls():
    settings = {"steps": 100, "warmup": 0.1}
    cosine = [learning_rate_factor(step, schedule="cosine", **settings) for step in range(101)]
    assert cosine[0] == pytest.approx(0.1) and cosine[9] == cosine[10] == 1
    assert cosine[55] == pytest.approx(0.5) and cosine[100] == pytest.approx(0)
    constant = [learning_rate_factor(step, schedule="constant", **settings) for step in range(100)]
    assert constant[:10] == cosine[:10] and set(constant[10:]) == {1}
    assert learning_rate_factor(0, steps=3, warmup=0, schedule="constant") == 1


def test_the_record_tells_what_was_done(tmp_path):
    files = train(tmp_path, validation=part(4, seed=1), record={"dataset": "discs"}, code="abc")
    history = pd.read_csv(files["history"])
    metrics = ("loss", "accuracy", "precision", "recall", "F1")
    assert set(history) == {"epoch", *(f"{stage}_{name}" for stage in ("train", "val") for name in metrics)}
    assert history["epoch"].tolist() == [1, 2, 3, 4]
    run = read_run(files["run"])
    assert run["dataset"] == "discs" and run["seed"] == 3 and run["code_sha256"] == "abc"
    assert run["spec"] == SPEC.to_dict() and run["training"]["epochs"] == 4
    assert run["parameters"] == sum(p.numel() for p in load_model(files["weights"]).parameters())
    assert run["gflops"] > 0 and "torch" in run["packages"] and run["images"] == 12
    assert sorted(path.name for path in tmp_path.iterdir()) == ["history.csv", "run.json", "weights.safetensors"]


def test_the_same_training_gives_the_same_bytes(tmp_path):
    first, second = (train(tmp_path / name) for name in ("a", "b"))
    assert sha256(first["weights"]) == sha256(second["weights"])
    assert first["history"].read_text() == second["history"].read_text()


def test_an_interrupted_training_resumes_bit_for_bit(tmp_path, monkeypatch):
    undisturbed = train(tmp_path / "a")
    interrupt_after_epoch_2(monkeypatch, tmp_path / "b")
    assert not (tmp_path / "b" / "weights.safetensors").exists()
    resumed = train(tmp_path / "b")
    assert read_run(resumed["run"])["resumed_after_epoch"] == 2
    assert read_run(resumed["run"])["train_seconds"] >= 100  # of the first two epochs, as the clock below tells
    assert sha256(resumed["weights"]) == sha256(undisturbed["weights"])
    assert resumed["history"].read_text() == undisturbed["history"].read_text()


@pytest.mark.parametrize("name", ["SIGUSR1", "SIGTERM"])
@pytest.mark.parametrize("step", [2, 6, 12])  # of 12, three an epoch
def test_a_job_that_is_told_its_end_saves_at_once_and_resumes_bit_for_bit(tmp_path, monkeypatch, caplog, name, step):
    caplog.set_level("INFO")
    taken = []

    def tell(task, batch, index):
        taken.append(index)
        if len(taken) == step:
            os.kill(os.getpid(), getattr(signal, name))
        return training_step(task, batch, index)

    training_step, followed = SegmentationTask.training_step, part(4, seed=1)
    undisturbed = train(tmp_path / "a", validation=followed)
    before = [signal.getsignal(number) for number in (signal.SIGUSR1, signal.SIGTERM)]
    monkeypatch.setattr(SegmentationTask, "training_step", tell)
    with pytest.raises(StoppedError, match=rf"told to end \({name}\): the training is saved after step {step} "):
        train(tmp_path / "b", validation=followed)
    assert len(taken) == step and not (tmp_path / "b" / "weights.safetensors").exists()
    assert [signal.getsignal(number) for number in (signal.SIGUSR1, signal.SIGTERM)] == before
    resumed = train(tmp_path / "b", validation=followed)
    assert len(taken) == 12 and taken == [0, 1, 2] * 4  # none twice
    whole = f"resuming after epoch {step // 3} of 4"
    assert whole + (f" and {step % 3} of 3 steps" if step % 3 else "") in caplog.text
    assert sha256(resumed["weights"]) == sha256(undisturbed["weights"])
    assert resumed["history"].read_text() == undisturbed["history"].read_text()


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_a_training_stopped_within_an_epoch_resumes_bit_for_bit_on_a_gpu(tmp_path, monkeypatch, precision):
    def stop(task, batch, index):
        if task.global_step == 4:  # of 12, three an epoch
            os.kill(os.getpid(), signal.SIGUSR1)
        return training_step(task, batch, index)

    settings, training_step = changed(device="cuda", precision=precision), SegmentationTask.training_step
    undisturbed = train(tmp_path / "a", settings)
    with monkeypatch.context() as patch, pytest.raises(StoppedError):
        patch.setattr(SegmentationTask, "training_step", stop)
        train(tmp_path / "b", settings)
    resumed = train(tmp_path / "b", settings)
    assert sha256(resumed["weights"]) == sha256(undisturbed["weights"])
    assert resumed["history"].read_text() == undisturbed["history"].read_text()


def test_a_training_that_another_job_took_over_ends(tmp_path, monkeypatch):
    def lose(task):
        if task.current_epoch == 2:
            next(tmp_path.glob(".checkpoint.work-*/owner-*")).unlink()

    monkeypatch.setattr(SegmentationTask, "on_train_epoch_start", lose)
    with pytest.raises(StoppedError, match="another job took over"):
        train(tmp_path)
    assert not [path.name for path in tmp_path.iterdir() if not path.name.startswith(".")]


def test_a_checkpoint_of_other_settings_is_not_resumed(tmp_path, monkeypatch):
    interrupt_after_epoch_2(monkeypatch, tmp_path)
    files = train(tmp_path, changed(learning_rate=5e-3))
    assert read_run(files["run"])["resumed_after_epoch"] == 0


def test_the_learning_rate_is_the_number_given_or_the_one_chosen(tmp_path):
    assert resolve_settings(SETTINGS.__dict__, None) == (SETTINGS, {})
    choice = tmp_path / "learning_rate.json"
    write_json(choice, {"learning_rate": 5e-3, "candidates": [{"learning_rate": 1e-3}, {"learning_rate": 5e-3}]})
    settings, record = resolve_settings({**SETTINGS.__dict__, "learning_rate": [1e-3, 5e-3]}, choice)
    assert settings == changed(learning_rate=5e-3) and record == {"learning_rate_chosen_from": [1e-3, 5e-3]}


def test_what_cannot_be_trained_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    with pytest.raises(InputError, match="this job finds no GPU"):
        train(tmp_path, changed(device="cuda"))
    with pytest.raises(DivergedError, match="lower `learning_rate`"):
        train(tmp_path, changed(learning_rate=1e36))
    with pytest.raises(InputError, match="crops of 33 pixels: this network needs a multiple of 2"):
        train(tmp_path, changed(crop=33))
    with pytest.raises(InputError, match="training part is empty"):
        train(tmp_path, training=Part(pd.DataFrame(), [], []))


def test_a_broken_record_is_told(tmp_path):
    with pytest.raises(InputError, match=r"run.json.*train the model again"):
        read_run(tmp_path / "run.json")
