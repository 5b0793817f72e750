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
from bioimageio.spec.common import FileDescr, HttpUrl, ValidationError
from bioimageio.spec.generic.v0_3 import Author, CiteEntry, DeprecatedLicenseId
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

_IMAGE_AXES = [v0_5.AxisId(name) for name in ("channel", "y", "x")]
PREPROCESSING: dict[str, list[v0_5.PreprocessingDescr]] = {
    "standard": [v0_5.ZeroMeanUnitVarianceDescr(kwargs=v0_5.ZeroMeanUnitVarianceKwargs(axes=_IMAGE_AXES))],
    "percentile": [
        v0_5.ScaleRangeDescr(
            kwargs=v0_5.ScaleRangeKwargs(axes=_IMAGE_AXES, min_percentile=PERCENTILES[0], max_percentile=PERCENTILES[1])
        ),
        v0_5.ScaleLinearDescr(kwargs=v0_5.ScaleLinearKwargs(gain=PERCENTILE_RANGE)),
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
    least, _ = _frame(metadata)
    image = simulate_field("HeLa", 0, least, least + metadata["input"]["multiple"]).images[modality]
    session = onnxruntime.InferenceSession(str(onnx_file), providers=["CPUExecutionProvider"])
    maps = session.run(None, {"image": normalize(image, metadata["input"]["normalization"])[np.newaxis, np.newaxis]})[0]
    with tempfile.TemporaryDirectory() as folder:
        files = {key: Path(folder, key) for key in ("image.npy", "logits.npy", "README.md")}
        np.save(files["image.npy"], image.astype(np.float32)[np.newaxis, np.newaxis])
        np.save(files["logits.npy"], maps)
        files["README.md"].write_text(_documentation(model, modality, metadata), encoding="utf-8")
        description = v0_5.ModelDescr(
            name=f"Equinuclei {model}",
            description=f"Cell nuclei in {modality} images; {SYMMETRIES[metadata['spec']['group']]}.",
            documentation=FileDescr(source=files["README.md"]),
            authors=[Author(name="The Equinuclei developers")],
            cite=_citations(about),
            license=_licence(about),
            tags=["nuclei", "segmentation", "rotation-equivariant", modality],
            inputs=[_input(modality, metadata, files["image.npy"])],
            outputs=[_output(metadata, files["logits.npy"])],
            weights=v0_5.WeightsDescr(
                onnx=v0_5.OnnxWeightsDescr(
                    source=Path(onnx_file), opset_version=onnx.load(onnx_file).opset_import[0].version
                )
            ),
        )
        with replacing(package) as temporary:
            save_bioimageio_package(description, output_path=temporary)


def _frame(metadata: Mapping[str, Any]) -> tuple[int, int]:
    """Smallest height or width of an image, and the border of the maps that its edges influence, in pixels."""
    multiple, reach = metadata["input"]["multiple"], metadata["input"]["reach"]
    halo = -(-reach // multiple) * multiple
    # Simulated fields have a smallest size; multiples are powers of two.
    return max(2 * halo + multiple, 4 * multiple, 64), halo


def _citations(about: Mapping[str, str]) -> list[CiteEntry]:
    if "citation" not in about:
        return []
    return [CiteEntry(text=about["citation"], url=HttpUrl(about["url"]) if "url" in about else None)]


def _licence(about: Mapping[str, str]) -> v0_5.LicenseId | DeprecatedLicenseId | None:
    if "licence" not in about:
        return None
    try:
        return v0_5.LicenseId(about["licence"])
    except ValidationError:
        return DeprecatedLicenseId(about["licence"])


def _input(modality: str, metadata: Mapping[str, Any], test_image: Path) -> v0_5.InputTensorDescr:
    """The image as the program hands it over, (batch, channel, y, x)."""
    least, _ = _frame(metadata)
    any_size = v0_5.ParameterizedSize(min=least, step=metadata["input"]["multiple"])
    return v0_5.InputTensorDescr(
        id=v0_5.TensorId("image"),
        axes=[
            v0_5.BatchAxis(),
            v0_5.ChannelAxis(channel_names=[v0_5.Identifier(modality)]),
            *(v0_5.SpaceInputAxis(id=v0_5.AxisId(axis), size=any_size) for axis in "yx"),
        ],
        test_tensor=FileDescr(source=test_image),
        data=v0_5.IntervalOrRatioDataDescr(type="float32"),
        preprocessing=PREPROCESSING[metadata["input"]["normalization"]],
    )


def _output(metadata: Mapping[str, Any], test_maps: Path) -> v0_5.OutputTensorDescr:
    """The maps of the network, (batch, channel, y, x), as large as the image."""
    _, halo = _frame(metadata)
    names = [v0_5.AxisId(axis) for axis in "yx"]
    size = {name: v0_5.SizeReference(tensor_id=v0_5.TensorId("image"), axis_id=name) for name in names}
    return v0_5.OutputTensorDescr(
        id=v0_5.TensorId("logits"),
        axes=[
            v0_5.BatchAxis(),
            v0_5.ChannelAxis(channel_names=[v0_5.Identifier(name) for name in MAPS[metadata["target"]]]),
            *(v0_5.SpaceOutputAxisWithHalo(id=name, halo=halo, size=size[name]) for name in names),
        ],
        test_tensor=FileDescr(source=test_maps),
    )


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
