"""How a training is saved, and goes on with the very crop it stopped before."""

import io
import logging
import signal
import uuid
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from types import FrameType
from typing import Any

import lightning
import torch
from lightning.pytorch.callbacks import Checkpoint
from lightning.pytorch.plugins import TorchCheckpointIO
from torch.utils.data import IterableDataset

from equinuclei.errors import InputError, StoppedError, reading
from equinuclei.runtime.files import replacing
from equinuclei.runtime.job import is_follower, stop_for_a_test
from equinuclei.runtime.ownership import require_ownership
from equinuclei.training.crops import CropSampler
from equinuclei.training.devices import Share, share_of
from equinuclei.training.task import SegmentationTask

logger = logging.getLogger("equinuclei")


class Epochs(IterableDataset[Share]):
    """This device's shares of the batches that are left of the trainer's current epoch.

    A generator: Lightning makes the iterator of a resumed epoch before it has restored the epoch's number and the
    steps already taken in it, and asks for the first batch after that.
    """

    def __init__(self, sampler: CropSampler, task: SegmentationTask) -> None:
        self.sampler, self.task = sampler, task

    def __len__(self) -> int:
        return len(self.sampler)

    def __iter__(self) -> Iterator[Share]:
        trainer = self.task.trainer
        done = trainer.fit_loop.epoch_loop.batch_progress.current.ready
        for batch in islice(self.sampler.epoch(self.task.current_epoch), done, None):
            yield share_of(batch, trainer.global_rank, trainer.world_size)


class CentreCrops(Epochs):
    """This device's shares of the same crops of the followed part, after every epoch."""

    def __iter__(self) -> Iterator[Share]:
        for batch in self.sampler.centre_crops():
            yield share_of(batch, self.task.trainer.global_rank, self.task.trainer.world_size)


class Checkpoints(TorchCheckpointIO):
    """The last two checkpoints of a training, each of which appears whole: Lightning's own may be cut off.

    current, previous : the files. The previous one stays until the next has replaced the current one
    """

    def __init__(self, folder: Path) -> None:
        self.current, self.previous = folder / "training.ckpt", folder / "training.previous.ckpt"

    def save_checkpoint(self, checkpoint: dict[str, Any], path: str | Path, storage_options: object = None) -> None:
        content = io.BytesIO()
        torch.save(checkpoint, content)
        with replacing(path, keep=self.previous) as temporary:
            temporary.write_bytes(content.getbuffer())

    def last_whole(self, task: SegmentationTask) -> Path | None:
        """The checkpoint to go on from; None if there is none. A broken one is renamed, and a warning tells its name.

        Raises UnavailableError if one is there that cannot be read now.
        """
        for path in (self.current, self.previous):
            if path.exists() and self._is_whole(path, task):
                return path
        return None

    def _is_whole(self, path: Path, task: SegmentationTask) -> bool:
        broken = path.with_name(f"{path.name}.broken-{uuid.uuid4().hex[:6]}")
        try:
            with reading(path, f"it is set aside as {broken.name}, and the training goes on from what it saved before"):
                _check(_load(path.read_bytes()), task)
        except InputError as error:
            if is_follower():
                raise
            path.replace(broken)
            logger.warning("%s", error)
            return False
        return True


def _load(content: bytes) -> object:
    """What a checkpoint holds. A pickle of anything but values is refused."""
    try:
        return torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
    except RuntimeError as error:
        if "memory" in str(error):  # torch has no exception of its own for it on the CPU
            raise MemoryError(str(error)) from error
        raise


_ENTRIES = frozenset(
    [
        *("state_dict", "optimizer_states", "lr_schedulers", "loops", "epoch", "global_step", "history", "losses"),
        *("seconds", "cpu_seconds", "pixels", "constant"),
    ]
)


def _check(checkpoint: object, task: SegmentationTask) -> None:
    """Raise ValueError unless a checkpoint is one of this task."""
    if not isinstance(checkpoint, dict) or not checkpoint.keys() >= _ENTRIES:
        raise ValueError("it is no checkpoint of a training")
    saved, wanted = checkpoint["state_dict"], task.state_dict()
    if not isinstance(saved, dict) or saved.keys() != wanted.keys():
        raise ValueError("it is that of another network")
    if any(getattr(saved[name], "shape", None) != tensor.shape for name, tensor in wanted.items()):
        raise ValueError("it is that of another network")


class SaveProgress(Checkpoint):
    """Saves the training after every epoch and, when the job is about to end, stops it.

    path : the checkpoint; owned : the work folder that it lies in, which this job has to own

    SLURM announces the end by SIGUSR1 (`--signal=USR1@120`) some time before, and by SIGTERM just before it kills. On
    one device the training is saved after the current step; on several the last finished epoch stays saved.
    """

    def __init__(self, path: Path, owned: Path) -> None:
        self.path, self.owned = path, owned
        self._announced_by: str | None = None

    def on_train_start(self, *_: object) -> None:
        # Not earlier: the trainer sets handlers of its own first. When it ends it restores those that it found.
        for number in (signal.SIGUSR1, signal.SIGTERM):
            signal.signal(number, self._note)

    def on_train_batch_end(self, trainer: lightning.Trainer, *_: object, **__: object) -> None:
        is_last = trainer.fit_loop.epoch_loop.batch_idx + 1 == trainer.num_training_batches
        if not self._is_ending(trainer) or is_last:
            return
        if trainer.world_size > 1:
            # What each device has counted in this epoch would be lost.
            self._stop(f"epoch {trainer.current_epoch}")
        self._save(trainer)
        self._stop(f"step {trainer.global_step}")

    def on_train_epoch_end(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        self._save(trainer)
        stop_for_a_test(f"epoch {trainer.current_epoch + 1}")
        if self._is_ending(trainer):
            self._stop(f"step {trainer.global_step}")

    def _note(self, number: int, _frame: FrameType | None) -> None:
        self._announced_by = signal.Signals(number).name

    def _is_ending(self, trainer: lightning.Trainer) -> bool:
        """Whether any device heard of the end: they hear of it at different steps, and stop together."""
        return trainer.strategy.reduce_boolean_decision(self._announced_by is not None, all=False)

    def _save(self, trainer: lightning.Trainer) -> None:
        if not is_follower():
            require_ownership(self.owned)
        trainer.save_checkpoint(self.path)  # the leader writes, its followers wait

    def _stop(self, saved_after: str) -> None:
        raise StoppedError(
            f"the job was told to end ({self._announced_by or 'on another device'}): the training is saved after "
            f"{saved_after} and goes on from there when it runs again"
        )
