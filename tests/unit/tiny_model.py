"""A small network, trained for a moment on one simulated field."""

import atexit
import math
import shutil
import tempfile
from functools import cache
from pathlib import Path

import numpy as np
import torch
from torch.nn.functional import binary_cross_entropy_with_logits

from equinuclei.intensity import standardize
from equinuclei.models import ModelSpec, build_model
from equinuclei.models.checkpoint import save_weights
from equinuclei.simulate import simulate_field

SPEC = ModelSpec("simplified", "p4", (4, 8))


@cache
def tiny_weights() -> Path:
    """Its weights; their folder is named as a model is."""
    threads = torch.get_num_threads()
    torch.manual_seed(0)
    torch.set_num_threads(1)
    field = simulate_field("HeLa", 0, 160, 160)
    image = torch.from_numpy(standardize(field.images["fluorescence"]))[None, None]
    truth = torch.from_numpy((field.instances > 0).astype(np.float32))[None, None]
    network = build_model(SPEC)
    network.set_prior([math.log(0.15 / 0.85)])
    optimizer = torch.optim.Adam(network.parameters(), 1e-2)
    for _ in range(80):
        optimizer.zero_grad()
        binary_cross_entropy_with_logits(network(image), truth).backward()
        optimizer.step()
    folder = Path(tempfile.mkdtemp(prefix="equinuclei-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    path = folder / "tiny" / "weights.safetensors"
    save_weights(network.eval(), SPEC, path)
    torch.set_num_threads(threads)
    return path
