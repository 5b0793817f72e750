"""Building networks from their specs: `build_model("simplified-p4")`."""

import importlib
from collections.abc import Mapping

from equinuclei.errors import InputError
from equinuclei.networks.network import SegmentationNetwork
from equinuclei.specs import ARCHITECTURES, ModelSpec, resolve_spec


def build_model(spec: "str | Mapping | ModelSpec") -> SegmentationNetwork:
    """Build a network with new weights from the name of a preset, a mapping or a ModelSpec.

    For what it takes and returns see `SegmentationNetwork`. Raises InputError for an unknown name or impossible widths.
    """
    spec = resolve_spec(spec)
    module, name, arguments = ARCHITECTURES[spec.architecture]
    network = getattr(importlib.import_module(f"equinuclei.networks.{module}"), name)
    try:
        built = network(spec.group, spec.widths, target=spec.target, **arguments)
    except ValueError as error:
        raise InputError(f"model {spec.to_dict()}: {error}") from error
    built.normalization, built.diameter = spec.normalization, spec.diameter
    return built
