"""What the checks of a GPU work on, and how they fail."""

import hashlib
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    import torch

MODEL = "fluorescence-fast-v1"
FIELD = 1080
"""Height and width in pixels of the fields that are timed."""

SMALL_FIELD = 256
"""The same where a CPU stands in for the GPU."""


class CheckError(Exception):
    """A check found what may not be."""


@contextmanager
def scratch() -> Iterator[Path]:
    """A folder for a while."""
    with tempfile.TemporaryDirectory() as name:
        yield Path(name)


def checksum(path: Path) -> str:
    """SHA-256 of a file."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def simulated_field(device: str, seed: int = 0) -> "np.ndarray":
    """A fluorescence image, uint16 (y, x)."""
    from equinuclei.simulation.fields import simulate_field

    size = FIELD if device == "cuda" else SMALL_FIELD
    return simulate_field("HeLa", seed, size, size).images["fluorescence"]


def normalised_field(device: str, network: "torch.nn.Module") -> "np.ndarray":
    """The same as a network sees it, float32 (y, x)."""
    from equinuclei.images.intensity import normalize

    return normalize(simulated_field(device), network.normalization)


def shipped_network(device: str) -> "torch.nn.Module":
    """The model that `equinuclei segment` takes by default, on the device, not folded."""
    from equinuclei.library.names import LAB_MODELS, find_weights
    from equinuclei.networks.checkpoint import load_model
    from equinuclei.networks.device import prepare_torch

    return load_model(find_weights(MODEL, LAB_MODELS), prepare_torch(device, 1, deterministic=True))
