"""Training of one model with Lightning: from a part of a data set to weights, their history and their record."""

import logging
import sys
import warnings
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import lightning
import pandas as pd
import torch
from lightning.fabric.plugins.environments import LightningEnvironment
from lightning.pytorch.callbacks import TQDMProgressBar
from torch import nn
from torch.utils.data import DataLoader

from equinuclei.checksums import digest
from equinuclei.dataset.parts import Part
from equinuclei.errors import InputError
from equinuclei.images.rescaling import LEAST_LEARNT, magnification
from equinuclei.networks.build import build_model
from equinuclei.networks.checkpoint import save_weights
from equinuclei.networks.device import prepare_torch
from equinuclei.networks.layers import use_channels_last
from equinuclei.networks.network import model_cost
from equinuclei.networks.targets import target_of
from equinuclei.runtime.files import put_in_place, replacing, with_scratch_folder, write_json
from equinuclei.runtime.finished import checksums, is_made
from equinuclei.runtime.job import is_follower
from equinuclei.runtime.ownership import require_ownership
from equinuclei.runtime.provenance import code_version, hardware_so_far, locked_packages, package_versions
from equinuclei.specs import ModelSpec
from equinuclei.training.attempts import seed_of_attempt, train_until_it_learns
from equinuclei.training.crops import CropSampler
from equinuclei.training.devices import environment_of_followers, folder_of_leader, select_device
from equinuclei.training.resumption import CentreCrops, Checkpoints, Epochs, SaveProgress
from equinuclei.training.settings import TrainingSettings
from equinuclei.training.task import SegmentationTask


@dataclass(frozen=True)
class TrainingFiles:
    """What a training writes.

    weights : safetensors, with the spec and the measured equivariance of the trained network
    history : CSV, a row per epoch: loss, accuracy, precision, recall and F1 on the crops
    run : JSON: spec, settings, seed, attempts, data, versions, hardware, cost, the measured equivariance, and the
        checksums of the other two
    """

    weights: Path
    history: Path
    run: Path

    @classmethod
    def inside(cls, folder: str | Path) -> "TrainingFiles":
        """The files of a training under their usual names in a folder."""
        return cls(Path(folder, "weights.safetensors"), Path(folder, "history.csv"), Path(folder, "run.json"))

    def moved_to(self, folder: Path) -> "TrainingFiles":
        """The same names in another folder."""
        return TrainingFiles(*(folder / path.name for path in (self.weights, self.history, self.run)))

    def are_made(self, key: str) -> bool:
        """Whether all of them are there, made under this key and together."""
        return is_made(self.run, key, [self.weights, self.history])


_Samplers = tuple[CropSampler, CropSampler | None]


@dataclass(frozen=True)
class _Inputs:
    """All that the weights of a training depend on, besides the code."""

    spec: ModelSpec
    training: Part
    validation: Part | None
    settings: TrainingSettings
    seed: int

    def task(self, device: torch.device, samplers: _Samplers, attempt: int) -> SegmentationTask:
        """What is trained, at the start of an attempt. Raises InputError if the crops do not fit the network."""
        torch.manual_seed(seed_of_attempt(self.seed, attempt))
        network = build_model(self.spec)
        multiple = network.input_multiple
        if self.settings.crop % multiple:
            raise InputError(f"crops of {self.settings.crop} pixels: this network needs a multiple of {multiple}")
        network.set_prior(target_of(self.spec.target).prior(self.training.targets))
        if device.type == "cuda" or not any(isinstance(module, nn.BatchNorm2d) for module in network.modules()):
            # Faster on a CPU too, except for batch norm, whose training is far slower there.
            use_channels_last(network)
        return SegmentationTask(network, *samplers, self.settings)

    def samplers(self, device: torch.device) -> _Samplers:
        """Crops to learn from, and crops of the part to follow."""
        part, settings, diameter = self.training, self.settings, self.spec.diameter
        sampler = partial(
            CropSampler,
            crop=settings.crop,
            batch_size=settings.batch_size,
            normalization=self.spec.normalization,
            seed=self.seed,
            device=device,
        )
        magnifications = None
        if diameter is not None and part.diameters is not None:
            magnifications = [magnification(of_image, diameter, LEAST_LEARNT) for of_image in part.diameters]
        crops = sampler(
            part.images,
            part.targets,
            crops=part.crops,
            augmentation=self.spec.augmentation,
            zoom=settings.zoom,
            magnifications=magnifications,
            photometric=settings.photometric,
            groups=part.fields["group"].astype(str) if settings.sampling == "groups" else None,
        )
        return crops, sampler(self.validation.images, self.validation.targets) if self.validation else None

    def data_digest(self) -> str:
        """Digest of the images and masks to learn from."""
        return digest([self.training.fields[["image_id", "image_sha256", "mask_sha256"]].to_dict("list")])

    def key(self, code: str) -> str:
        """Digest of these inputs and of the code: a checkpoint with another key is not resumed."""
        part, settings = self.training, self.settings
        groups = part.fields["group"].tolist() if settings.sampling == "groups" else None
        diameters = None if part.diameters is None else [round(float(diameter), 6) for diameter in part.diameters]
        data = [self.data_digest(), part.crops, [groups, diameters]]
        return digest([code, self.spec.to_dict(), asdict(settings), self.seed, *data, package_versions()["torch"]])


def train_model(
    spec: ModelSpec,
    training: Part,
    validation: Part | None,
    settings: TrainingSettings,
    *,
    seed: int,
    files: TrainingFiles,
    code: str = "",
    record: Mapping[str, Any] | None = None,
) -> None:
    """Train a model on one part of a data set, and keep the weights of the last epoch.

    A training that collapses starts again from other first weights (`attempts.py`). An interrupted training continues
    from its last epoch, or from the step at which the job was told that it would end, if code, spec, settings, seed and
    data are the same.

    Parameters
    ----------
    training : images to learn from, with truths of the spec's target
    validation : a part that is only followed, never tuned on; or None
    seed : of the first weights and of the crops
    code : digest of the code that trains
    record : further plain values to keep in `files.run`

    Raises InputError if the part is empty, the crops do not fit the network, or a GPU is asked for and absent;
    DivergedError, an InputError, if the loss diverges; StoppedError if the job was told that it will end, or another
    job took over this training.
    """
    if not training.images:
        raise InputError("the training part is empty: check `split` in the configuration")
    device = prepare_torch(settings.device, settings.torch_threads, deterministic=settings.deterministic)
    select_device(settings)
    inputs = _Inputs(spec, training, validation, settings, seed)
    start = partial(inputs.task, device, inputs.samplers(device))
    if is_follower():
        _fit(start(1), folder_of_leader(), device)  # the weights are those of the leader, whichever attempt it makes
        return

    key = inputs.key(code)

    def train(folder: Path) -> None:
        *before, now = hardware_so_far(folder / "hardware.json", anew=not any(folder.rglob("*.ckpt")))
        task, attempts = train_until_it_learns(
            start, lambda task, inside: _fit(task, inside, device, owned=folder), folder, settings.attempts, seed
        )
        require_ownership(folder)
        told = {"key": key, "attempts": attempts, "hardware": now, "hardware_before": before}
        _write(inputs, task, files.moved_to(folder), code, {**(record or {}), **told})
        put_in_place(folder, [files.history, files.run, files.weights], lambda: files.are_made(key))

    with_scratch_folder(files.weights.parent / "checkpoint", key, train, is_finished=lambda _: files.are_made(key))


def _fit(task: SegmentationTask, folder: Path, device: torch.device, owned: Path | None = None) -> None:
    """Train up to the last epoch, from the last whole checkpoint in the folder if there is one.

    owned : the work folder of this job that `folder` is or lies in; None in a follower, which owns none
    """
    settings = task.settings
    saved = Checkpoints(folder)
    checkpoint = saved.last_whole(task)
    bfloat16 = settings.precision == "bfloat16" or (settings.precision == "auto" and device.type == "cuda")
    bar = [TQDMProgressBar()] if sys.stdout.isatty() else []
    logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)
    trainer = lightning.Trainer(
        max_epochs=settings.epochs,
        accelerator="gpu" if device.type == "cuda" else "cpu",
        devices=settings.devices,
        strategy="ddp" if settings.devices > 1 else "auto",
        precision="bf16-mixed" if bfloat16 else "32-true",
        deterministic=settings.deterministic,
        # Without it, one steep step early on leaves its square in Adam's running mean for a thousand steps, and a deep
        # network without batch norm stays where that step threw it: background everywhere.
        gradient_clip_val=settings.gradient_clip,
        callbacks=[SaveProgress(saved.current, owned or folder), *bar],
        # Left to itself, Lightning uses the environment of SLURM, and would requeue the job.
        plugins=[LightningEnvironment(), saved],
        logger=False,
        enable_model_summary=False,
        enable_progress_bar=bool(bar),
        use_distributed_sampler=False,
        num_sanity_val_steps=0,
        default_root_dir=folder,
    )
    followed = task.validation
    with warnings.catch_warnings(), environment_of_followers(folder, settings):
        warnings.filterwarnings("ignore", module="lightning")
        trainer.fit(
            task,
            train_dataloaders=DataLoader(Epochs(task.sampler, task), batch_size=None),
            val_dataloaders=DataLoader(CentreCrops(followed, task), batch_size=None) if followed else None,
            ckpt_path=checkpoint,
            weights_only=True,  # a file that holds more than values is not run
        )


def _write(inputs: _Inputs, task: SegmentationTask, files: TrainingFiles, code: str, record: Mapping[str, Any]) -> None:
    """Write the files of a finished training; run.json, the last, tells the checksums of the others."""
    attempts = record["attempts"]
    seconds = {f"train_{of}": round(sum(attempt[of] for attempt in attempts), 2) for of in ("seconds", "cpu_seconds")}
    network = task.network.to("cpu").eval()
    certificate = network.certificate()
    with replacing(files.history) as temporary:
        pd.DataFrame(task.history).to_csv(temporary, index=False, lineterminator="\n")
    save_weights(network, inputs.spec, files.weights, certificate)
    write_json(
        files.run,
        {
            **record,
            "spec": inputs.spec.to_dict(),
            "training": asdict(inputs.settings),
            "seed": inputs.seed,
            "group": str(network.group),
            "reach": network.reach,
            "input_multiple": network.input_multiple,
            **model_cost(network),
            "equivariance": certificate,
            "images": len(inputs.training.images),
            "crops_per_epoch": task.sampler.crops,
            "data_sha256": inputs.data_digest(),
            "code_sha256": code,
            "code_version": code_version(),
            "packages": package_versions(),
            "lock": locked_packages(),
            **seconds,
            "resumed_after_epoch": task.resumed_after_epoch,
            "files": checksums([files.history, files.weights]),
        },
    )
