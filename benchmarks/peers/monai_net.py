"""MONAI as a worker: a U-Net with random weights in its sliding window. MONAI makes no instances.

    python monai_net.py FOLDER

FOLDER holds the field; see worker.py for what is read and printed.
"""

import sys

import torch
from monai.inferers import sliding_window_inference
from monai.networks.nets import UNet
from monai.transforms import NormalizeIntensity
from worker import read_field, serve

WINDOW, OVERLAP, BATCH = 256, 0.25, 4


def main() -> None:
    image, _ = read_field(sys.argv[1])
    torch.set_num_threads(1)
    torch.manual_seed(0)
    network = UNet(2, 1, 2, channels=(16, 32, 64, 128, 256), strides=(2, 2, 2, 2), num_res_units=2).eval()
    normalize = NormalizeIntensity()

    @torch.inference_mode()
    def predict() -> torch.Tensor:
        pixels = torch.as_tensor(normalize(image))[None, None]
        return sliding_window_inference(pixels, WINDOW, BATCH, network, overlap=OVERLAP)

    serve(predict)


if __name__ == "__main__":
    main()
