"""Scores of models in an invented study."""

from itertools import product

import pandas as pd

NAN = float("nan")


def score(model, image, counts, *, rotation=0, seed=0, line="HeLa", group=None, inference="deployed", mirrored=False):
    """A row of scores with the same TP, FP, FN by pixels and by objects."""
    TP, FP, FN = counts
    total = 2 * TP + FP + FN
    row = {"dataset": "demo", "modality": "fluorescence", "model": model, "inference": inference, "seed": seed}
    row |= {"image_id": image, "cell_line": line, "group": group or image, "rotation": rotation, "mirrored": mirrored}
    for level in ("pixel", "object50"):
        row |= {f"{level}_TP": TP, f"{level}_FP": FP, f"{level}_FN": FN}
        row[f"{level}_F1"] = 2 * TP / total if total else NAN
    row["object50_AP"] = row["object50_PQ"] = TP / (TP + FP + FN) if total else NAN
    row["pixel_TN"] = 1000
    return row | {"agreement": 1.0}


def study(counts_of, models=("net", "other"), images=12, seeds=(0,), lines=("HeLa", "A549"), rotations=(0, 90, 180)):
    """Scores of models, where counts_of(model, seed, image, rotation) are TP, FP, FN of an image."""
    return pd.DataFrame(
        score(model, f"i{i:02d}", counts_of(model, seed, i, rotation), rotation=rotation, seed=seed,
              line=lines[i % len(lines)])
        for model, seed, i, rotation in product(models, seeds, range(images), rotations)
    )  # fmt: skip
