"""Read an OME-Zarr plate or image with ome-zarr-py, as napari's plugin does: its path, then that of an .npz to make."""

import sys

import numpy as np
from ome_zarr.io import parse_url
from ome_zarr.reader import Reader

path, output = sys.argv[1:]
nodes = list(Reader(parse_url(path))())
levels = nodes[0].data
arrays = {f"level{number}": np.asarray(level) for number, level in enumerate(levels)}
metadata = nodes[0].metadata
channels = metadata.get("channel_names") or metadata.get("name") or []
limits = metadata.get("contrast_limits") or []
if len(nodes) > 1:
    arrays |= {f"labels{number}": np.asarray(level) for number, level in enumerate(nodes[-1].data)}
np.savez(output, nodes=len(nodes), channels=np.array(channels, dtype=str), limits=np.array(limits, float), **arrays)
