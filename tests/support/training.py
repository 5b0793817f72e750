"""Trainings of seconds: small discs, a small network, settings."""

import numpy as np
import pandas as pd

from equinuclei.dataset.parts import Part
from equinuclei.specs import ModelSpec
from equinuclei.training.settings import TrainingSettings
from equinuclei.training.train import TrainingFiles, train_model

SPEC = ModelSpec("simplified", "p4", (2, 4), "none")
SETTINGS = TrainingSettings(
    epochs=4,
    crop=32,
    sampling="images",
    zoom=1,
    photometric=False,
    batch_size=4,
    learning_rate=1e-2,
    schedule="cosine",
    warmup=0.1,
    gradient_clip=0.5,
    attempts=5,
    precision="float32",
    device="cpu",
    devices=1,
    torch_threads=1,
    deterministic=True,
)


def part(count=12, seed=0):
    """Bright discs on a dark, noisy ground."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:40, :48]
    images, targets = [], []
    for _ in range(count):
        centres = rng.uniform(5, 35, (3, 2))
        target = np.any([(y - a) ** 2 + (x - b) ** 2 < 36 for a, b in centres], axis=0)
        images.append((1000 + 800 * target + rng.normal(0, 100, target.shape)).astype(np.uint16))
        targets.append(target)
    ids = [f"{seed}-{number}" for number in range(count)]
    return Part(pd.DataFrame({"image_id": ids, "image_sha256": ids, "mask_sha256": ids}), images, targets)


def train(folder, settings=SETTINGS, validation=None, spec=SPEC, training=None, **more):
    files = TrainingFiles.inside(folder)
    train_model(spec, part() if training is None else training, validation, settings, seed=3, files=files, **more)
    return vars(files)


def changed(**settings):
    return TrainingSettings(**{**SETTINGS.__dict__, **settings})
