"""The settings behind a study's results, and where they come from, as rows and sentences for its page.

`config` is the settings of the data set with every default filled in, as in provenance.json; `records` are those of its
trainings (run.json).
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from equinuclei.analysis.machines import machine_sentences
from equinuclei.dataset.parts import PARTS
from equinuclei.pages.page import text


def models(config: Mapping, records: Sequence[Mapping]) -> list[dict[str, str]]:
    """What every model is and how it was trained, a row each."""
    rows = []
    for name, model in config["models"].items():
        spec, training = model["spec"], model["training"]
        trained = [record for record in records if record["model"] == name]
        rates = sorted({record["training"]["learning_rate"] for record in trained})
        rows.append(
            {
                "model": name,
                "network": spec["architecture"],
                "symmetry": {"trivial": "none", "p4": "quarter turns (p4)"}.get(
                    spec["group"], "quarter turns and mirrors (p4m)"
                ),
                "widths": " ".join(map(str, spec["widths"])),
                "augmentation": spec["augmentation"],
                "learns": spec.get("target", "binary"),
                "normalisation": spec.get("normalization", "standard"),
                "size of nuclei, px": text(spec.get("diameter")) or "as they come",
                "nuclei by": model["instances"] or "default of the target",
                "inference modes": ", ".join(model["inference"]),
                "parameters": f"{trained[0]['parameters']:,}" if trained else "",
                "GFLOP": text(trained[0]["gflops"]) if trained else "",
                "epochs": str(training["epochs"]),
                "crop, px": str(training["crop"]),
                "batch": str(training["batch_size"]),
                "learning rate": ", ".join(f"{rate:g}" for rate in rates),
                "schedule": training["schedule"],
            }
        )
    return rows


def parts(fields: pd.DataFrame, splits: pd.DataFrame) -> dict[str, Any]:
    """Fields and groups of every part, per cell line and in all; and images per modality."""
    present = [part for part in PARTS if (splits["part"] == part).any()]
    rows = []
    for line, of_line in [*splits.groupby("cell_line"), ("all", splits)]:
        by_part = dict(list(of_line.groupby("part")))
        cells = [
            f"{len(by_part[part]):,} ({by_part[part]['group'].nunique():,})" if part in by_part else "0"
            for part in present
        ]
        rows.append([line, *cells])
    images = fields["modality"].value_counts(sort=False).to_dict()
    sizes = fields.groupby(["height", "width"]).size()
    return {
        "parts": present,
        "rows": rows,
        "images": ", ".join(f"{count:,} {modality}" for modality, count in images.items()),
        "sizes": ", ".join(f"{count:,} of {height} x {width}" for (height, width), count in sizes.items()),
    }


def settings(config: Mapping) -> list[tuple[str, str]]:
    """Settings of the data set and of the study that concern all models."""
    dataset, evaluation = config["dataset"], config["evaluation"]
    source = dataset["source"]
    return [
        ("source of the images", ", ".join(f"{key} {value}" for key, value in source.items())),
        ("masks", ", ".join(f"{key.replace('_', ' ')} {value}" for key, value in dataset["mask"].items())),
        ("split", f"{', '.join(map(str, dataset['split']))}; seed {config['split_seed']}" if "split" in dataset else
         "the source's own"),
        ("seeds", ", ".join(map(str, config["seeds"]))),
        ("mirrored images scored too", "yes" if evaluation["mirrored"] else "no"),
    ]  # fmt: skip


def tuning(config: Mapping, records: Sequence[Mapping], scored: str, splits: pd.DataFrame) -> list[str]:
    """What was chosen on which images. scored : the part that scores are of."""
    chosen = sorted({record["model"] for record in records if record.get("learning_rate_chosen_from")})
    fixed = [name for name in config["models"] if name not in chosen]
    sentences = []
    if chosen:
        sentences.append(
            f"The learning rate of {', '.join(chosen)} was chosen from candidates by the F1 on groups of images that "
            "were held out of the training part for that, once for all seeds."
        )
    if fixed:
        sentences.append(f"The learning rate of {', '.join(fixed)} was given in the configuration.")
    sentences.append("The weights are those of the last epoch: no epoch was picked by a score.")
    sentences.append(
        "Thresholds, the numbers of epochs, widths and the way from a prediction to nuclei were fixed in the "
        "configuration before the run."
    )
    if scored == "val":
        sentences.append("The set has no test part: its val part is scored, and was not looked at during training.")
    elif (splits["part"] == "val").any():
        sentences.append("The val part is shown in the training curves, and decides nothing.")
    sentences.append(f"So nothing was tuned on the scored part ({scored}); it was predicted after training.")
    return sentences


def provenance(record: Mapping) -> dict[str, Any]:
    """What the results were made from and with. record : provenance.json."""
    trainings = record["trainings"]
    seconds, cpu_seconds = (sum(training[f"train_{of}seconds"] for training in trainings) for of in ("", "cpu_"))
    versions = sorted({t["code_version"] for t in trainings})
    again = [
        f"{Path(t['run']).parent}, {len(attempts)} attempts: the first {attempts[0]['collapsed']}"
        for t in trainings
        if len(attempts := t.get("attempts", [])) > 1
    ]
    packages = dict(sorted({package for t in trainings for package in t["packages"].items()}))
    return {
        "facts": [
            ("version of the code", record["code_version"]),
            ("of the trainings", ", ".join(versions)),
            (
                "trainings",
                f"{len(trainings)}, {_duration(seconds)} in all, with {_duration(cpu_seconds)} of CPU time",
            ),
            ("hardware", " ".join(machine_sentences(trainings))),
            (
                "SHA-256 of requirements.lock",
                ", ".join(sorted({t["lock"]["sha256"] for t in trainings if t.get("lock")})),
            ),
            *([("trainings that collapsed and started again", "; ".join(again))] if again else []),
            ("packages", ", ".join(f"{name} {version}" for name, version in packages.items())),
        ],
        "checksums": sorted({**record["stores"], **record["files"]}.items()),
    }


def _duration(seconds: float) -> str:
    return f"{seconds / 3600:.1f} hours" if seconds >= 3600 else f"{seconds:.0f} s"
