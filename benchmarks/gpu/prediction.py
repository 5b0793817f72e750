"""Checks of predictions: exact under turns, and those of a CPU."""

import subprocess
import sys

from benchmarks.gpu.samples import CheckError, normalised_field, scratch, shipped_network, simulated_field


def exact_mode(device: str) -> str:
    """The shipped model in exact mode gives the same bits for the turned field, turned back."""
    import torch

    from equinuclei.inference.whole_images import predict_maps

    network, results = shipped_network(device), []
    image = torch.from_numpy(normalised_field(device, network))[None, None].to(device)
    with torch.inference_mode():
        for dtype in (torch.float32, torch.bfloat16):
            network, image = network.to(dtype), image.to(dtype)
            largest = {}
            for exact in (True, False):
                maps = predict_maps(network, image, exact=exact)
                largest[exact] = max(
                    (g.inverse(predict_maps(network, g(image).contiguous(), exact=exact)) - maps).abs().max().item()
                    for g in network.group.elements
                )
            results.append(f"{str(dtype).removeprefix('torch.')} {largest[True]:g} (as trained {largest[False]:.1e})")
            if largest[True] != 0:
                raise CheckError(f"largest difference under turns: {results[-1]}")
    return f"largest difference under turns: {', '.join(results)}"


def same_maps(device: str) -> str:
    """The maps of a field on the GPU and on the CPU, whole and in tiles."""
    import numpy as np

    from equinuclei.inference.tiling import predict_mosaic
    from equinuclei.networks.folding import fold

    image = simulated_field(device)
    reference = predict_mosaic(fold(shipped_network("cpu")), image)
    network = fold(shipped_network(device))
    whole, again = (predict_mosaic(network, image, device=device) for _ in range(2))
    tiled = predict_mosaic(network, image, device=device, tile=len(image) // 3, whole_pixels=0)
    if not np.array_equal(whole, again):
        raise CheckError("the same field has other maps the second time")
    scale = np.abs(reference).max()
    errors = [np.abs(maps - of).max() / scale for maps, of in ((whole, reference), (tiled, whole))]
    flipped = np.count_nonzero((whole[0] > 0) != (reference[0] > 0))
    result = f"largest relative difference {errors[0]:.1e}, {flipped} pixels flipped; in tiles {errors[1]:.1e}"
    if max(errors) > 1e-3 or flipped > image.size / 1e4:
        raise CheckError(result)
    return result


def same_labels(device: str) -> str:
    """`equinuclei segment` on the GPU and on the CPU."""
    import numpy as np
    import tifffile

    from equinuclei.images.metrics import object_scores

    with scratch() as folder:
        (folder / "images").mkdir()
        for seed in range(3):
            tifffile.imwrite(folder / "images" / f"{seed}.tif", simulated_field(device, seed))
        for where, on in (("gpu", device), ("cpu", "cpu")):
            command = [sys.executable, "-m", "equinuclei", "segment", "--device", on]
            subprocess.run([*command, folder / "images", folder / where], check=True)
        pairs = [
            [tifffile.imread(folder / where / "labels" / f"{seed}.tif") for where in ("cpu", "gpu")]
            for seed in range(3)
        ]
    identical = sum(np.array_equal(*pair) for pair in pairs)
    worst = min(float(object_scores(*pair, (0.9,))["F1"].iloc[0]) for pair in pairs)
    nuclei = sum(int(pair[0].max()) for pair in pairs)
    result = f"{identical} of 3 label images equal, {nuclei} nuclei, least object F1 at IoU 0.9: {worst:.4f}"
    if worst < 0.99:
        raise CheckError(result)
    return result
