"""StarDist trained for so many minutes of CPU, and what it finds in images that it did not learn from.

    python stardist_training.py FOLDER MINUTES

FOLDER/train and FOLDER/scored hold a file per image, .npz: `image` (y, x), and in train `labels` (y, x). Writes
FOLDER/found/<name>.npy: labels (4, y, x), int32, of the image and its turns by 90, 180 and 270 degrees, each as the
network finds it in the turned image and turned back.

Network, patches, batches, learning rate and augmentation are those of the package's own example for the Data Science
Bowl's images (https://github.com/stardist/stardist, examples/2D), with the grid of `2D_versatile_fluo`; its learning
rate falls along a cosine to be at an end with the minutes. Thresholds are chosen by the package on training images.
"""

import math
import sys
import time
from functools import partial
from pathlib import Path

import numpy as np
import tensorflow as tf
from csbdeep.utils import normalize
from stardist.models import Config2D, StarDist2D

THRESHOLD_IMAGES = 60
"""Training images that the thresholds are chosen on."""


class Budget(tf.keras.callbacks.Callback):
    """Ends training when its seconds of CPU are spent, and lets the learning rate fall until then."""

    def __init__(self, seconds: float, learning_rate: float) -> None:
        super().__init__()
        self.seconds, self.learning_rate = seconds, learning_rate
        self.start = time.process_time()
        self.steps = 0

    def on_train_batch_begin(self, batch: int, logs: dict | None = None) -> None:
        spent = min(1.0, (time.process_time() - self.start) / self.seconds)
        self.model.optimizer.learning_rate = self.learning_rate * (1 + math.cos(math.pi * spent)) / 2

    def on_train_batch_end(self, batch: int, logs: dict | None = None) -> None:
        self.steps += 1
        self.model.stop_training = time.process_time() - self.start > self.seconds


def augment(image: np.ndarray, labels: np.ndarray, generator: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Turns, mirrors, brightness and noise, as of the package's example."""
    turns, mirrored = generator.integers(4), generator.random() < 0.5
    image, labels = (np.rot90(array, turns) for array in (image, labels))
    if mirrored:
        image, labels = image[:, ::-1], labels[:, ::-1]
    image = image * generator.uniform(0.6, 2) + generator.uniform(-0.2, 0.2)
    return image + 0.02 * generator.uniform() * generator.normal(0, 1, image.shape), labels


def main() -> None:
    folder, minutes = Path(sys.argv[1]), float(sys.argv[2])
    tf.keras.utils.set_random_seed(0)
    generator = np.random.default_rng(0)
    training = [np.load(path) for path in sorted(folder.glob("train/*.npz"))]
    images = [normalize(stored["image"], 1, 99.8) for stored in training]
    labels = [stored["labels"].astype(np.int32) for stored in training]
    config = Config2D(n_channel_in=1, n_rays=32, grid=(2, 2), train_tensorboard=False, train_reduce_lr=None)
    model = StarDist2D(config, basedir=None)
    model.prepare_for_training()
    budget = Budget(60 * minutes, config.train_learning_rate)
    model.callbacks.append(budget)
    chosen = generator.permutation(len(images))[:THRESHOLD_IMAGES]
    some = [images[n] for n in chosen], [labels[n] for n in chosen]
    # It asks for images to follow the loss on; nothing depends on them.
    model.train(
        images,
        labels,
        validation_data=tuple(part[:4] for part in some),
        augmenter=partial(augment, generator=generator),
        seed=0,
    )
    thresholds = model.optimize_thresholds(*some, save_to_json=False)
    print(f"{budget.steps} steps, {(time.process_time() - budget.start) / 60:.1f} minutes of CPU, {thresholds}")

    (folder / "found").mkdir()
    for path in sorted(folder.glob("scored/*.npz")):
        image = np.load(path)["image"]
        found = [
            np.rot90(model.predict_instances(normalize(np.rot90(image, turn), 1, 99.8))[0], -turn) for turn in range(4)
        ]
        np.save(folder / "found" / f"{path.stem}.npy", np.stack(found))


if __name__ == "__main__":
    main()
