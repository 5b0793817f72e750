"""Rows of tables of scores and costs."""

NAN = float("nan")


def score(
    model,
    seed,
    image,
    counts,
    rotation=0,
    mirrored=False,
    agreement=1.0,
    modality="fluorescent",
    line="HeLa",
    inference="deployed",
):
    """A row of scores with the same TP, FP, FN at all levels."""
    TP, FP, FN = counts
    row = {
        "dataset": "demo",
        "model": model,
        "inference": inference,
        "modality": modality,
        "seed": seed,
        "image_id": image,
        "cell_line": line,
        "group": image,
        "part": "test",
        "rotation": rotation,
        "mirrored": mirrored,
        "agreement": agreement,
    }
    total = 2 * TP + FP + FN
    for level in ("pixel", "object50", "object75"):
        row |= {f"{level}_TP": TP, f"{level}_FP": FP, f"{level}_FN": FN}
        row[f"{level}_F1"] = 2 * TP / total if total else NAN
    row["pixel_TN"] = 1000
    row["object50_AP"] = TP / (TP + FP + FN) if total else NAN
    row["pixel_IoU"] = row["object50_AP"]
    for level in ("pixel", "object50"):
        row[f"{level}_precision"] = NAN if not total else TP / (TP + FP) if TP + FP else 0.0
        row[f"{level}_recall"] = NAN if not total else TP / (TP + FN) if TP + FN else 0.0
    return row


def cost(model, seed, seconds, modality="fluorescent"):
    return {
        "model": model,
        "modality": modality,
        "seed": seed,
        "parameters": 1_940_001,
        "gflops": 24.1,
        "train_seconds": seconds,
        "train_cpu_seconds": 2 * seconds,
    }
