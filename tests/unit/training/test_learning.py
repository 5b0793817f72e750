"""Every network learns: none ends in background, or in nucleus, everywhere."""

import pandas as pd
import pytest

from equinuclei.dataset.parts import Part
from equinuclei.inference.whole_images import predict_transforms
from equinuclei.networks.checkpoint import load_model
from equinuclei.simulation.fields import simulate_field
from equinuclei.specs import ARCHITECTURES, GROUPS, ModelSpec
from equinuclei.symmetry import IDENTITY
from equinuclei.training.settings import TrainingSettings
from equinuclei.training.train import TrainingFiles, train_model

# Full depth, small widths: about the parameters of one another across the groups.
WIDTHS = {
    "unet": {"trivial": (8,) * 6, "p4": (4,) * 6, "p4m": (3,) * 6},
    "simplified": {"trivial": (8, 8, 16, 16, 16), "p4": (4, 4, 8, 8, 8), "p4m": (3, 3, 6, 6, 6)},
    "gdensenet": {"trivial": (8,) * 6, "p4": (4,) * 6, "p4m": (3,) * 6},
    "gunet": {"trivial": (6, 6, 8, 8, 8), "p4": (4, 4, 4, 4, 4), "p4m": (3, 3, 3, 3, 3)},
}
WIDTHS["simplified-bn"] = WIDTHS["simplified-bn-strided"] = WIDTHS["simplified"]

# One network per group every time, all by night.
ALWAYS = {("unet", "trivial"), ("simplified", "p4"), ("simplified-bn-strided", "p4m")}
NETWORKS = [
    pytest.param(architecture, group, marks=() if (architecture, group) in ALWAYS else pytest.mark.nightly)
    for architecture in ARCHITECTURES
    for group in GROUPS
]


@pytest.mark.parametrize("architecture, group", NETWORKS)
def test_every_network_overfits_a_handful_of_images(tmp_path, architecture, group):
    fields = [simulate_field(line, seed, 64, 64) for seed, line in enumerate(("NIH3T3", "HeLa", "A549"))]
    images, targets = [f.images["fluorescence"] for f in fields], [f.instances > 0 for f in fields]
    table = pd.DataFrame({column: ["x"] for column in ("image_id", "image_sha256", "mask_sha256")})
    repeated = Part(table, images * 20, targets * 20)
    settings = TrainingSettings(  # 100 steps
        epochs=5, crop=64, batch_size=3, learning_rate=5e-3, schedule="cosine", warmup=0.1, gradient_clip=0.5,
        attempts=1, precision="float32", device="cpu", devices=1, torch_threads=1, deterministic=True,
        sampling="images", zoom=1, photometric=False,
    )  # fmt: skip
    files = TrainingFiles.inside(tmp_path)
    train_model(
        ModelSpec(architecture, group, WIDTHS[architecture][group]), repeated, None, settings, seed=0, files=files
    )
    network = load_model(files.weights)
    predicted = [predict_transforms(network, image, [IDENTITY])[IDENTITY][0] > 0 for image in images]
    hits = 2 * sum((p & t).sum() for p, t in zip(predicted, targets, strict=True))
    F1 = hits / sum(p.sum() + t.sum() for p, t in zip(predicted, targets, strict=True))
    assert F1 > 0.95
