"""Training of one model with Lightning: reproducible, and resumed where it stopped."""

import io
import logging
import math
import os
import signal
import sys
import time
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, fields
from functools import partial
from itertools import islice
from pathlib import Path

import lightning
import pandas as pd
import torch
from lightning.fabric.plugins.environments import LightningEnvironment
from lightning.pytorch.callbacks import Checkpoint, TQDMProgressBar
from lightning.pytorch.plugins import TorchCheckpointIO
from torch import Tensor, nn
from torch.utils.data import DataLoader, IterableDataset
from torchmetrics import MetricCollection
from torchmetrics.classification import BinaryAccuracy, BinaryF1Score, BinaryPrecision, BinaryRecall

from equinuclei.checksums import digest
from equinuclei.dataset.parts import Part
from equinuclei.errors import InputError, StoppedError, check_known
from equinuclei.images.rescaling import magnification
from equinuclei.networks.build import build_model
from equinuclei.networks.checkpoint import save_weights
from equinuclei.networks.device import prepare_torch
from equinuclei.networks.layers import use_channels_last
from equinuclei.networks.network import SegmentationNetwork, model_cost
from equinuclei.networks.targets import TARGETS
from equinuclei.runtime.files import read_record, replacing, scratch_folder, write_json
from equinuclei.runtime.job import is_follower, stop_for_a_test
from equinuclei.runtime.ownership import require_ownership
from equinuclei.runtime.provenance import code_version, hardware, package_versions
from equinuclei.specs import ModelSpec
from equinuclei.training.crops import CropSampler

logger = logging.getLogger("equinuclei.training.train")

SCHEDULES = ("constant", "cosine")
PRECISIONS = ("auto", "float32", "bfloat16")
SAMPLING = ("images", "groups")


@dataclass(frozen=True)
class TrainingSettings:
    """How a model is trained. Every field is a key of `training` in the configuration.

    epochs : an epoch is as many crops as there are images (of a subset, as many as of the whole part)
    crop : edge of the crops in pixels
    sampling : "images", one crop of every image in an epoch; "groups", images by chance, the same for every group
    zoom : crops are magnified by 1 / zoom to zoom
    photometric : whether crops are shown at other exposures too (`augmentation.photometric`)
    batch_size : crops per step
    learning_rate : of Adam (Kingma & Ba 2015)
    schedule : "constant", or "cosine" (to zero at the last step, Loshchilov & Hutter 2017)
    warmup : share of all steps over which the learning rate rises to its full value
    gradient_clip : largest norm of the gradient of a step; a larger one is scaled down to it
    precision : "float32", "bfloat16" (mixed), or "auto": bfloat16 on a GPU, float32 on a CPU
    device : "cuda", or "cpu"
    devices : GPUs of the node that share every batch (on a CPU, processes); part of the result, as sums are ordered by
        it. The gradient is that of the whole batch; batch norm sees each device's share
    torch_threads : threads of torch on the CPU; part of the result, as sums are ordered by it
    deterministic : only operations that give the same bits at every run
    """

    epochs: int
    crop: int
    sampling: str
    zoom: float
    photometric: bool
    batch_size: int
    learning_rate: float
    schedule: str
    warmup: float
    gradient_clip: float
    precision: str
    device: str
    devices: int
    torch_threads: int
    deterministic: bool

    def __post_init__(self) -> None:
        check_known("training schedule", self.schedule, SCHEDULES)
        check_known("training precision", self.precision, PRECISIONS)
        check_known("training sampling", self.sampling, SAMPLING)
        if self.devices > self.batch_size:
            raise InputError(f"batches of {self.batch_size} cannot be shared by {self.devices} devices")

    @classmethod
    def from_mapping(cls, mapping: Mapping) -> "TrainingSettings":
        """The settings of a configuration's `training` section. Raises InputError for an unknown key."""
        known = [field.name for field in fields(cls)]
        for key in mapping:
            check_known("training setting", key, known)
        return cls(**mapping)


class DivergedError(InputError):
    """The loss of a training became infinite or NaN."""


def resolve_settings(training: Mapping, choice: str | Path | None) -> tuple[TrainingSettings, dict]:
    """The settings of a training, and what its record tells of the choice of its learning rate.

    training : every field of `TrainingSettings`; `choice` : the file of `tuning.choose_learning_rate` where
    `learning_rate` is a list of candidates, else None. Raises InputError if that file is missing or broken.
    """
    if choice is None:
        return TrainingSettings.from_mapping(training), {}
    chosen = read_record(choice, "the choice of a learning rate", "delete it, and it is chosen again")
    candidates = [candidate["learning_rate"] for candidate in chosen["candidates"]]
    settings = TrainingSettings.from_mapping({**training, "learning_rate": chosen["learning_rate"]})
    return settings, {"learning_rate_chosen_from": candidates}


class SegmentationTask(lightning.LightningModule):
    """A network, the loss of its target, its optimiser (Adam) and every epoch's metrics, those of the foreground."""

    def __init__(
        self,
        network: SegmentationNetwork,
        sampler: CropSampler,
        validation: CropSampler | None,
        settings: TrainingSettings,
    ) -> None:
        super().__init__()
        self.network, self.sampler, self.validation, self.settings = network, sampler, validation, settings
        self.history: list[dict] = []
        self.resumed_after_epoch = 0
        self._start, self._seconds_before = time.monotonic(), 0.0
        metrics = MetricCollection(
            {
                "accuracy": BinaryAccuracy(),
                "precision": BinaryPrecision(),
                "recall": BinaryRecall(),
                "F1": BinaryF1Score(),
            },
            compute_groups=False,  # grouped metrics share their counts, which a checkpoint would not restore
        )
        metrics.persistent(True)  # a checkpoint within an epoch holds what was counted so far
        # Named as submodules, not kept in a dictionary: `train` is a method of every module.
        self.train_metrics, self.val_metrics = metrics.clone(), metrics.clone()
        self._losses: dict[str, list[Tensor]] = {"train": [], "val": []}

    def training_step(self, batch: tuple[Tensor, Tensor, float], _index: int) -> Tensor:
        return self._step("train", batch)

    def validation_step(self, batch: tuple[Tensor, Tensor, float], _index: int) -> None:
        self._step("val", batch)

    def on_train_start(self) -> None:
        self._start, self._first = time.monotonic(), self.current_epoch

    def on_train_epoch_end(self) -> None:
        row = {"epoch": self.current_epoch + 1} | self._collect("train")
        if self.validation is not None:
            row |= self._collect("val")
        self.history.append(row)
        self._log_epoch(row)
        if not math.isfinite(row["train_loss"]):
            raise DivergedError(
                f"the training loss became {row['train_loss']} in epoch {row['epoch']}: lower `learning_rate`"
            )

    def configure_optimizers(self):
        optimizer = torch.optim.Adam(self.network.parameters(), lr=self.settings.learning_rate)
        steps = self.settings.epochs * len(self.sampler)
        factor = partial(
            learning_rate_factor, steps=steps, warmup=self.settings.warmup, schedule=self.settings.schedule
        )
        schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, factor)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    def on_save_checkpoint(self, checkpoint: dict) -> None:
        checkpoint["history"] = self.history
        checkpoint["losses"] = self._losses["train"]
        checkpoint["seconds"] = self.seconds

    def on_load_checkpoint(self, checkpoint: dict) -> None:
        self.history = list(checkpoint["history"])
        self.resumed_after_epoch = len(self.history)
        self._losses["train"] = list(checkpoint["losses"])
        within = f" and {len(checkpoint['losses'])} of {len(self.sampler)} steps" if checkpoint["losses"] else ""
        logger.info("resuming after epoch %d of %d%s", len(self.history), self.settings.epochs, within)
        self._seconds_before = checkpoint["seconds"]

    @property
    def seconds(self) -> float:
        """Seconds of training so far, those before an interruption included."""
        return self._seconds_before + time.monotonic() - self._start

    def _step(self, stage: str, batch: tuple[Tensor, Tensor, float]) -> Tensor:
        crops, targets, share = batch
        maps, target = self.network(crops).float(), TARGETS[self.network.target]
        loss = target.loss(maps, targets)
        if share == 0:  # nothing of the batch is left for this device, which all the same takes part in the step
            return loss * 0
        self._losses[stage].append(loss.detach() * len(crops))
        self._metrics(stage).update(target.foreground(maps.detach()) > 0, (targets > 0).int())
        # Devices average their gradients, and their shares of the last batch may differ.
        return loss if share == 1 else loss * share

    def _log_epoch(self, row: Mapping) -> None:
        seconds = (time.monotonic() - self._start) / (row["epoch"] - self._first)
        left = seconds * (self.settings.epochs - row["epoch"])
        val = f"  val F1 {row['val_F1']:.3f}" if "val_F1" in row else ""
        logger.info(
            "epoch %d/%d  loss %.4f  F1 %.3f%s  %.1f s per epoch, %.0f s left",
            row["epoch"], self.settings.epochs, row["train_loss"], row["train_F1"], val, seconds, left,
        )  # fmt: skip

    def _metrics(self, stage: str) -> MetricCollection:
        return self.train_metrics if stage == "train" else self.val_metrics

    def _collect(self, stage: str) -> dict[str, float]:
        crops = self.sampler.crops if stage == "train" else len(self.validation.rows)
        # Losses of a checkpoint within an epoch lie on the CPU.
        losses = [loss.to(self.device) for loss in self._losses[stage]]
        total = torch.stack([torch.zeros((), device=self.device), *losses]).sum()
        if self.trainer.world_size > 1:
            total = self.trainer.strategy.reduce(total, reduce_op="sum")
        scores = {f"{stage}_loss": (total / crops).item()}
        metrics = self._metrics(stage)
        scores |= {f"{stage}_{name}": value.item() for name, value in metrics.compute().items()}
        metrics.reset()
        self._losses[stage].clear()
        return scores


class _CheckpointFile(TorchCheckpointIO):
    """Checkpoints that appear whole: Lightning's are copied from the temporary folder, and may be cut off."""

    def save_checkpoint(self, checkpoint: dict, path: Path, storage_options: object = None) -> None:
        content = io.BytesIO()
        torch.save(checkpoint, content)
        with replacing(path) as temporary:
            temporary.write_bytes(content.getbuffer())


class _Checkpoint(Checkpoint):
    """Saves the training after every epoch, and (on one device) after the current step when the job is told its end.

    SLURM tells it by SIGUSR1 (`--signal=USR1@120`) some time before the end, and by SIGTERM just before it kills.
    """

    def __init__(self, path: Path) -> None:
        self.path, self.told = path, None

    def on_train_start(self, _trainer: lightning.Trainer, _task: SegmentationTask) -> None:
        # Now, as the trainer sets a handler of its own before; it restores those that it found when it ends.
        for number in (signal.SIGUSR1, signal.SIGTERM):
            signal.signal(number, self._tell)

    def on_train_batch_end(self, trainer: lightning.Trainer, task: SegmentationTask, *_: object) -> None:
        # Told one, told all: devices hear of it at different steps, and stop together.
        if trainer.strategy.reduce_boolean_decision(self.told is not None, all=False):
            self.told = self.told or "another device was"
            if trainer.world_size > 1:
                # What each device has counted in this epoch would be lost: the last whole epoch is saved.
                self._stop(f"epoch {len(task.history)}")
            elif trainer.fit_loop.epoch_loop.batch_idx + 1 < len(task.sampler):
                self._save(trainer)

    def on_train_epoch_end(self, trainer: lightning.Trainer, task: SegmentationTask) -> None:
        self._save(trainer)
        stop_for_a_test(f"epoch {len(task.history)}")

    def _tell(self, number: int, _frame: object) -> None:
        self.told = signal.Signals(number).name

    def _save(self, trainer: lightning.Trainer) -> None:
        if not is_follower():
            require_ownership(self.path.parent)
        trainer.save_checkpoint(self.path)  # the leader writes, its followers wait
        if self.told is not None:
            self._stop(f"step {trainer.global_step}")

    def _stop(self, after: str) -> None:
        raise StoppedError(
            f"the job was told to end ({self.told}): the training is saved after {after} and goes on from there when "
            "it runs again"
        )


class _Epochs(IterableDataset):
    """The batches of the trainer's current epoch, so that a resumed training goes on with the right crops.

    Of several devices, each takes its share of every batch: crops, targets, and what the share weighs.

    A generator: Lightning makes the iterator of a resumed epoch before it has restored the epoch's number and the
    steps that it has behind it, and takes the first batch after that.
    """

    def __init__(self, sampler: CropSampler, task: SegmentationTask) -> None:
        self.sampler, self.task = sampler, task

    def __len__(self) -> int:
        return len(self.sampler)

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor, float]]:
        done = self.task.trainer.fit_loop.epoch_loop.batch_progress.current.ready
        yield from map(self._share, islice(self.sampler.epoch(self.task.current_epoch), done, None))

    def _share(self, batch: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor, float]:
        rank, devices = self.task.trainer.global_rank, self.task.trainer.world_size
        own = range(len(batch[0]))[rank::devices]
        shared = slice(rank, None, devices) if own else slice(1)
        return batch[0][shared], batch[1][shared], len(own) * devices / len(batch[0])


class _CentreCrops(_Epochs):
    """The same crops of the followed part after every epoch."""

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor, float]]:
        yield from map(self._share, self.sampler.centre_crops())


def train_model(
    spec: ModelSpec,
    training: Part,
    validation: Part | None,
    settings: TrainingSettings,
    *,
    seed: int,
    weights: str | Path,
    history: str | Path,
    run: str | Path,
    code: str = "",
    record: Mapping | None = None,
) -> None:
    """Train a model on one part of a data set, keep the last epoch's weights.

    training : images to learn from, with truths of the spec's target; validation : a part that is only followed, never
    tuned on, or None. Writes `weights` (safetensors), `history` (CSV, a row per epoch: loss, accuracy, precision,
    recall and F1 on the crops) and `run` (JSON: spec, settings, seed, data, versions, hardware, cost, and the measured
    equivariance of the trained network, which the weights carry too). Interrupted training is continued from its last
    epoch, or from the step at which the job was told that it will end, if code (`code`, a digest), spec, settings, seed
    and data are the same.

    record : further plain values to keep in `run`. Raises InputError if the part is empty, the crops do not fit the
    network, or a GPU is asked for and absent; DivergedError, which is one too, if the loss diverges. StoppedError if
    the job was told that it will end, or another one took over this training.
    """
    if not training.images:
        raise InputError("the training part is empty: check `split` in the configuration")
    device = prepare_torch(settings.device, settings.torch_threads, deterministic=settings.deterministic)
    if device.type == "cuda":
        _check_devices(settings.devices)
        torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", 0)))
    torch.manual_seed(seed)
    network = build_model(spec)
    if settings.crop % network.input_multiple:
        raise InputError(f"crops of {settings.crop} pixels: this network needs a multiple of {network.input_multiple}")
    sample = {"crop": settings.crop, "batch_size": settings.batch_size, "seed": seed, "device": device}
    sample["normalization"] = spec.normalization
    sampler = CropSampler(
        training.images,
        training.targets,
        crops=training.crops,
        augmentation=spec.augmentation,
        zoom=settings.zoom,
        magnifications=None
        if spec.diameter is None
        else [magnification(diameter, spec.diameter) for diameter in training.diameters],
        photometric=settings.photometric,
        groups=training.fields["group"].astype(str) if settings.sampling == "groups" else None,
        **sample,
    )
    followed = CropSampler(validation.images, validation.targets, **sample) if validation else None
    network.set_prior(TARGETS[spec.target].prior(training.targets))
    if device.type == "cuda" or not any(isinstance(module, nn.BatchNorm2d) for module in network.modules()):
        # Faster on a CPU too, but for batch norm, whose training is slower there by far.
        use_channels_last(network)
    task = SegmentationTask(network, sampler, followed, settings)

    data = digest([training.fields[["image_id", "image_sha256", "mask_sha256"]].to_dict("list")])
    drawn = [training.fields["group"].tolist() if settings.sampling == "groups" else None]
    drawn.append(None if training.diameters is None else [round(float(d), 6) for d in training.diameters])
    key = digest(
        [code, spec.to_dict(), asdict(settings), seed, data, training.crops, drawn, package_versions()["torch"]]
    )
    with _checkpoint_folder(Path(weights), key) as folder:
        if folder is None:
            return
        checkpoint = folder / "training.ckpt"
        bar = [TQDMProgressBar()] if sys.stdout.isatty() else []
        logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)
        trainer = lightning.Trainer(
            max_epochs=settings.epochs,
            accelerator="gpu" if device.type == "cuda" else "cpu",
            devices=settings.devices,
            strategy="ddp" if settings.devices > 1 else "auto",
            precision="bf16-mixed" if _uses_bfloat16(settings, device) else "32-true",
            deterministic=settings.deterministic,
            # Without it, one steep step early on leaves its square in Adam's running mean for a thousand steps, and a
            # deep network without batch norm stays where that step threw it: background everywhere.
            gradient_clip_val=settings.gradient_clip,
            callbacks=[_Checkpoint(checkpoint), *bar],
            # Of its own, Lightning takes the environment of SLURM, and would requeue the job.
            plugins=[LightningEnvironment(), _CheckpointFile()],
            logger=False,
            enable_model_summary=False,
            enable_progress_bar=bool(bar),
            use_distributed_sampler=False,
            num_sanity_val_steps=0,
            default_root_dir=folder,
        )
        with warnings.catch_warnings(), _followers_told_of(folder):
            warnings.filterwarnings("ignore", module="lightning")
            trainer.fit(
                task,
                train_dataloaders=DataLoader(_Epochs(sampler, task), batch_size=None),
                val_dataloaders=DataLoader(_CentreCrops(followed, task), batch_size=None) if followed else None,
                ckpt_path=checkpoint if checkpoint.is_file() else None,
            )
        if is_follower():
            return
        seconds = task.seconds
        network.to("cpu").eval()
        certificate = network.certificate()
        require_ownership(folder)
        with replacing(history) as temporary:
            pd.DataFrame(task.history).to_csv(temporary, index=False, lineterminator="\n")
        write_json(
            run,
            {
                **(record or {}),
                "spec": spec.to_dict(),
                "training": asdict(settings),
                "seed": seed,
                "group": str(network.group),
                "reach": network.reach,
                "input_multiple": network.input_multiple,
                **model_cost(network),
                "equivariance": certificate,
                "images": len(training.images),
                "crops_per_epoch": sampler.crops,
                "data_sha256": data,
                "code_sha256": code,
                "code_version": code_version(),
                "packages": package_versions(),
                "hardware": hardware(),
                "train_seconds": round(seconds, 2),
                "resumed_after_epoch": task.resumed_after_epoch,
            },
        )
        save_weights(network, spec, weights, certificate)


# Of several devices, Lightning starts this very script again for each but the first, with LOCAL_RANK set.
_FOLDER = "EQUINUCLEI_TRAINING_FOLDER"
_SET_BY_LIGHTNING = ("MASTER_ADDR", "MASTER_PORT", "NODE_RANK", "LOCAL_RANK", "WORLD_SIZE")


def _check_devices(wanted: int) -> None:
    if torch.cuda.device_count() < wanted:
        raise InputError(
            f"the configuration asks for `devices: {wanted}`, and this job sees {torch.cuda.device_count()}; a "
            "training's devices are GPUs of one node"
        )


@contextmanager
def _checkpoint_folder(weights: Path, key: str) -> Iterator[Path | None]:
    """The folder of the checkpoint: the leader owns it, its followers are told of it."""
    if is_follower():
        yield Path(os.environ[_FOLDER])
    else:
        with scratch_folder(weights.parent / "checkpoint", key, result=weights) as folder:
            yield folder


@contextmanager
def _followers_told_of(folder: Path) -> Iterator[None]:
    before = {name: os.environ.get(name) for name in (_FOLDER, *_SET_BY_LIGHTNING)}
    os.environ[_FOLDER] = str(folder)
    try:
        yield
    finally:
        # Or the next training of this process would take itself for a follower.
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


def learning_rate_factor(step: int, *, steps: int, warmup: float, schedule: str) -> float:
    """What the learning rate is multiplied by at a step, counted from 0.

    It rises linearly over the first `warmup` of all steps: Adam's first steps are all of full size, whatever the
    gradient, and together they multiply the activations of a deep network without batch norm.
    """
    rising = max(1, round(warmup * steps))
    if step < rising:
        return (step + 1) / rising
    if schedule == "constant":
        return 1.0
    return (1 + math.cos(math.pi * (step - rising) / max(1, steps - rising))) / 2


def _uses_bfloat16(settings: TrainingSettings, device: torch.device) -> bool:
    return settings.precision == "bfloat16" or (settings.precision == "auto" and device.type == "cuda")
