"""The configuration of a study that trains one small network in seconds, to be disturbed meanwhile."""

from typing import Any


def study_of(epochs: int) -> dict[str, Any]:
    """A simulated data set of 21 fields in three equal parts, and one model; a training of so many epochs."""
    return {
        "datasets": [
            {
                "name": "tiny",
                "source": {"layout": "simulated", "fields_per_cell_line": 3, "height": 72, "width": 90, "seed": 5},
                "modalities": ["fluorescence"],
                "mask": {"kind": "three_class", "border_as": "background"},
                "split": [7, 7, 7],
            }
        ],
        "models": [{"name": "turning", "preset": "simplified-p4", "widths": [4, 8, 8]}],
        "seeds": [0],
        "training": {
            "epochs": epochs,
            "crop": 64,
            "batch_size": 2,
            "learning_rate": 0.005,
            "device": "cpu",
            "torch_threads": 1,
        },
        "evaluation": {"mirrored": False, "inference": ["deployed"], "examples": 1},
    }
