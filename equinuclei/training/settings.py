"""The settings of a training: the keys of `training` in the configuration, whose schema gives their limits.

Imports no torch, as the workflow is parsed in an environment that may hold Snakemake alone.
"""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from equinuclei.errors import InputError, check_known
from equinuclei.runtime.files import read_record

CHOICES = {
    "schedule": ("constant", "cosine"),
    "precision": ("auto", "float32", "bfloat16"),
    "sampling": ("images", "groups"),
    "device": ("cuda", "cpu"),
}
"""What a setting may be, where that is one of a few words."""


@dataclass(frozen=True)
class TrainingSettings:
    """How a model is trained.

    epochs : an epoch is as many crops as there are images (for a subset: as many as for the whole part)
    crop : edge of the crops in pixels
    sampling : "images", one crop of every image per epoch; "groups", images drawn so that every group is equally likely
    zoom : crops are magnified by 1 / zoom to zoom
    photometric : whether crops are also shown at other exposures (`augmentation.photometric`)
    batch_size : crops per step
    learning_rate : of Adam (Kingma & Ba 2015)
    schedule : "constant", or "cosine" (to zero at the last step, Loshchilov & Hutter 2017)
    warmup : share of all steps over which the learning rate rises to its full value
    gradient_clip : largest norm of a step's gradient; a larger gradient is scaled down to it
    attempts : trainings in all, where one collapses and starts again from other first weights (`attempts.py`)
    precision : "float32", "bfloat16" (mixed), or "auto": bfloat16 on a GPU, float32 on a CPU
    device : "cuda" or "cpu"
    devices : GPUs of the node (on a CPU: processes) that share every batch. Part of the result, because it decides the
        order of sums. The gradient is that of the whole batch; batch norm sees each device's share
    torch_threads : CPU threads of torch; part of the result, because they decide the order of sums
    deterministic : use only operations that give the same bits in every run

    Raises InputError for a value that is not one of those allowed, or more devices than crops in a batch.
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
    attempts: int
    precision: str
    device: str
    devices: int
    torch_threads: int
    deterministic: bool

    def __post_init__(self) -> None:
        for name, known in CHOICES.items():
            check_known(f"training {name}", getattr(self, name), known)
        if self.devices > self.batch_size:
            raise InputError(f"batches of {self.batch_size} cannot be shared by {self.devices} devices")

    @classmethod
    def from_mapping(cls, mapping: Mapping[str, Any]) -> "TrainingSettings":
        """Settings from plain values. Raises InputError for an unknown key, or as the class does."""
        for key in mapping:
            check_known("training setting", key, [field.name for field in fields(cls)])
        return cls(**mapping)


def resolve_settings(
    training: Mapping[str, Any], choice: str | Path | None
) -> tuple[TrainingSettings, dict[str, list[float]]]:
    """The settings of a training, and what its record says about the choice of its learning rate.

    training : a value for every field of `TrainingSettings`; choice : the file written by
    `tuning.choose_learning_rate` where `learning_rate` is a list of candidates, else None. Raises InputError if that
    file is missing or broken.
    """
    if choice is None:
        return TrainingSettings.from_mapping(training), {}
    remedy = "delete it, and it is chosen again"
    chosen = read_record(choice, "the choice of a learning rate", remedy)
    try:
        rate, candidates = chosen["learning_rate"], [candidate["learning_rate"] for candidate in chosen["candidates"]]
    except (KeyError, TypeError) as error:
        raise InputError(f"{choice}: this is no choice of a learning rate: {remedy}") from error
    settings = TrainingSettings.from_mapping({**training, "learning_rate": rate})
    return settings, {"learning_rate_chosen_from": candidates}
