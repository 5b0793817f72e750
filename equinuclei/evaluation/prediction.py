"""Predictions of the scored part of a data set and of its rotations, under every inference mode."""

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

from equinuclei.checksums import digest, sha256
from equinuclei.dataset.parts import PREDICTIONS_COLUMNS, iterate_images
from equinuclei.evaluation.examples import write_examples
from equinuclei.evaluation.moves import SHIFTS, TURNS, moves_of
from equinuclei.evaluation.scored import ScoredPart
from equinuclei.images.intensity import normalize
from equinuclei.inference.whole_images import predict_maps, predict_transforms
from equinuclei.networks.checkpoint import load_model
from equinuclei.networks.device import prepare_torch
from equinuclei.networks.folding import fold
from equinuclei.networks.network import SegmentationNetwork
from equinuclei.networks.targets import target_of
from equinuclei.omezarr.stacks import create_stack, create_store, plan_stacks, shard_rows, write_rows
from equinuclei.runtime.files import beside_file, is_done, make_folder, mark_done
from equinuclei.symmetry import IDENTITY, Element, Group
from equinuclei.tables.files import write_table

logger = logging.getLogger("equinuclei.evaluation.prediction")


@dataclass(frozen=True)
class PredictionSettings:
    """How images are predicted.

    mirrored : whether every image is also predicted mirrored; inferences : keys of `specs.INFERENCES`; examples : how
    many images are kept for figures; device : "cuda" or "cpu"; torch_threads : on the CPU; moves : whether images are
    also predicted turned between the quarter turns, and shifted (`moves`), as deployed: 12 more predictions per image,
    beside the 4 of each inference mode (8 where mirrored)
    """

    mirrored: bool
    inferences: Sequence[str]
    examples: int
    device: str
    torch_threads: int
    moves: bool = False

    @property
    def elements(self) -> Sequence[Element]:
        """The transforms of an image that are predicted."""
        return (Group.P4M if self.mirrored else Group.P4).elements


@dataclass(frozen=True)
class PredictionFiles:
    """What a prediction writes.

    predictions : store with an array (n, y, x) uint8 of prediction codes (`equinuclei.networks.targets`) per inference
        mode, transform and image shape, each prediction turned back into the frame of its image; its attributes name
        the target. With moves, also `deployed/turned_015` and so on, in the frame of the turned image, and
        `deployed/shifted_01` and so on: the prediction of the crop at its place in the image, and 0 around it
    index : table of the array and row of every image, the same for every mode and transform
    examples : some images as deployed (`examples.write_examples`), one per cell line as far as that goes
    """

    predictions: Path
    index: Path
    examples: Path


def predict_part(
    weights: str | Path,
    images: str | Path,
    part: ScoredPart,
    settings: PredictionSettings,
    files: PredictionFiles,
    *,
    code: str = "",
) -> None:
    """Predict every scored image and its transforms with one model, under each inference mode.

    images : the store of the images; code : digest of the code. The network is folded, except for exact mode, which
    needs its group layers.

    An interrupted prediction continues with the arrays of the modes that were not finished. Index and examples are
    made with the predictions and move into place just before these appear. Where all of them stand and were made
    together from the same inputs, nothing is written.
    """
    rows = part.rows()
    planned = plan_stacks(rows.drop(columns=["array", "row"]).assign(dtype="uint8"))
    device = prepare_torch(settings.device, settings.torch_threads, deterministic=True)
    predictor = _Predictor(load_model(weights, device), device, settings)
    made: dict[str, Any] = {
        "target": predictor.network.target,
        "inferences": list(settings.inferences),
        "transforms": [element.name for element in settings.elements],
    }
    if settings.moves:
        made["moves"] = {"turns": list(TURNS), "shifts": list(SHIFTS)}

    def predict(folder: Path) -> None:
        create_store(folder, made)
        arrays = enumerate(planned.groupby("array", sort=True))
        for inference, (number, (array, members)) in product(settings.inferences, arrays):
            unit = f"{inference}-array-{number}"
            if not is_done(folder, unit):
                predictor.predict_array(folder, inference, str(array), rows.iloc[members.index], images)
                mark_done(folder, unit)
        for number, (array, members) in enumerate(planned.groupby("array", sort=True) if settings.moves else ()):
            if not is_done(folder, unit := f"moves-array-{number}"):
                predictor.predict_moves(folder, str(array), rows.iloc[members.index], images)
                mark_done(folder, unit)
        chosen = rows[rows["image_id"].isin(_example_ids(planned, settings.examples))]
        write_examples(beside_file(folder, files.examples), list(predictor.examples(chosen, images, part)))
        write_table(planned[PREDICTIONS_COLUMNS], beside_file(folder, files.index))

    inputs = [sha256(weights), sha256(part.fields), sha256(part.splits)]
    of_machine = [settings.device, settings.torch_threads, torch.__version__]  # they decide the order of sums
    key = digest([code, *inputs, made, settings.examples, *of_machine])
    make_folder(files.predictions, key, predict, beside=[files.index, files.examples])


class _Predictor:
    """A network on a device, as it is and folded, with the settings of a prediction."""

    def __init__(self, network: SegmentationNetwork, device: torch.device, settings: PredictionSettings) -> None:
        self.network, self.folded = network, fold(network)
        self.device, self.elements = device, settings.elements
        self.target = target_of(network.target)

    def predict_array(self, store: Path, inference: str, array: str, rows: pd.DataFrame, images: str | Path) -> None:
        """Write the predictions of images of one shape under one mode: an array of the store per transform."""
        network = self.network if inference == "exact" else self.folded
        height, width = int(rows["height"].iloc[0]), int(rows["width"].iloc[0])
        stacks = {
            e: create_stack(store, f"{inference}/{e.name}/{array}", len(rows), height, width, "uint8")
            for e in self.elements
        }
        shard = shard_rows(height, width, 1, len(rows))
        for start in range(0, len(rows), shard):
            members = rows.iloc[start : start + shard]
            blocks = {e: np.empty((len(members), height, width), np.uint8) for e in self.elements}
            for position, (_, stored) in enumerate(iterate_images(members, image=images)):
                maps = predict_transforms(network, stored["image"], self.elements, self.device, inference)
                for element, of_element in maps.items():
                    blocks[element][position] = self.target.codes(of_element)
            for element, block in blocks.items():
                write_rows(stacks[element], start, block)
            logger.info("%s: predicted %d of %d images of %s", inference, start + len(members), len(rows), array)

    def predict_moves(self, store: Path, array: str, rows: pd.DataFrame, images: str | Path) -> None:
        """Write the predictions of images of one shape, turned and shifted: an array of the store per move."""
        height, width = int(rows["height"].iloc[0]), int(rows["width"].iloc[0])
        moves = list(moves_of(height, width))
        if len(moves) == len(TURNS):
            logger.warning("%s: images are too small to be shifted; they are only turned", array)
        stacks = [
            create_stack(store, f"deployed/{move.name}/{array}", len(rows), height, width, "uint8") for move in moves
        ]
        shard = shard_rows(height, width, 1, len(rows))
        for start in range(0, len(rows), shard):
            members = rows.iloc[start : start + shard]
            blocks = np.zeros((len(moves), len(members), height, width), np.uint8)
            for position, (_, stored) in enumerate(iterate_images(members, image=images)):
                normalized = normalize(stored["image"], self.folded.normalization)
                for block, move in zip(blocks, moves, strict=True):
                    block[position][move.window(height, width)] = self._codes(move.view(normalized))
            for stack, block in zip(stacks, blocks, strict=True):
                write_rows(stack, start, block)
            logger.info("moved: predicted %d of %d images of %s", start + len(members), len(rows), array)

    @torch.inference_mode()
    def _codes(self, normalized: np.ndarray) -> np.ndarray:
        """Codes of a normalised image (y, x) as deployed."""
        image = torch.from_numpy(np.ascontiguousarray(normalized)).to(self.device)
        codes: np.ndarray = self.target.codes(predict_maps(self.folded, image[None, None])[0].float().cpu().numpy())
        return codes

    def examples(self, rows: pd.DataFrame, images: str | Path, part: ScoredPart) -> Iterator[dict[str, Any]]:
        """Images, truths and probabilities as of `examples.write_examples`."""
        stores = {"image": images, "truth": part.masks, "instances": part.nuclei}
        if part.classes is not None:
            stores["classes"] = part.classes
        for row, stored in iterate_images(rows, workers=2, **stores):
            maps = predict_transforms(self.folded, stored["image"], Group.P4.elements, self.device)
            probabilities = {element: self.target.probability(of_element) for element, of_element in maps.items()}
            yield {
                "image_id": row.image_id,
                "cell_line": row.cell_line,
                **stored,
                "truth": stored["truth"] > 0,
                # A set without classes has its mask in two of them.
                "classes": stored.get("classes", 2 * stored["truth"]),
                "probability": probabilities[IDENTITY],
                "probability_sum": np.sum(list(probabilities.values()), axis=0),
            }


def _example_ids(planned: pd.DataFrame, count: int) -> list[str]:
    """Images to show: the first of every cell line, then the second, and so on."""
    place = planned.groupby("cell_line").cumcount()
    ordered = planned.assign(place=place).sort_values(["place", "cell_line"], kind="stable")
    return ordered["image_id"].head(count).tolist()
