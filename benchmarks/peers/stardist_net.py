"""StarDist as a worker: its network for fluorescence (`2D_versatile_fluo`) with random weights, and its instances.

    python stardist_net.py FOLDER

FOLDER holds the field; see worker.py for what is read and printed. Instances are non-maximum suppression and the
drawing of the polygons, with the package's thresholds, of the distances and probabilities that StarDist would be
trained to predict for the true labels: random weights find nothing.
"""

import sys

import numpy as np
import tensorflow as tf
from csbdeep.utils import normalize
from stardist.geometry import star_dist
from stardist.models import Config2D, StarDist2D
from stardist.utils import edt_prob
from worker import read_field, serve

RAYS, GRID = 32, (2, 2)


def main() -> None:
    image, truth = read_field(sys.argv[1])
    tf.config.threading.set_intra_op_parallelism_threads(1)
    tf.config.threading.set_inter_op_parallelism_threads(1)
    tf.keras.utils.set_random_seed(0)
    config = Config2D(n_channel_in=1, n_rays=RAYS, grid=GRID, unet_n_depth=3, unet_n_filter_base=32)
    model = StarDist2D(config, basedir=None)
    labels = truth.astype(np.int32)
    distances = star_dist(labels, n_rays=RAYS, grid=GRID)
    probabilities = edt_prob(labels)[:: GRID[0], :: GRID[1]]

    serve(
        lambda: model.predict(normalize(image, 1, 99.8)),
        lambda _: model._instances_from_prediction(image.shape, probabilities, distances)[0],
    )


if __name__ == "__main__":
    main()
