"""Examples for figures on disk: images, truths and probabilities."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from equinuclei.errors import reading
from equinuclei.runtime.files import replacing

_ARRAYS = ("image", "truth", "classes", "instances", "probability", "probability_sum")


def write_examples(path: str | Path, examples: Sequence[Mapping]) -> None:
    """Write examples as npz.

    An example is a mapping of image_id, cell_line (str), and arrays (y, x): image; the truth as mask (truth, bool), as
    classes (classes, uint8: 0 background, 1 border, 2 nucleus) and as numbers of the nuclei (instances, integer); the
    probability of foreground (probability, float32, 0 to 1), and its sum over the four rotations of the image, each
    turned back (probability_sum, float32, 0 to 4).
    """
    arrays = {name: np.array([e[name] for e in examples], dtype=np.str_) for name in ("image_id", "cell_line")}
    for number, example in enumerate(examples):
        arrays |= {f"{name}_{number}": example[name] for name in _ARRAYS}
    with replacing(path) as temporary:
        np.savez_compressed(temporary, allow_pickle=False, **arrays)


def read_examples(path: str | Path) -> list[dict]:
    """What `write_examples` wrote. Raises InputError if the file is damaged."""
    with reading(path, "delete it, and predict again"), np.load(path, allow_pickle=False) as file:
        return [
            {"image_id": str(image_id), "cell_line": str(cell_line)}
            | {name: file[f"{name}_{number}"] for name in _ARRAYS}
            for number, (image_id, cell_line) in enumerate(zip(file["image_id"], file["cell_line"], strict=True))
        ]
