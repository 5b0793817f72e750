"""Training learns, is reproducible, and resumes bit for bit."""

import errno
import os
import signal
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from equinuclei.checksums import sha256
from equinuclei.dataset.parts import Part
from equinuclei.errors import InputError, StoppedError, UnavailableError
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
        patch.setattr(SegmentationTask, "cpu_seconds", 200.0)
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
    assert read_run(resumed["run"])["train_seconds"] >= 100  # of the first two epochs, as the clock says
    assert read_run(resumed["run"])["train_cpu_seconds"] >= 200
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


def spoil(path, how):
    """Damage a checkpoint as power cuts, full disks and strangers do."""
    content = path.read_bytes()
    if how == "foreign pickle":
        torch.save({"state_dict": Mischief()}, path)
    elif how == "other content":
        torch.save({"state_dict": {}, "epoch": 3}, path)
    elif how == "another network":
        checkpoint = torch.load(path, weights_only=True)
        checkpoint["state_dict"] = {name: tensor[..., :0] for name, tensor in checkpoint["state_dict"].items()}
        torch.save(checkpoint, path)
    else:
        half = len(content) // 2
        path.write_bytes({"empty": b"", "cut off": content[:half], "zeros": content[:half] + bytes(len(content) - half),
                          "no checkpoint": b"x" * 1000}[how])  # fmt: skip


class Mischief:
    """Does something when it is unpickled."""

    def __reduce__(self):
        return (pytest.fail, ("a foreign pickle was run",))


DAMAGES = ["empty", "cut off", "zeros", "no checkpoint", "foreign pickle", "other content", "another network"]


@pytest.mark.parametrize("how", DAMAGES)
def test_a_broken_checkpoint_is_told_and_the_one_before_it_taken(tmp_path, monkeypatch, caplog, undisturbed, how):
    caplog.set_level("INFO")
    interrupt_after_epoch_2(monkeypatch, tmp_path)
    (checkpoint,) = tmp_path.glob(".checkpoint.work-*/*/training.ckpt")
    spoil(checkpoint, how)
    resumed = train(tmp_path)
    assert f"{checkpoint.parent.parent}" in caplog.text and "training.ckpt: cannot be read" in caplog.text
    assert "it is set aside as training.ckpt.broken-" in caplog.text
    assert "resuming after epoch 1 of 4" in caplog.text
    assert sha256(resumed["weights"]) == sha256(undisturbed["weights"])
    assert resumed["history"].read_text() == undisturbed["history"].read_text()


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    return train(tmp_path_factory.mktemp("undisturbed"))


def test_without_any_whole_checkpoint_the_training_starts_anew(tmp_path, monkeypatch, caplog, undisturbed):
    interrupt_after_epoch_2(monkeypatch, tmp_path)
    for name, how in (("training.ckpt", "cut off"), ("training.previous.ckpt", "empty")):
        spoil(next(tmp_path.glob(f".checkpoint.work-*/*/{name}")), how)
    resumed = train(tmp_path)
    assert "training.ckpt.broken-" in caplog.text and "training.previous.ckpt.broken-" in caplog.text
    assert read_run(resumed["run"])["resumed_after_epoch"] == 0
    assert sha256(resumed["weights"]) == sha256(undisturbed["weights"])


def test_killed_between_the_renames_of_checkpoints_it_has_the_one_before(tmp_path, monkeypatch, undisturbed):
    interrupt_after_epoch_2(monkeypatch, tmp_path)
    next(tmp_path.glob(".checkpoint.work-*/*/training.ckpt")).unlink()
    resumed = train(tmp_path)
    assert read_run(resumed["run"])["resumed_after_epoch"] == 1
    assert sha256(resumed["weights"]) == sha256(undisturbed["weights"])


def test_a_checkpoint_that_cannot_be_read_now_stays(tmp_path, monkeypatch):
    interrupt_after_epoch_2(monkeypatch, tmp_path)
    (checkpoint,) = tmp_path.glob(".checkpoint.work-*/*/training.ckpt")
    read_bytes = Path.read_bytes

    def fail(path):
        if path.name == checkpoint.name:
            raise OSError(errno.EIO, "Input/output error", str(path))
        return read_bytes(path)

    with monkeypatch.context() as patch, pytest.raises(UnavailableError, match=r"training\.ckpt"):
        patch.setattr(Path, "read_bytes", fail)
        train(tmp_path)
    assert read_run(train(tmp_path)["run"])["resumed_after_epoch"] == 2


def test_too_little_memory_proves_nothing_about_a_checkpoint(tmp_path, monkeypatch):
    def fail(*_, **__):
        raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 1 bytes")

    interrupt_after_epoch_2(monkeypatch, tmp_path)
    with monkeypatch.context() as patch, pytest.raises(UnavailableError, match="more memory than there is"):
        patch.setattr(torch, "load", fail)
        train(tmp_path)
    assert read_run(train(tmp_path)["run"])["resumed_after_epoch"] == 2


def test_weights_of_another_training_are_neither_taken_nor_lost(tmp_path, caplog, undisturbed):
    """As when a person copies an old model into the folder."""
    files = train(tmp_path, changed(learning_rate=5e-3))
    old = sha256(files["weights"])
    train(tmp_path)
    assert sha256(files["weights"]) == sha256(undisturbed["weights"]) != old
    (kept,) = tmp_path.glob("weights.safetensors.replaced-*")
    assert sha256(kept) == old and kept.name in caplog.text
    # Finished, it is not made again; without one of its files it is.
    before = files["run"].stat().st_mtime_ns
    train(tmp_path)
    assert files["run"].stat().st_mtime_ns == before
    files["history"].unlink()
    train(tmp_path)
    assert files["run"].stat().st_mtime_ns != before and files["history"].is_file()


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


@pytest.mark.parametrize("content", ["", "{}", '{"learning_rate": 1, "candidates": [1]}', '{"candidates": null}'])
def test_a_broken_choice_of_a_learning_rate_is_told(tmp_path, content):
    (tmp_path / "learning_rate.json").write_text(content)
    with pytest.raises(InputError, match=r"learning_rate\.json.*delete it, and it is chosen again"):
        resolve_settings(SETTINGS.__dict__, tmp_path / "learning_rate.json")


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
    (tmp_path / "run.json").touch()
    with pytest.raises(InputError, match=r"run.json.*model is trained again"):
        read_run(tmp_path / "run.json")
