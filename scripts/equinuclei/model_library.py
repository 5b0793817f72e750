"""The named models that plates are segmented with: one folder each. Imports nothing that Snakemake does not bring."""

from pathlib import Path

from equinuclei.errors import InputError, check_known

WEIGHTS = "weights.safetensors"

NORMALIZATION_TOLD = {
    "standard": "standardised to zero mean and unit variance of the whole image",
    "percentile": "scaled so that the 1st percentile of the whole image is 0 and the 99.8th is 4",
}
"""The methods of `intensity.normalization_statistics` in words, for a model's documentation."""


def find_weights(model: str | Path | None, library: str | Path) -> Path:
    """Weights of a model: a file, a folder that holds `weights.safetensors`, or a name in the library.

    Raises InputError, with the known names, if there is none.
    """
    known = known_models(library)
    if model is None:
        where = f"in {library} are {', '.join(known)}" if known else f"{library} holds none yet: see promote_model.py"
        raise InputError(f"no model is chosen: set `plates: {{model: NAME}}`; {where}")
    path = Path(model)
    for candidate in (path, path / WEIGHTS):
        if candidate.is_file():
            return candidate
    if path.name != str(model):
        raise InputError(f"{model}: no weights there; give a weights.safetensors, its folder, or the name of a model")
    if not known:
        raise InputError(f"model {str(model)!r}: {library} holds no model yet; `promote_model.py` puts one there")
    check_known("model", str(model), known)
    return Path(library, str(model), WEIGHTS)


def known_models(library: str | Path) -> list[str]:
    """Names of the models in a library, sorted."""
    return sorted(path.parent.name for path in Path(library).glob(f"*/{WEIGHTS}"))
