"""Cellpose 3 as a worker: the network of its models `nuclei` and `cyto3` with random weights, and its instances.

    python cellpose_net.py FOLDER

FOLDER holds the field; see worker.py for what is read and printed. The image is not rescaled. Instances are the
package's dynamics, with its default thresholds, along the flows that Cellpose would be trained to predict for the true
labels: random weights find nothing.
"""

import sys

import numpy as np
import torch
from cellpose.core import run_net
from cellpose.dynamics import masks_to_flows, resize_and_compute_masks
from cellpose.resnet_torch import CPnet
from cellpose.transforms import convert_image, normalize_img
from worker import read_field, serve

CHANNELS = [2, 32, 64, 128, 256]
MAPS = 3
FLOW_SCALE = 5
"""What the network learns is a flow of unit length, times this."""


def main() -> None:
    image, truth = read_field(sys.argv[1])
    torch.set_num_threads(1)
    torch.manual_seed(0)
    network = CPnet(CHANNELS, MAPS, sz=3, mkldnn=True).eval()  # as the package on a CPU
    flows = (FLOW_SCALE * masks_to_flows(truth.astype(np.int64))).astype(np.float32)
    probabilities = np.where(truth, 6, -6).astype(np.float32)

    def predict() -> np.ndarray:
        pixels = convert_image(image, channels=[0, 0], nchan=CHANNELS[0])
        return run_net(network, normalize_img(pixels[np.newaxis], norm3D=False), tile_overlap=0.1, bsize=224)[0]

    serve(predict, lambda _: resize_and_compute_masks(flows, probabilities))


if __name__ == "__main__":
    main()
