"""The comparisons of two models that a configuration declares before the run."""

from collections.abc import Mapping, Sequence

from equinuclei.config.schema import about
from equinuclei.errors import InputError, check_known
from equinuclei.specs import OTSU, PRESETS

CONTRAST_MEASURE = "object50_F1"
"""What a declared contrast compares where it names no measure."""


FEW_SEEDS = 2
"""With no more seeds, declared contrasts on scores decide nothing about models."""


def declared_contrasts(entries: Sequence[Mapping], inferences: Mapping[str, Sequence[str]]) -> list[dict[str, str]]:
    """The declared contrasts as plain values: a, a_inference, b, b_inference, measure.

    entries : `contrasts` of the configuration. inferences : the inference modes of every model of the study.

    A contrast of a preset that is no model of the study is left out, so that the list of config.yaml serves studies of
    fewer models. Raises InputError for any other name that the study lacks, an inference mode that a model is not
    predicted under, a model against itself, and a contrast that is declared twice.
    """
    contrasts: list[dict[str, str]] = []
    for entry in entries:
        names = (entry["a"], entry["b"])
        for name in names:
            if name not in PRESETS:
                with about("contrasts"):
                    check_known("model", name, [*inferences, OTSU])
        if any(name not in inferences and name != OTSU for name in names):
            continue
        modes = entry.get("inference", "deployed")
        contrast: dict[str, str] = {}
        for end, name, mode in zip("ab", names, [modes, modes] if isinstance(modes, str) else modes, strict=True):
            modes_of_model: Sequence[str] = ("deployed",) if name == OTSU else inferences[name]
            if mode not in modes_of_model:
                raise InputError(
                    f"contrasts: {name} is not predicted under {mode!r}, only {', '.join(modes_of_model)}: "
                    f"add the mode to the model's `inference` or to that of `evaluation`"
                )
            contrast |= {end: name, f"{end}_inference": mode}
        contrast["measure"] = entry.get("measure", CONTRAST_MEASURE)
        _check_contrast(contrast, contrasts)
        contrasts.append(contrast)
    return contrasts


def seed_warning(contrasts: Sequence[Mapping[str, str]], seeds: int) -> str:
    """What a run of so few seeds cannot decide, told before it starts; empty where there are enough.

    contrasts : of `declared_contrasts`. Of the seeds alone the 95 % interval of a difference is +-t / sqrt(seeds)
    times the standard deviation that it has between seeds: 9.0 with two (one degree of freedom), 2.5 with three, 1.2
    with five. Those on `..._difference` and `..._zeros` are tested over groups, with the seeds fixed, and left out.
    """
    on_scores = [c for c in contrasts if not c["measure"].endswith(("_difference", "_zeros"))]
    if not on_scores or seeds > FEW_SEEDS:
        return ""
    declared = "the declared contrast" if len(on_scores) == 1 else f"the {len(on_scores)} declared contrasts"
    told = (
        "with one seed, verdicts are about these trained networks, and decide nothing about their models"
        if seeds == 1
        else "with two seeds next to nothing is decided: a difference has to be 9 times as large as it changes from "
        "seed to seed (with three seeds 2.5 times, with five 1.2 times)"
    )
    return f"seeds: {declared} on scores: {told}. Give five `seeds`, or at least three, before you train"


def _check_contrast(contrast: Mapping[str, str], others: Sequence[Mapping[str, str]]) -> None:
    """Raise InputError for a contrast of a net with itself, or of two that are compared already."""

    def nets(of: Mapping[str, str]) -> set[tuple[str, str]]:
        return {(of[end], of[f"{end}_inference"]) for end in "ab"}

    where = f"contrasts: {contrast['a']} against {contrast['b']} ({contrast['measure']})"
    if len(nets(contrast)) == 1:
        raise InputError(f"{where} compares a model with itself: change one of them")
    if any(contrast["measure"] == other["measure"] and nets(contrast) == nets(other) for other in others):
        raise InputError(f"{where} is declared twice: remove one")
