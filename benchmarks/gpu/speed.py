"""Timings: networks, segmentation and training steps."""

import statistics
import time
from collections.abc import Callable

from benchmarks.gpu.samples import normalised_field, shipped_network, simulated_field


def network_speed(device: str, precision: str) -> str:
    """Fields per second of the default network alone, padding included, one field and eight at a time."""
    import torch

    from equinuclei.inference.whole_images import predict_maps
    from equinuclei.networks.folding import fold

    network = fold(shipped_network(device))
    field = torch.from_numpy(normalised_field(device, network))[None, None].to(device)
    results = []
    for batch in (1, 8) if device == "cuda" else (1,):
        fields = field.expand(batch, -1, -1, -1).contiguous()
        reset_peak_memory(device)
        with torch.inference_mode(), torch.autocast(device, torch.bfloat16, enabled=precision == "bfloat16"):
            seconds = seconds_per_call(lambda fields=fields: predict_maps(network, fields), device)
        results.append(f"{batch / seconds:.1f} (batches of {batch}{peak_memory(device)})")
    return f"fields per second: {', '.join(results)}"


def segmentation_speed(device: str) -> str:
    """Fields per second from pixels in memory to labels."""
    from equinuclei.inference.nuclei import segment_image
    from equinuclei.networks.folding import fold

    network, image = fold(shipped_network(device)), simulated_field(device)
    reset_peak_memory(device)
    seconds = seconds_per_call(lambda: segment_image(network, image, diameter=None, device=device), device)
    return f"fields per second: {1 / seconds:.1f}{peak_memory(device)}"


def training_speed(device: str) -> str:
    """Steps per second in bfloat16, batches of 16 crops of 256 x 256 pixels."""
    import torch
    from torch.nn import functional

    from equinuclei.networks.build import build_model
    from equinuclei.networks.device import prepare_torch
    from equinuclei.networks.layers import use_channels_last
    from equinuclei.specs import PRESETS

    prepare_torch(device, 1, deterministic=True)
    batch, crop = (16, 256) if device == "cuda" else (2, 64)
    images = torch.randn(batch, 1, crop, crop, device=device)
    truth, results = (images > 1).float(), []
    for preset in ("simplified-p4", "unet-p4m"):
        network = build_model(PRESETS[preset]).to(device)
        use_channels_last(network)
        optimizer = torch.optim.Adam(network.parameters())

        def step(network=network, optimizer=optimizer):
            optimizer.zero_grad()
            with torch.autocast(device, torch.bfloat16):
                maps = network(images).float()
            functional.binary_cross_entropy_with_logits(maps, truth).backward()
            optimizer.step()

        reset_peak_memory(device)
        results.append(f"{preset} {1 / seconds_per_call(step, device):.1f}{peak_memory(device)}")
    return f"steps per second: {', '.join(results)}"


def seconds_per_call(function: Callable[[], object], device: str, budget: float = 8.0) -> float:
    """Median seconds of a call, over as many as fit in `budget` seconds (at most 30); the first two are not counted."""
    import torch

    def timed() -> float:
        start = time.perf_counter()
        function()
        if device == "cuda":
            torch.cuda.synchronize()
        return time.perf_counter() - start

    warm = [timed() for _ in range(2)]
    return statistics.median(timed() for _ in range(max(3, min(30, int(budget / warm[-1])))))


def reset_peak_memory(device: str) -> None:
    """Begin to measure anew."""
    import torch

    if device == "cuda":
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()


def peak_memory(device: str) -> str:
    """In words, for a table; empty on a CPU."""
    import torch

    return f", peak {torch.cuda.max_memory_allocated() / 2**30:.2f} GiB" if device == "cuda" else ""
