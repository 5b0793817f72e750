"""The configuration of a study, checked and expanded before any job starts.

Imports nothing beyond the standard library and jsonschema, which Snakemake brings: the workflow is parsed in an
environment that may hold Snakemake alone.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import product
from pathlib import Path
from typing import Any

from equinuclei.config.contrasts import declared_contrasts, seed_warning
from equinuclei.config.plates import Plates
from equinuclei.config.schema import about, check_schema
from equinuclei.dataset.source_state import source_state
from equinuclei.errors import InputError, check_known
from equinuclei.specs import ARCHITECTURES, INFERENCES, OTSU, PRESETS, ModelSpec, resolve_spec

WHOLE = "all"
"""Name of the whole training part among its subsets."""


@dataclass(frozen=True)
class StudyModel:
    """One model of the study.

    spec : its network. training : the keys of `training` that differ for it. inferences : its inference modes.
    instances : how its predictions become nuclei (a method of `instances.nuclei`; None for that of its target).
    subset : what it learns from where it was derived from another model (`equinuclei.dataset.subsets`).
    """

    name: str
    spec: ModelSpec
    training: Mapping
    inferences: tuple[str, ...]
    instances: str | None = None
    subset: Mapping = field(default_factory=dict)


@dataclass(frozen=True)
class Run:
    """One training: a data set, a model, a modality and a seed."""

    dataset: str
    model: str
    modality: str
    seed: int


class Study:
    """The checked configuration. Raises InputError, naming key and remedy, for what cannot be used."""

    def __init__(self, config: Mapping, schema: Mapping) -> None:
        check_schema(config, schema)
        self.results: str = config["results"].rstrip("/")
        self.seeds: list[int] = list(config["seeds"])
        self.split_seed: int = config["split_seed"]
        self.training: Mapping = config["training"]
        self.evaluation: Mapping = config["evaluation"]
        self._inferences = _inference_modes("evaluation", self.evaluation["inference"])
        self.plates = Plates(config["plates"])
        self._data_root = Path(config["data_root"])
        self.datasets: dict[str, Mapping] = {}
        for dataset in config["datasets"]:
            _add_unique(self.datasets, dataset["name"], dataset, "data set")
        self.models: dict[str, StudyModel] = {}
        for entry in config["models"]:
            model = self._model(entry)
            _add_unique(self.models, model.name, model, "model")
        self.contrasts: list[dict[str, str]] = declared_contrasts(
            config["contrasts"], {name: model.inferences for name, model in self.models.items()}
        )
        self._check_targets()
        curve, left_out = config["learning_curve"], config["leave_one_cell_line_out"]
        sizes = {f"{count}groups": {"groups": count} for count in sorted(curve["groups"])}
        lines: dict[str, Mapping] = {}
        for line in left_out["cell_lines"]:
            _add_unique(lines, f"without-{_in_paths(line)}", {"without": line}, "subset")
        # The models of the study, then those derived from them.
        self.trained: dict[str, StudyModel] = dict(self.models)
        self.curve = self._derive("learning_curve", curve["models"], sizes)
        self.left_out = self._derive("leave_one_cell_line_out", left_out["models"], lines)
        self._check_candidates()

    @cached_property
    def seed_warning(self) -> str:
        """What its declared contrasts cannot decide with so few seeds; empty where there are enough."""
        return seed_warning(self.contrasts, len(self.seeds))

    @cached_property
    def runs(self) -> tuple[Run, ...]:
        """Every training of the models of the study."""
        return self._runs(self.models)

    @cached_property
    def derived_runs(self) -> tuple[Run, ...]:
        """Every training of a derived model."""
        return self._runs([name for name in self.trained if name not in self.models])

    def runs_of(self, points: Sequence[Mapping]) -> tuple[Run, ...]:
        """Every training of the models of a curve, or of those with and without a cell line."""
        return self._runs([point["name"] for point in points])

    @cached_property
    def subsets(self) -> dict[str, dict]:
        """The subsets of the training part that models learn from, by name, the whole part among them."""
        return {point["subset"]: dict(self.trained[point["name"]].subset) for point in (*self.curve, *self.left_out)}

    @cached_property
    def modalities(self) -> tuple[str, ...]:
        """The modalities of all data sets, each once."""
        return tuple(dict.fromkeys(m for dataset in self.datasets.values() for m in dataset["modalities"]))

    def training_of(self, dataset: str, model: str) -> dict:
        """All training settings of a run, without those that only concern the choice of its learning rate.

        `learning_rate` is a number, or the list of `candidates`.
        """
        settings = self._training(dataset, model)
        del settings["tuning_epochs"]  # so that changing them trains nothing again that was not tuned
        candidates = self.candidates(dataset, model)
        return settings | {"learning_rate": candidates} if candidates else settings

    def candidates(self, dataset: str, model: str) -> list[float]:
        """The learning rates to choose a run's from, ascending; empty where the configuration gives one number."""
        rate = self._training(dataset, model)["learning_rate"]
        return sorted(rate) if isinstance(rate, list) else []

    def tuning_of(self, dataset: str, model: str) -> dict:
        """The settings that each candidate is trained with: those of the run but `learning_rate` and `epochs`."""
        settings = self._training(dataset, model)
        del settings["learning_rate"]
        return settings | {"epochs": settings.pop("tuning_epochs")}

    @cached_property
    def equivariant(self) -> list[str]:
        """The models whose architecture is equivariant, at least under quarter turns."""
        return [name for name, model in self.models.items() if model.spec.group != "trivial"]

    @cached_property
    def twins(self) -> dict[str, str]:
        """The plain twin of every model that has one.

        It has the same network, target, normalisation of images and size of nuclei, and no symmetry; where there is a
        choice, the same batch norm and no augmentation. A plain model is its own twin.
        """
        twins = {}
        for name, model in self.models.items():
            plain = [
                (other.spec.architecture != model.spec.architecture, other.spec.augmentation != "none", candidate)
                for candidate, other in self.models.items()
                if other.spec.group == "trivial" and _shared_with_twin(other.spec) == _shared_with_twin(model.spec)
            ]
            if plain:
                twins[name] = min(plain, key=lambda found: found[:2])[2]  # the first of equals
        return twins

    def inference_of(self, model: str) -> list[str]:
        """The inference modes of a model, its own or the study's, in the order of INFERENCES."""
        return list(self.trained[model].inferences)

    def source(self, dataset: str) -> dict:
        """The source of a data set with its mask settings; a path is made relative to `data_root`."""
        source = dict(self.datasets[dataset]["source"])
        if source["layout"] == "simulated":
            source = {"layout": "table", "path": f"{self.results}/{dataset}/source/images.tsv"}
        else:
            source["path"] = str(self._data_root / source["path"])
        return source | {"mask": dict(self.datasets[dataset]["mask"])}

    def source_record(self, dataset: str) -> str:
        """Path of the record of a data set's conversion: its source, and the state of its files."""
        return f"{self.results}/{dataset}/source.json"

    def resolved(self, dataset: str) -> dict:
        """All that the results of a data set depend on, with every default filled in, as plain values."""
        setting = {key: value for key, value in self.datasets[dataset].items() if key != "training"}
        models = {
            name: {
                "spec": model.spec.to_dict(),
                "training": self.training_of(dataset, name),
                "tuning": self.tuning_of(dataset, name) if self.candidates(dataset, name) else None,
                "inference": self.inference_of(name),
                "instances": model.instances,
            }
            | ({"subset": dict(model.subset)} if model.subset else {})
            for name, model in self.trained.items()
        }
        evaluation = {key: value for key, value in self.evaluation.items() if key != "inference"}
        seeds = {"seeds": self.seeds, "split_seed": self.split_seed}
        return {"dataset": setting, "models": models, "contrasts": self.contrasts, "evaluation": evaluation, **seeds}

    def is_simulated(self, dataset: str) -> bool:
        """Whether the data set is made by the workflow itself."""
        return self.datasets[dataset]["source"]["layout"] == "simulated"

    def source_state(self, dataset: str) -> str:
        """See `equinuclei.dataset.source_state.source_state`; empty of a simulated set, whose files a rule makes."""
        if self.is_simulated(dataset):
            return ""
        return source_state(self.source(dataset), Path(self.source_record(dataset)))

    def _training(self, dataset: str, model: str) -> dict:
        """All keys of `training` for a data set and a model: the study's, then the data set's, then the model's."""
        return {**self.training, **self.datasets[dataset].get("training", {}), **self.trained[model].training}

    def _runs(self, models: Iterable[str]) -> tuple[Run, ...]:
        return tuple(
            Run(name, model, modality, seed)
            for name, dataset in self.datasets.items()
            for modality, model, seed in product(dataset["modalities"], models, self.seeds)
        )

    def _derive(self, option: str, models: Sequence[str], subsets: Mapping[str, Mapping]) -> list[dict[str, str]]:
        """Add a model per subset and model to `trained`.

        Returns the models that the option compares as plain values, with what `equinuclei.analysis.subsets` asks of
        `points`; of every model, the one of the whole training part is the last.
        """
        points = []
        for name in models:
            with about(option):
                check_known("model", name, self.models)
                for subset, chosen in subsets.items():
                    derived = replace(self.models[name], name=f"{name}_{subset}", subset=chosen)
                    _add_unique(self.trained, derived.name, derived, "model")
                    points.append({"name": derived.name, "model": name, "subset": subset, **chosen})
            points.append({"name": name, "model": name, "subset": WHOLE})
        return points

    def _check_candidates(self) -> None:
        """Raise InputError where a learning rate is to be chosen within a single group."""
        for dataset, (name, model) in product(self.datasets, self.trained.items()):
            if model.subset.get("groups") == 1 and self.candidates(dataset, name):
                raise InputError(
                    f"learning_curve: one group cannot be divided to choose the learning rate of {name}; begin with "
                    "more `groups`, or give one number as `learning_rate`"
                )

    def _check_targets(self) -> None:
        """Raise InputError for a model that needs masks of single nuclei where those of a data set are binary."""
        for dataset, setting in self.datasets.items():
            for name, model in self.models.items():
                if setting["mask"]["kind"] == "binary" and model.spec.target != "binary":
                    raise InputError(
                        f"models: {name}: the target {model.spec.target!r} needs masks that tell nuclei apart, and "
                        f"those of {dataset} are binary; leave one of the two out of this study"
                    )
                if setting["mask"]["kind"] == "binary" and model.spec.diameter is not None:
                    raise InputError(
                        f"models: {name}: its `diameter` needs masks that show how large nuclei are, and those of "
                        f"{dataset} are binary; leave `diameter` out, or one of the two out of this study"
                    )

    def _model(self, entry: str | Mapping) -> StudyModel:
        spec: dict[str, Any] = {"name": entry} if isinstance(entry, str) else dict(entry)
        name, training, instances = spec.pop("name"), spec.pop("training", {}), spec.pop("instances", None)
        inferences = _inference_modes(f"models: {name}", spec.pop("inference", self._inferences))
        if name == OTSU:
            raise InputError(f"models: {OTSU!r} is the name of the threshold every model is compared with; use another")
        if "architecture" not in spec and (name in PRESETS or not spec):
            spec.setdefault("preset", name)  # named after the preset that it changes, or is
        with about("models"):
            return StudyModel(name, resolve_spec(spec), training, inferences, instances)


def _in_paths(name: str) -> str:
    """A name with "-" in the place of what is illegal in the name of a model."""
    return re.sub(r"[^A-Za-z0-9_.-]+", "-", name)


def _inference_modes(where: str, chosen: Sequence[str]) -> tuple[str, ...]:
    """Those inference modes in the order of INFERENCES: another order in the configuration makes nothing stale."""
    if "deployed" not in chosen:
        raise InputError(
            f"{where}: `inference` lacks 'deployed', the network as it is; contours and F1 figures are made from it"
        )
    return tuple(name for name in INFERENCES if name in chosen)


def _add_unique(named: dict, name: str, value: object, what: str) -> None:
    if name in named:
        raise InputError(f"two {what}s are named {name!r}: give each its own name")
    named[name] = value


def _shared_with_twin(spec: ModelSpec) -> tuple:
    """What a model and its plain twin have to share."""
    module, name, arguments = ARCHITECTURES[spec.architecture]
    return module, name, arguments.get("strided", False), spec.target, spec.normalization, spec.diameter
