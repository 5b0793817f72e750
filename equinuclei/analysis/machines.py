"""What the trainings of a study ran on, in sentences: scores of different machines differ by more than their models."""

from collections.abc import Mapping, Sequence
from typing import Any

from equinuclei.runtime.provenance import deciding_hardware


def machine_sentences(records: Sequence[Mapping[str, Any]]) -> list[str]:
    """What trainings ran on, and what of it may keep their numbers from coming out again.

    records : of the trainings, run.json, or their entries in provenance.json. Older ones tell less.
    """
    used = [[*record.get("hardware_before", []), record.get("hardware", {})] for record in records]
    kinds = sorted({deciding_hardware(machine) for machines in used for machine in machines} - {""})
    moved = sum(len(machines) > 1 for machines in used)
    differ = sorted({item for record in records for item in record.get("lock", {}).get("differ", {}).items()})
    sentences = [f"Trained on {'; '.join(kinds)}."] if kinds else []
    if len(kinds) > 1:
        sentences.append(
            f"These are {len(kinds)} kinds of hardware: scores differ between them as they do between seeds. To "
            "compare models closely, train all of them on one kind (docs/cluster.md)."
        )
    if moved:
        sentences.append(
            f"{moved} of {len(records)} trainings began on one kind and went on on another: neither alone gives those "
            "bits again."
        )
    if differ:
        others = ", ".join(f"{package} {versions}" for package, versions in differ)
        sentences.append(f"Not in the versions of requirements.lock, with which all was tested: {others}.")
    return sentences
