"""The settings of a training: names, types and limits of the keys of `training` in the configuration.

This is the only list of these keys; the configuration's schema is made from it. It imports no torch: the workflow is
parsed in an environment that may hold Snakemake alone.
"""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Annotated, Any, get_args, get_type_hints

from equinuclei.errors import InputError, check_known
from equinuclei.runtime.files import read_record

STUDY_WIDE = "study-wide"
"""Marks a setting that data sets and models cannot change for themselves."""

_JSON_TYPES = {int: "integer", float: "number", bool: "boolean", str: "string"}


@dataclass(frozen=True)
class TrainingSettings:
    """How a model is trained. Annotations hold what the configuration's schema says about a value besides its type.

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
    precision : "float32", "bfloat16" (mixed), or "auto": bfloat16 on a GPU, float32 on a CPU
    device : "cuda" or "cpu"
    devices : GPUs of the node (on a CPU: processes) that share every batch. Part of the result, because it decides the
        order of sums. The gradient is that of the whole batch; batch norm sees each device's share
    torch_threads : CPU threads of torch; part of the result, because they decide the order of sums
    deterministic : use only operations that give the same bits in every run

    Raises InputError for a value that is not one of those allowed, or more devices than crops in a batch.
    """

    epochs: Annotated[int, {"minimum": 1}]
    crop: Annotated[int, {"minimum": 32, "multipleOf": 32}]
    sampling: Annotated[str, {"enum": ["images", "groups"]}]
    zoom: Annotated[float, {"minimum": 1, "maximum": 4}]
    photometric: bool
    batch_size: Annotated[int, {"minimum": 1}]
    learning_rate: Annotated[float, {"exclusiveMinimum": 0}]
    schedule: Annotated[str, {"enum": ["constant", "cosine"]}]
    warmup: Annotated[float, {"minimum": 0, "exclusiveMaximum": 1}]
    gradient_clip: Annotated[float, {"exclusiveMinimum": 0}]
    precision: Annotated[str, {"enum": ["auto", "float32", "bfloat16"]}]
    device: Annotated[str, {"enum": ["cuda", "cpu"]}, STUDY_WIDE]
    devices: Annotated[int, {"minimum": 1}, STUDY_WIDE]
    torch_threads: Annotated[int, {"minimum": 1}, STUDY_WIDE]
    deterministic: Annotated[bool, STUDY_WIDE]

    def __post_init__(self) -> None:
        for name, schema in _setting_schemas().items():
            if "enum" in schema:
                check_known(f"training {name}", getattr(self, name), schema["enum"])
        if self.devices > self.batch_size:
            raise InputError(f"batches of {self.batch_size} cannot be shared by {self.devices} devices")

    @classmethod
    def from_mapping(cls, mapping: Mapping[str, Any]) -> "TrainingSettings":
        """Settings from plain values. Raises InputError for an unknown key, or as the class does."""
        for key in mapping:
            check_known("training setting", key, [field.name for field in fields(cls)])
        return cls(**mapping)


def training_schemas() -> dict[str, dict[str, Any]]:
    """JSON schemas by name: `training`, all keys of the study, and `training_changes`, those of a data set or model.

    In the configuration `learning_rate` may also be a list of candidates, and `tuning_epochs` says for how many epochs
    each of them is trained (`equinuclei.training.tuning`).
    """
    every: dict[str, dict[str, Any]] = {}
    for name, schema in _setting_schemas().items():
        every[name] = schema
        if name == "learning_rate":
            candidates = {"type": "array", "minItems": 2, "uniqueItems": True, "items": schema}
            every[name] = {
                "description": "one number, or candidates of which the best is chosen on the training part",
                "oneOf": [schema, candidates],
            }
            every["tuning_epochs"] = every["epochs"]
    changes = {name: schema for name, schema in every.items() if name not in _study_wide()}
    closed = {"type": "object", "additionalProperties": False}
    return {
        "training": closed | {"required": list(every), "properties": every},
        "training_changes": closed
        | {"description": f"not {', '.join(_study_wide())}, which are the study's", "properties": changes},
    }


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
    chosen = read_record(choice, "the choice of a learning rate", "delete it, and it is chosen again")
    candidates = [candidate["learning_rate"] for candidate in chosen["candidates"]]
    settings = TrainingSettings.from_mapping({**training, "learning_rate": chosen["learning_rate"]})
    return settings, {"learning_rate_chosen_from": candidates}


def _setting_schemas() -> dict[str, dict[str, Any]]:
    """JSON schema of a value of every setting."""
    schemas = {}
    for name, (kind, *marks) in _annotations().items():
        limits = next((mark for mark in marks if isinstance(mark, dict)), {})
        schemas[name] = dict(limits) if "enum" in limits else {"type": _JSON_TYPES[kind], **limits}
    return schemas


def _study_wide() -> list[str]:
    return [name for name, (_, *marks) in _annotations().items() if STUDY_WIDE in marks]


def _annotations() -> dict[str, tuple[Any, ...]]:
    """Type and annotations of every setting."""
    hints = get_type_hints(TrainingSettings, include_extras=True)
    return {name: get_args(hint) or (hint,) for name, hint in hints.items()}
