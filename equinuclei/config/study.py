"""The configuration, checked and expanded before any job starts.

Imports nothing beyond the standard library and jsonschema, which Snakemake brings: the workflow is parsed in an
environment that may hold Snakemake alone.
"""

import csv
import difflib
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import product
from pathlib import Path

import jsonschema

from equinuclei.checksums import digest
from equinuclei.dataset.source_state import source_state
from equinuclei.errors import InputError, check_known
from equinuclei.library.names import WEIGHTS, find_weights
from equinuclei.plates.inbox import waiting_plates
from equinuclei.specs import ARCHITECTURES, INFERENCES, OTSU, PRESETS, ModelSpec, resolve_spec

CONTRAST_MEASURE = "object50_F1"
"""What a declared contrast compares where it names no measure."""


WHOLE = "all"
"""Name of the whole training part among its subsets."""


@dataclass(frozen=True)
class StudyModel:
    """One model of the study: its network, the keys of `training` that differ for it, its inference modes, and how its
    predictions become nuclei (a method of `instances.nuclei`, None for the target's own).

    A derived model is another one that learns from a `subset` of the training part (`equinuclei.dataset.subsets`)."""

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
        self.contrasts: list[dict[str, str]] = _contrasts(config["contrasts"], self.models)
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
        """All training settings of a run, without those of the choice of its learning rate.

        `learning_rate` is a number, or the list of `candidates`.
        """
        settings = self._training(dataset, model)
        del settings["tuning_epochs"]  # so that changing them trains nothing again that was not tuned
        candidates = self.candidates(dataset, model)
        return settings | {"learning_rate": candidates} if candidates else settings

    def candidates(self, dataset: str, model: str) -> list[float]:
        """The learning rates, ascending, that a run's is chosen from; none where the configuration gives its number."""
        rate = self._training(dataset, model)["learning_rate"]
        return sorted(rate) if isinstance(rate, list) else []

    def tuning_of(self, dataset: str, model: str) -> dict:
        """The settings that each candidate is trained with: those of the run but `learning_rate` and `epochs`."""
        settings = self._training(dataset, model)
        del settings["learning_rate"]
        return settings | {"epochs": settings.pop("tuning_epochs")}

    @cached_property
    def equivariant(self) -> list[str]:
        """The models whose architecture is equivariant under quarter turns at least."""
        return [name for name, model in self.models.items() if model.spec.group != "trivial"]

    @cached_property
    def twins(self) -> dict[str, str]:
        """The plain twin of every model that has one: of the same network, target, normalisation of images and size of
        nuclei, without symmetry, and as far as there is one, without augmentation and alike in batch norm. A twin is
        its own."""
        twins = {}
        for name, model in self.models.items():
            plain = [
                (other.spec.architecture != model.spec.architecture, other.spec.augmentation != "none", candidate)
                for candidate, other in self.models.items()
                if other.spec.group == "trivial" and _alike(other.spec) == _alike(model.spec)
            ]
            if plain:
                twins[name] = min(plain, key=lambda found: found[:2])[2]  # of equals the first
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
        """Path of the record that a data set's conversion leaves: its source and the state of that."""
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
            with _told_of(option):
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
        """Raise InputError where a model is to learn to tell nuclei apart from masks that do not."""
        for dataset, setting in self.datasets.items():
            for name, model in self.models.items():
                if setting["mask"]["kind"] == "binary" and model.spec.target != "binary":
                    raise InputError(
                        f"models: {name}: the target {model.spec.target!r} needs masks that tell nuclei apart, and "
                        f"those of {dataset} are binary; leave one of the two out of this study"
                    )
                if setting["mask"]["kind"] == "binary" and model.spec.diameter is not None:
                    raise InputError(
                        f"models: {name}: its `diameter` needs masks that tell how large nuclei are, and those of "
                        f"{dataset} are binary; leave `diameter` out, or one of the two out of this study"
                    )

    def _model(self, entry: str | Mapping) -> StudyModel:
        spec = {"name": entry} if isinstance(entry, str) else dict(entry)
        name, training, instances = spec.pop("name"), spec.pop("training", {}), spec.pop("instances", None)
        inferences = _inference_modes(f"models: {name}", spec.pop("inference", self._inferences))
        if name == OTSU:
            raise InputError(f"models: {OTSU!r} is the name of the threshold every model is compared with; use another")
        if "architecture" not in spec and (name in PRESETS or not spec):
            spec.setdefault("preset", name)  # named after the preset that it changes, or is
        with _told_of("models"):
            return StudyModel(name, resolve_spec(spec), training, inferences, instances)


def _in_paths(name: str) -> str:
    """A name with "-" in the place of what is illegal in the name of a model."""
    return re.sub(r"[^A-Za-z0-9_.-]+", "-", name)


def _contrasts(entries: Sequence[Mapping], models: Mapping[str, StudyModel]) -> list[dict[str, str]]:
    """The declared contrasts as plain values: a, a_inference, b, b_inference, measure.

    A contrast of a preset that is no model of the study is left out, so that the list of config.yaml serves studies of
    fewer models. Any other name that the study lacks is a mistake.
    """
    contrasts: list[dict[str, str]] = []
    for entry in entries:
        names = (entry["a"], entry["b"])
        for name in names:
            if name not in PRESETS:
                with _told_of("contrasts"):
                    check_known("model", name, [*models, OTSU])
        if any(name not in models and name != OTSU for name in names):
            continue
        modes = entry.get("inference", "deployed")
        contrast = {}
        for end, name, mode in zip("ab", names, [modes, modes] if isinstance(modes, str) else modes, strict=True):
            of_model = ("deployed",) if name == OTSU else models[name].inferences
            if mode not in of_model:
                raise InputError(
                    f"contrasts: {name} is not predicted under {mode!r}, only {', '.join(of_model)}: "
                    f"add the mode to the model's `inference` or to that of `evaluation`"
                )
            contrast |= {end: name, f"{end}_inference": mode}
        contrast["measure"] = entry.get("measure", CONTRAST_MEASURE)
        _check_contrast(contrast, contrasts)
        contrasts.append(contrast)
    return contrasts


def _check_contrast(contrast: Mapping[str, str], others: Sequence[Mapping[str, str]]) -> None:
    """Raise InputError for a contrast of a net with itself, or of two that are compared already."""

    def nets(of: Mapping[str, str]) -> set[tuple[str, str]]:
        return {(of[end], of[f"{end}_inference"]) for end in "ab"}

    told = f"contrasts: {contrast['a']} against {contrast['b']} ({contrast['measure']})"
    if len(nets(contrast)) == 1:
        raise InputError(f"{told} compares a model with itself: change one of them")
    if any(contrast["measure"] == other["measure"] and nets(contrast) == nets(other) for other in others):
        raise InputError(f"{told} is declared twice: remove one")


class Plates:
    """What is done with the plates of an inbox. Its methods raise InputError for a table that cannot be used.

    section : `plates` of the checked configuration
    """

    COLUMNS = ("plate", "channel", "model", "exclude", "plate_map", "truth")

    def __init__(self, section: Mapping) -> None:
        self.section = section
        self.results: str = section["results"].rstrip("/")

    @cached_property
    def _rows(self) -> dict[str, dict[str, str]]:
        return _read_plates_table(self.section["table"], self.COLUMNS) if self.section["table"] else {}

    @cached_property
    def digest(self) -> str:
        """Digest of what decides how a plate is processed: when it changes, plates that failed are tried again."""
        asides = ("inbox", "results", "quiet_minutes", "device", "threads", "parts", "table")
        return digest([{key: value for key, value in self.section.items() if key not in asides}, self._rows])

    def waiting(self) -> list[str]:
        """The plates that are to be processed: complete, not failed as they are, and not excluded."""
        return [
            plate
            for plate in waiting_plates(self.results, self.digest)
            if self._of(plate, "exclude").lower() not in _YES
        ]

    def channel_of(self, plate: str) -> str | None:
        """The channel that a plate's nuclei are seen in."""
        return self._of(plate, "channel") or self.section["channel"]

    def model_of(self, plate: str) -> str:
        """Name of a plate's model in paths: its name in the library, or the name of its weights' folder."""
        weights = Path(self.weights_of(plate))
        return weights.parent.name if weights.name == WEIGHTS else weights.stem

    def weights_of(self, plate: str) -> str:
        """Weights that a plate is segmented with. Raises InputError if the configuration names none that is there."""
        return str(find_weights(self._of(plate, "model") or self.section["model"], self.section["models"]))

    def plate_map_of(self, plate: str) -> str:
        """The file that tells what is in a plate's wells, or an empty text."""
        return self._beside_table(plate, "plate_map")

    def truth_of(self, plate: str) -> str:
        """The folder with the true labels of a plate's wells, or an empty text."""
        return self._beside_table(plate, "truth")

    def _beside_table(self, plate: str, column: str) -> str:
        name = self._of(plate, column)
        return str(Path(self.section["table"]).parent / name) if name else ""

    def _of(self, plate: str, column: str) -> str:
        return self._rows.get(plate, {}).get(column, "")


_YES = ("yes", "true", "1", "x")


def _read_plates_table(path: str | Path, columns: Sequence[str]) -> dict[str, dict[str, str]]:
    """Rows of plates.tsv by plate. Raises InputError for a missing table, an unknown column or a repeated plate."""
    try:
        with Path(path).open(encoding="utf-8-sig", newline="") as file:
            rows = list(csv.DictReader(file, delimiter="\t"))
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: not a readable table ({error}); `plates: {{table: ...}}` names it") from error
    found: dict[str, dict[str, str]] = {}
    for row in rows:
        for column in row:
            check_known(f"column in {path}:", column, columns)
        if not row.get("plate"):
            raise InputError(f"{path}: a row has no plate; the column holds identifiers as in scan.tsv")
        if row["plate"] in found:
            raise InputError(f"{path}: plate {row['plate']!r} stands twice")
        found[row["plate"]] = {column: (value or "").strip() for column, value in row.items()}
    return found


def check_schema(config: Mapping, schema: Mapping) -> None:
    """Raise InputError with one line for every key or value of `config` that the JSON schema does not allow."""
    validator = jsonschema.Draft202012Validator(schema)
    errors = sorted(validator.iter_errors(config), key=lambda error: [str(part) for part in error.absolute_path])
    if errors:
        raise InputError("the configuration cannot be used:\n" + "\n".join(f"  {_explain(e)}" for e in errors))


def _explain(error: jsonschema.ValidationError) -> str:
    """One schema error in plain words, with the nearest known key for an unknown one."""
    if error.validator == "oneOf" and error.context:
        error = _nearest_alternative(error)
    where = "".join(f"[{p}]" if isinstance(p, int) else f".{p}" for p in error.absolute_path).lstrip(".")
    if error.validator == "additionalProperties":
        known = list(error.schema.get("properties", {}))
        unknown = [key for key in error.instance if key not in known]
        hints = []
        for key in unknown:
            near = difflib.get_close_matches(str(key), known, n=1)
            hints.append(f"{key!r}" + (f" (did you mean {near[0]!r}?)" if near else ""))
        return f"{where or 'top level'}: unknown key {', '.join(hints)}; known are {', '.join(known)}"
    return f"{where or 'top level'}: {error.message}"


def _nearest_alternative(error: jsonschema.ValidationError) -> jsonschema.ValidationError:
    """Of the alternatives of a `oneOf`, the error of the one that the value resembles most.

    An alternative whose own type or a `const` in it does not fit is not meant; a choice that fits none is told by that
    error.
    """
    branches: dict[int, list[jsonschema.ValidationError]] = {}
    for part in error.context:
        branches.setdefault(part.schema_path[0], []).append(part)
    meant = [b for b in branches.values() if not any(map(_tells_apart, b))]
    if meant:
        return min(meant, key=len)[0]
    choices = [part for branch in branches.values() for part in branch if part.validator == "const"]
    if choices:
        allowed = ", ".join(repr(part.validator_value) for part in choices)
        return _reworded(choices[0], f"{choices[0].instance!r} is not one of {allowed}")
    return error.context[0]


def _tells_apart(part: jsonschema.ValidationError) -> bool:
    return part.validator == "const" or (part.validator == "type" and not part.path)


def _reworded(error: jsonschema.ValidationError, message: str) -> jsonschema.ValidationError:
    error.message = message
    return error


def _inference_modes(where: str, chosen: Sequence[str]) -> tuple[str, ...]:
    """Those inference modes in the order of INFERENCES: another order in the configuration makes nothing stale."""
    if "deployed" not in chosen:
        raise InputError(
            f"{where}: `inference` lacks 'deployed', the network as it is; contours and F1 figures are made from it"
        )
    return tuple(name for name in INFERENCES if name in chosen)


@contextmanager
def _told_of(key: str) -> Iterator[None]:
    """An InputError of the block, with the key of the configuration that it is about."""
    try:
        yield
    except InputError as error:
        raise InputError(f"{key}: {error}") from error


def _add_unique(named: dict, name: str, value: object, what: str) -> None:
    if name in named:
        raise InputError(f"two {what}s are named {name!r}: give each its own name")
    named[name] = value


def _alike(spec: ModelSpec) -> tuple:
    """What a plain twin has in common with a model."""
    module, name, arguments = ARCHITECTURES[spec.architecture]
    return module, name, arguments.get("strided", False), spec.target, spec.normalization, spec.diameter
