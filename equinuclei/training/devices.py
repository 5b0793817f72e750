"""Several devices that share a training: what each takes of a batch, and how the processes of the others are started.

Lightning starts the program again for every device but the first, with LOCAL_RANK set. The first process is the leader,
which owns the checkpoint and writes the results; the others follow it.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from equinuclei.errors import InputError
from equinuclei.training.settings import TrainingSettings

_FOLDER = "EQUINUCLEI_TRAINING_FOLDER"
_SET_BY_LIGHTNING = ("MASTER_ADDR", "MASTER_PORT", "NODE_RANK", "LOCAL_RANK", "WORLD_SIZE")


class Share(NamedTuple):
    """What one device takes of a batch.

    crops, truths : [B, 1, H, W] float32 each
    weight : of its loss. Devices average their gradients, and their shares of a batch may differ in size: so weighted,
        the average is the gradient of the whole batch. 0 where nothing is left for this device
    """

    crops: Tensor
    truths: Tensor
    weight: float


def share_of(batch: tuple[Tensor, Tensor], rank: int, devices: int) -> Share:
    """What device `rank` of `devices` takes of a batch of crops and truths; one crop of weight 0 if none is left."""
    crops, truths = batch
    own = range(len(crops))[rank::devices]
    chosen = slice(rank, None, devices) if own else slice(1)
    return Share(crops[chosen], truths[chosen], len(own) * devices / len(crops))


def select_device(settings: TrainingSettings) -> None:
    """Make this process's GPU the current one. Raises InputError if the job sees fewer than the settings ask for."""
    if settings.device != "cuda":
        return
    if torch.cuda.device_count() < settings.devices:
        raise InputError(
            f"the configuration asks for `devices: {settings.devices}`, and this job sees {torch.cuda.device_count()}; "
            "a training's devices are GPUs of one node"
        )
    torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", 0)))


def folder_of_leader() -> Path:
    """The folder of the checkpoint, as the leader told this follower."""
    return Path(os.environ[_FOLDER])


@contextmanager
def environment_of_followers(folder: Path, settings: TrainingSettings) -> Iterator[None]:
    """Tell followers that are started in the block of the folder of the checkpoint; clean up after Lightning.

    Lightning leaves its variables behind, and the next training of this process would take itself for a follower.
    Where OMP_NUM_THREADS is not set, it would also share the cores out among the devices, whatever the settings say.
    """
    set_here = {_FOLDER: str(folder), "OMP_NUM_THREADS": str(settings.torch_threads)}
    before = {name: os.environ.get(name) for name in (*set_here, *_SET_BY_LIGHTNING)}
    os.environ.update(set_here)
    try:
        yield
        if torch.distributed.is_available() and torch.distributed.is_initialized():
            # Its members end here, and Lightning would take it for that of the next training.
            torch.distributed.destroy_process_group()
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
