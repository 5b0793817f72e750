"""What is trained, as Lightning sees it: a network, its loss, its optimiser, and the metrics of every epoch."""

import logging
import math
import time
from functools import partial
from typing import Any

import lightning
import torch
from lightning.pytorch.utilities.types import OptimizerLRSchedulerConfig
from torch import Tensor
from torchmetrics import MetricCollection
from torchmetrics.classification import BinaryAccuracy, BinaryF1Score, BinaryPrecision, BinaryRecall

from equinuclei.errors import InputError
from equinuclei.images.pixel_metrics import constant_prediction
from equinuclei.networks.network import SegmentationNetwork
from equinuclei.networks.targets import target_of
from equinuclei.training.crops import CropSampler
from equinuclei.training.devices import Share
from equinuclei.training.settings import TrainingSettings

logger = logging.getLogger("equinuclei.training.task")

EARLIEST = 100
"""Steps before which a network that is halfway through its training may find nothing yet."""


class DivergedError(InputError):
    """The loss of a training became infinite or NaN."""


class SegmentationTask(lightning.LightningModule):
    """A network, the loss of its target, its optimiser (Adam) and every epoch's metrics, those of the foreground.

    Attributes
    ----------
    history : a row per finished epoch: epoch (from 1), then loss and scores of the training crops (`train_loss`, ...)
        and, if there is a part to follow, of its centre crops (`val_loss`, ...)
    constant : what is wrong with the predictions of all training crops of the last finished epoch, if they were as good
        as constant and the truths were not (`pixel_metrics.constant_prediction`); else ""
    restarts : whether a training that has collapsed halfway ends there, as it will start again
    resumed_after_epoch : number of epochs that were finished before this process went on
    """

    def __init__(
        self,
        network: SegmentationNetwork,
        sampler: CropSampler,
        validation: CropSampler | None,
        settings: TrainingSettings,
    ) -> None:
        super().__init__()
        self.network, self.sampler, self.validation, self.settings = network, sampler, validation, settings
        self.history: list[dict[str, float]] = []
        self.constant, self.restarts = "", False
        self.resumed_after_epoch = 0
        self._start, self._seconds_before = time.monotonic(), 0.0
        self._cpu_start, self._cpu_seconds_before = time.process_time(), 0.0
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
        self._pixels = torch.zeros(4, dtype=torch.int64)  # of this epoch's training crops: TP, FP, FN, TN

    @property
    def collapsed(self) -> str:
        """Why the training counts as collapsed, as "finds nothing", at its end or halfway; else "".

        Halfway is too early to tell where that is before `EARLIEST` steps: a network may be slow to begin.
        """
        finished, epochs = len(self.history), self.settings.epochs
        halfway = finished == -(-epochs // 2) and finished * len(self.sampler) >= EARLIEST
        return self.constant if finished == epochs or halfway else ""

    def training_step(self, share: Share, _index: int) -> Tensor:
        return self._step("train", share)

    def validation_step(self, share: Share, _index: int) -> None:
        self._step("val", share)

    def on_train_start(self) -> None:
        self._start, self._first = time.monotonic(), self.current_epoch
        self._stop_if_collapsed()

    def on_train_epoch_end(self) -> None:
        row = {"epoch": self.current_epoch + 1} | self._collect("train", self.sampler.crops)
        if self.validation is not None:
            row |= self._collect("val", len(self.validation.rows))
        self.history.append(row)
        self.constant = self._constant()
        self._log_epoch(row)
        if not math.isfinite(row["train_loss"]):
            raise DivergedError(
                f"the training loss became {row['train_loss']} in epoch {row['epoch']}: lower `learning_rate`"
            )
        self._stop_if_collapsed()

    def configure_optimizers(self) -> OptimizerLRSchedulerConfig:
        optimizer = torch.optim.Adam(self.network.parameters(), lr=self.settings.learning_rate)
        steps = self.settings.epochs * len(self.sampler)
        factor = partial(
            learning_rate_factor, steps=steps, warmup=self.settings.warmup, schedule=self.settings.schedule
        )
        schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, factor)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        checkpoint["history"] = self.history
        checkpoint["losses"] = self._losses["train"]
        checkpoint["pixels"], checkpoint["constant"] = self._pixels, self.constant
        checkpoint["seconds"], checkpoint["cpu_seconds"] = self.seconds, self.cpu_seconds

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        self.history = list(checkpoint["history"])
        self.resumed_after_epoch = len(self.history)
        self._losses["train"] = list(checkpoint["losses"])
        self._pixels, self.constant = checkpoint["pixels"], checkpoint["constant"]
        within = f" and {len(checkpoint['losses'])} of {len(self.sampler)} steps" if checkpoint["losses"] else ""
        logger.info("resuming after epoch %d of %d%s", len(self.history), self.settings.epochs, within)
        self._seconds_before, self._cpu_seconds_before = checkpoint["seconds"], checkpoint["cpu_seconds"]

    @property
    def seconds(self) -> float:
        """Seconds of training so far, including those before an interruption."""
        return self._seconds_before + time.monotonic() - self._start

    @property
    def cpu_seconds(self) -> float:
        """CPU seconds of training so far, of all threads of this process: a busy machine adds none."""
        return self._cpu_seconds_before + time.process_time() - self._cpu_start

    def _step(self, stage: str, share: Share) -> Tensor:
        crops, truths, weight = share
        maps, target = self.network(crops).float(), target_of(self.network.target)
        loss = target.loss(maps, truths)
        if weight == 0:  # nothing of the batch is left for this device, which still takes part in the step
            return loss * 0
        self._losses[stage].append(loss.detach() * len(crops))
        found, nuclei = target.foreground(maps.detach()) > 0, truths > 0
        self._metrics(stage).update(found, nuclei.int())
        if stage == "train":
            kinds = (found & nuclei, found & ~nuclei, ~found & nuclei, ~found & ~nuclei)
            counts = torch.stack([kind.sum() for kind in kinds])
            self._pixels = self._pixels.to(counts.device) + counts
        return loss if weight == 1 else loss * weight

    def _constant(self) -> str:
        """What is wrong with the predictions of the epoch, over all devices; counting starts anew."""
        pixels = self._pixels.to(self.device)
        if self.trainer.world_size > 1:
            pixels = self.trainer.strategy.reduce(pixels, reduce_op="sum")
        self._pixels = torch.zeros_like(pixels)
        return constant_prediction(*pixels.tolist())

    def _stop_if_collapsed(self) -> None:
        """End the training here if the leader will start it again: all devices count the same, and end together."""
        ends = self.restarts and self.collapsed != ""
        self.trainer.should_stop = self.trainer.strategy.reduce_boolean_decision(ends, all=False)

    def _log_epoch(self, row: dict[str, float]) -> None:
        seconds = (time.monotonic() - self._start) / (row["epoch"] - self._first)
        left = seconds * (self.settings.epochs - row["epoch"])
        val = f"  val F1 {row['val_F1']:.3f}" if "val_F1" in row else ""
        logger.info(
            "epoch %d/%d  loss %.4f  F1 %.3f%s  %.1f s per epoch, %.0f s left",
            row["epoch"], self.settings.epochs, row["train_loss"], row["train_F1"], val, seconds, left,
        )  # fmt: skip

    def _metrics(self, stage: str) -> MetricCollection:
        return self.train_metrics if stage == "train" else self.val_metrics

    def _collect(self, stage: str, crops: int) -> dict[str, float]:
        """Mean loss over the crops of an epoch and its metrics, over all devices; counting starts anew."""
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
