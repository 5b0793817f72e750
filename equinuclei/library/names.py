"""Named models: those that come with the package, and a lab's own, one folder each.

Imports nothing that Snakemake does not bring.
"""

import json
from pathlib import Path

from equinuclei.errors import InputError, check_known, reading

WEIGHTS = "weights.safetensors"

SHIPPED = Path(__file__).parent / "shipped"
"""Folder of the models that come with the package."""

LAB_MODELS = Path("resources/models")
"""Default folder of a lab's own models, relative to the working directory."""

NORMALIZATION_IN_WORDS = {
    "standard": "standardised to zero mean and unit variance of the whole image",
    "percentile": "scaled so that the 1st percentile of the whole image is 0 and the 99.8th is 4",
}
"""The methods of `equinuclei.images.intensity.normalization_statistics`, for a model's documentation."""


def find_weights(model: str | Path | None, library: str | Path) -> Path:
    """Weights of a model: a file, a folder that holds `weights.safetensors`, or the name of a model.

    Names are looked up in `library`, a lab's own models, and among those that come with the package. Raises InputError,
    with the known names, if there is none.
    """
    known = known_models(library)
    if model is None:
        raise InputError(f"no model is chosen: set `plates: {{model: NAME}}`; known are {', '.join(known)}")
    path = Path(model)
    with reading(str(model)[:200], "give a weights.safetensors, its folder, or the name of a model"):
        for candidate in (path, path / WEIGHTS):
            if candidate.is_file():
                return candidate
    if path.name != str(model):
        raise InputError(f"{model}: no weights there; give a weights.safetensors, its folder, or the name of a model")
    check_known("model", str(model), known)
    return next(file for folder in (Path(library), SHIPPED) if (file := folder / path / WEIGHTS).is_file())


def modality_of(weights: str | Path) -> str:
    """The modality of the images that a model learnt from, by the run.json beside its weights; empty if unknown."""
    try:
        record = json.loads((Path(weights).parent / "run.json").read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return ""
    return str(record.get("modality") or "") if isinstance(record, dict) else ""


def known_models(library: str | Path) -> list[str]:
    """Names of the models in a library and of those that come with the package, sorted."""
    return sorted(_models_in(Path(library)) | shipped_models())


def shipped_models() -> set[str]:
    """Names of the models that come with the package."""
    return _models_in(SHIPPED)


def _models_in(folder: Path) -> set[str]:
    return {path.parent.name for path in folder.glob(f"*/{WEIGHTS}")}
