"""A small network, trained for a moment on one simulated field."""

import atexit
import shutil
import tempfile
from functools import cache, partial
from pathlib import Path

import numpy as np
import torch

from equinuclei.images.intensity import normalize
from equinuclei.images.masks import to_binary, to_distance, to_three_class
from equinuclei.networks.build import build_model
from equinuclei.networks.checkpoint import save_weights
from equinuclei.networks.targets import target_of
from equinuclei.simulation.fields import simulate_field
from equinuclei.specs import ModelSpec

TRUTHS = {
    "binary": partial(to_binary, border_as="nucleus"),
    "distance": partial(to_distance, border_as="nucleus"),
    "three_class": to_three_class,
}


@cache
def tiny_weights(target: str = "binary", normalization: str = "standard", diameter: float | None = None) -> Path:
    """Its weights; their folder is named as a model is. The nuclei of its image are about 24 pixels across."""
    spec = ModelSpec("simplified", "p4", (4, 8), target=target, normalization=normalization, diameter=diameter)
    threads = torch.get_num_threads()
    torch.manual_seed(0)
    torch.set_num_threads(1)
    field = simulate_field("HeLa", 0, 160, 160)
    image = torch.from_numpy(normalize(field.images["fluorescence"], normalization))[None, None]
    pixels = TRUTHS[target](field.instances, "instances")
    truth = torch.from_numpy(pixels.astype(np.float32))[None, None]
    network = build_model(spec)
    network.set_prior(target_of(target).prior([pixels]))
    optimizer = torch.optim.Adam(network.parameters(), 1e-2)
    for _ in range(80):
        optimizer.zero_grad()
        target_of(target).loss(network(image), truth).backward()
        optimizer.step()
    folder = Path(tempfile.mkdtemp(prefix="equinuclei-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    path = folder / "tiny" / "weights.safetensors"
    save_weights(network.eval(), spec, path)
    torch.set_num_threads(threads)
    return path
