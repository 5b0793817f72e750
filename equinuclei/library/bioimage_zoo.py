"""A trained network as a package of the BioImage Model Zoo, for the programs that read these, such as ilastik.

The format is that of `bioimageio.spec` 0.5; `bioimageio.core` runs a package's own test.
"""

import json
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
from bioimageio.spec import save_bioimageio_package
from bioimageio.spec.common import FileDescr
from bioimageio.spec.generic.v0_3 import Author, CiteEntry
from bioimageio.spec.model import v0_5

from equinuclei.images.intensity import PERCENTILE_RANGE, PERCENTILES, normalize
from equinuclei.library.names import NORMALIZATION_IN_WORDS
from equinuclei.runtime.files import replacing
from equinuclei.simulation.fields import simulate_field

MAPS = {
    "binary": ["foreground_logit"],
    "distance": ["foreground_logit", "distance_to_border"],
    "three_class": ["background_logit", "border_logit", "nucleus_logit"],
}
"""Names of the maps of a network by its target (`equinuclei.networks.targets`)."""

SYMMETRIES = {
    "trivial": "a plain network",
    "p4": "exactly equivariant under quarter turns",
    "p4m": "exactly equivariant under quarter turns and mirrors",
}

_IMAGE = {"axes": ["channel", "y", "x"]}
PREPROCESSING = {
    "standard": [v0_5.ZeroMeanUnitVarianceDescr(kwargs=_IMAGE)],
    "percentile": [
        v0_5.ScaleRangeDescr(kwargs=_IMAGE | {"min_percentile": PERCENTILES[0], "max_percentile": PERCENTILES[1]}),
        v0_5.ScaleLinearDescr(kwargs={"gain": PERCENTILE_RANGE}),
    ],
}
"""The normalisations of `equinuclei.images.intensity` in the words of the format."""


def write_package(
    package: str | Path,
    *,
    onnx_file: str | Path,
    model: str,
    modality: str,
    metadata: Mapping[str, Any],
    about: Mapping[str, str],
) -> None:
    """Write a package (.zip) of a network that was exported to ONNX.

    model, modality : their names in the study; metadata : what `export.export_model` returns of the network; about :
    `licence` (an SPDX identifier), `citation` and `url` of the data that it learnt from, each of which may be missing.

    The test image is a simulated field, so that a package holds no pixel of the data.
    """
    multiple, reach, target = metadata["input"]["multiple"], metadata["input"]["reach"], metadata["target"]
    group = metadata["spec"]["group"]
    halo = -(-reach // multiple) * multiple
    least = 2 * halo + multiple
    least = max(least, 4 * multiple, 64)  # simulated fields have a least size; multiples are powers of two
    image = simulate_field("HeLa", 0, least, least + multiple).images[modality]
    session = onnxruntime.InferenceSession(str(onnx_file), providers=["CPUExecutionProvider"])
    maps = session.run(None, {"image": normalize(image, metadata["input"]["normalization"])[np.newaxis, np.newaxis]})[0]
    with tempfile.TemporaryDirectory() as folder:
        files = {key: Path(folder, key) for key in ("image.npy", "logits.npy", "README.md")}
        np.save(files["image.npy"], image.astype(np.float32)[np.newaxis, np.newaxis])
        np.save(files["logits.npy"], maps)
        files["README.md"].write_text(_documentation(model, modality, metadata), encoding="utf-8")
        any_size = v0_5.ParameterizedSize(min=least, step=multiple)
        size = {axis: v0_5.SizeReference(tensor_id="image", axis_id=axis) for axis in "yx"}
        description = v0_5.ModelDescr(
            name=f"Equinuclei {model}",
            description=f"Cell nuclei in {modality} images; {SYMMETRIES[group]}.",
            documentation=FileDescr(source=files["README.md"]),
            authors=[Author(name="The Equinuclei developers")],
            cite=[CiteEntry(text=about["citation"], url=about.get("url"))] if "citation" in about else [],
            license=about.get("licence"),
            tags=["nuclei", "segmentation", "rotation-equivariant", modality],
            inputs=[
                v0_5.InputTensorDescr(
                    id="image",
                    axes=[
                        v0_5.BatchAxis(),
                        v0_5.ChannelAxis(channel_names=[modality]),
                        *(v0_5.SpaceInputAxis(id=axis, size=any_size) for axis in "yx"),
                    ],
                    test_tensor=FileDescr(source=files["image.npy"]),
                    data=v0_5.IntervalOrRatioDataDescr(type="float32"),
                    preprocessing=PREPROCESSING[metadata["input"]["normalization"]],
                )
            ],
            outputs=[
                v0_5.OutputTensorDescr(
                    id="logits",
                    axes=[
                        v0_5.BatchAxis(),
                        v0_5.ChannelAxis(channel_names=MAPS[target]),
                        *(v0_5.SpaceOutputAxisWithHalo(id=axis, halo=halo, size=size[axis]) for axis in "yx"),
                    ],
                    test_tensor=FileDescr(source=files["logits.npy"]),
                )
            ],
            weights=v0_5.WeightsDescr(
                onnx=v0_5.OnnxWeightsDescr(
                    source=Path(onnx_file), opset_version=onnx.load(onnx_file).opset_import[0].version
                )
            ),
        )
        with replacing(package) as temporary:
            save_bioimageio_package(description, output_path=temporary)


def _documentation(model: str, modality: str, metadata: Mapping[str, Any]) -> str:
    frame, maps = metadata["input"], MAPS[metadata["target"]]
    diameter = metadata["spec"].get("diameter")
    return "\n".join(
        [
            f"# {model}",
            "",
            f"Segmentation of cell nuclei in {modality} images, by a network that is "
            f"{SYMMETRIES[metadata['spec']['group']]}.",
            "",
            f"Input: one channel, {NORMALIZATION_IN_WORDS[frame['normalization']]}; height and width are",
            f"multiples of {frame['multiple']} pixels. Output: {', '.join(maps)}. A foreground logit above 0 is a",
            f"pixel of a nucleus. A pixel is influenced by others up to {frame['reach']} pixels away.",
            *([f"It works best where the typical nucleus is {diameter:g} pixels across."] if diameter else []),
            "",
            "```json",
            json.dumps({key: metadata[key] for key in ("spec", "equivariance") if key in metadata}, indent=2),
            "```",
            "",
        ]
    )
