"""Predictions of the scored part of a data set and of its rotations, under every inference mode."""

import logging
from collections.abc import Sequence
from itertools import product
from pathlib import Path

import numpy as np
import pandas as pd

from equinuclei.checksums import digest, sha256
from equinuclei.dataset.parts import PREDICTIONS_COLUMNS, iterate_images, part_fields, scored_part
from equinuclei.evaluation.examples import write_examples
from equinuclei.inference.whole_images import predict_transforms
from equinuclei.networks.checkpoint import load_model
from equinuclei.networks.device import prepare_torch
from equinuclei.networks.folding import fold
from equinuclei.networks.targets import TARGETS
from equinuclei.omezarr.stacks import create_stack, create_store, plan_stacks, write_rows
from equinuclei.runtime.files import is_done, mark_done, work_folder
from equinuclei.symmetry import IDENTITY, Group
from equinuclei.tables.files import write_table

logger = logging.getLogger("equinuclei.evaluation.prediction")


def predict_part(
    weights: str | Path,
    *,
    images: str | Path,
    targets: str | Path,
    fields: str | Path,
    splits: str | Path,
    modality: str,
    mirrored: bool,
    inferences: Sequence[str],
    examples: int,
    device: str,
    torch_threads: int,
    predictions: str | Path,
    index: str | Path,
    examples_file: str | Path,
    code: str = "",
) -> None:
    """Predict every scored image and its transforms with one model, under each of `inferences` (keys of INFERENCES).

    The network is folded, but for exact mode, which needs its group layers.

    Writes `predictions`, a store with an array (n, y, x) uint8 of prediction codes (`equinuclei.networks.targets`) per
    inference mode, transform and image shape, each prediction turned back into the frame of its image; its attributes
    name the target. `index`, a table of their arrays and rows, the same for every mode and transform. And
    `examples_file`, up to `examples` images as deployed, one per cell line as far as that goes (see
    `examples.write_examples`).

    An interrupted prediction continues with the arrays of the modes that were not finished.
    """
    elements = (Group.P4M if mirrored else Group.P4).elements
    rows = part_fields(fields, splits, modality=modality, part=scored_part(splits))
    planned = plan_stacks(rows.drop(columns=["array", "row"]).assign(dtype="uint8"))
    on = prepare_torch(device, torch_threads, deterministic=True)
    network = load_model(weights, on)
    deployed, target = fold(network), TARGETS[network.target]
    transforms = [element.name for element in elements]
    made = {"target": network.target, "inferences": list(inferences), "transforms": transforms}
    key = digest([code, sha256(weights), sha256(fields), sha256(splits), made])
    chosen = set(_example_ids(planned, examples))
    with work_folder(predictions, key) as folder:
        create_store(folder, made)
        arrays = enumerate(planned.groupby("array", sort=True))
        for inference, (number, (array, group)) in product(inferences, arrays):
            unit = f"{inference}-array-{number}"
            if is_done(folder, unit):
                continue
            used = network if inference == "exact" else deployed
            height, width = int(group["height"].iloc[0]), int(group["width"].iloc[0])
            stacks = {
                e: create_stack(folder, f"{inference}/{e.name}/{array}", len(group), height, width, "uint8")
                for e in elements
            }
            shard = next(iter(stacks.values())).shards[0]
            for start in range(0, len(group), shard):
                members = group.iloc[start : start + shard]
                blocks = {e: np.empty((len(members), height, width), np.uint8) for e in elements}
                for position, (_, stored) in enumerate(iterate_images(rows.iloc[members.index], image=images)):
                    for element, maps in predict_transforms(used, stored["image"], elements, on, inference).items():
                        blocks[element][position] = target.codes(maps)
                for element, block in blocks.items():
                    write_rows(stacks[element], start, block)
                logger.info("%s: predicted %d of %d images of %s", inference, start + len(members), len(group), array)
            mark_done(folder, unit)
        found = []
        for row, stored in iterate_images(rows[rows["image_id"].isin(chosen)], **_truths(images, targets)):
            maps = predict_transforms(deployed, stored["image"], Group.P4.elements, on)
            probabilities = {element: target.probability(of_element) for element, of_element in maps.items()}
            example = {"image_id": row.image_id, "cell_line": row.cell_line, **stored, "truth": stored["truth"] > 0}
            # A set without classes has its mask in two of them.
            example["classes"] = stored.get("classes", 2 * stored["truth"])
            example["probability"] = probabilities[IDENTITY]
            example["probability_sum"] = np.sum(list(probabilities.values()), axis=0)
            found.append(example)
    write_examples(examples_file, found)
    write_table(planned[PREDICTIONS_COLUMNS], index)


def _truths(images: str | Path, targets: str | Path) -> dict[str, str | Path]:
    """Stores of what an example shows of a data set; masks that are binary have no classes."""
    stores = {"image": images, "truth": Path(targets) / "binary", "instances": Path(targets) / "instances"}
    classes = Path(targets) / "three_class"
    return stores | ({"classes": classes} if classes.is_dir() else {})


def _example_ids(planned: pd.DataFrame, count: int) -> list[str]:
    """Images to show: the first of every cell line, then the second, and so on."""
    place = planned.groupby("cell_line").cumcount()
    ordered = planned.assign(place=place).sort_values(["place", "cell_line"], kind="stable")
    return ordered["image_id"].head(count).tolist()
