"""The project's networks as a worker: the whole step of a trained one, and a plain network with random weights.

    python ours.py float32 FOLDER WEIGHTS
    python ours.py bfloat16 FOLDER WEIGHTS
    python ours.py onnxruntime FOLDER EXPORTED.onnx
    python ours.py plain FOLDER
    python ours.py tta4 FOLDER

FOLDER holds the field; see worker.py for what is read and printed.
"""

import json
import sys

import numpy as np
import onnxruntime
import torch
from torch import Tensor
from worker import read_field, serve

from equinuclei.images.instances import parted_nuclei
from equinuclei.images.intensity import normalize
from equinuclei.images.masks import to_distance
from equinuclei.inference.tiling import predict_mosaic
from equinuclei.inference.whole_images import predict_tta4
from equinuclei.networks.build import build_model
from equinuclei.networks.checkpoint import load_model
from equinuclei.networks.device import prepare_torch
from equinuclei.networks.folding import fold
from equinuclei.networks.targets import target_of
from equinuclei.specs import ModelSpec

# As many parameters as the p4 network of the model library.
PLAIN = ModelSpec("simplified-bn", "trivial", (8, 16, 32, 64, 128), target="distance")


class Exported:
    """A network in ONNX Runtime, with what `predict_mosaic` asks of one."""

    def __init__(self, onnx_file: str) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        self.session = onnxruntime.InferenceSession(onnx_file, options, providers=["CPUExecutionProvider"])
        metadata = {key: json.loads(text) for key, text in self.session.get_modelmeta().custom_metadata_map.items()}
        self.target = metadata["target"]
        frame = metadata["input"]
        self.normalization = frame["normalization"]
        self.input_multiple, self.reach = frame["multiple"], frame["reach"]

    def __call__(self, images: Tensor) -> Tensor:
        return torch.from_numpy(self.session.run(None, {"image": images.numpy()})[0])


def main() -> None:
    method, folder, *weights = sys.argv[1:]
    image, truth = read_field(folder)
    device = prepare_torch("cpu", 1, deterministic=True)
    torch.manual_seed(0)
    if method == "onnxruntime":
        network = Exported(*weights)
    else:
        network = fold(load_model(*weights, device) if weights else build_model(PLAIN).eval())
    target = target_of(network.target)
    true_codes = to_distance(truth, "instances", border_as="nucleus")

    def predict() -> np.ndarray:
        if method == "tta4":
            with torch.inference_mode():
                return predict_tta4(network, torch.from_numpy(normalize(image, network.normalization))[None, None])[
                    0
                ].numpy()
        with torch.autocast("cpu", torch.bfloat16, enabled=method == "bfloat16"):
            return predict_mosaic(network, image, device=device)

    def label(maps: np.ndarray) -> np.ndarray:
        codes = target.codes(maps)
        # Random weights find nothing: what is labelled is the truth, so that there is as much of it as there would be.
        return parted_nuclei(codes if weights else true_codes, network.target)

    serve(predict, label)


if __name__ == "__main__":
    main()
