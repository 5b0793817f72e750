"""Names and specs of the networks.

This module does not import torch: Snakemake reads the names while it parses the workflow, in an environment that may
contain nothing but Snakemake. `equinuclei.networks.build.build_model` builds a network from a spec.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace

from equinuclei.errors import InputError, check_known

# Architecture -> (module in equinuclei.networks, class, additional arguments of the class).
ARCHITECTURES = {
    "unet": ("unet", "UNet", {}),
    "simplified": ("simplified_unet", "SimplifiedUNet", {}),
    "simplified-bn": ("simplified_unet", "SimplifiedUNet", {"batch_norm": True}),
    "simplified-bn-strided": ("simplified_unet", "SimplifiedUNet", {"batch_norm": True, "strided": True}),
    "gdensenet": ("gdensenet", "GDenseNet", {}),
    "gunet": ("gunet", "GUNet", {}),
}
GROUPS = ("trivial", "p4", "p4m")
# What a network learns -> number of maps it predicts; see `equinuclei.networks.targets`.
TARGETS = {"binary": 1, "distance": 2, "three_class": 3}
# How an image is normalised before a network sees it; see `equinuclei.images.intensity`.
NORMALIZATIONS = ("standard", "percentile")
# How a prediction is turned into nuclei; see `equinuclei.images.instances.nuclei`.
INSTANCES = ("components", "watershed")
# Otsu's threshold appears in every table as if it were a model: the baseline that a network has to beat.
OTSU = "otsu"
AUGMENTATIONS = ("none", "rotations", "dihedral")
# Inference modes in the order of the tables -> network evaluations per image.
INFERENCES = {"deployed": 1, "exact": 1, "canonical": 1, "tta4": 4, "tta8": 8}

# Settings that were introduced after the first weights were published: weights whose metadata lacks them have the
# defaults.
LATER_SETTINGS = ("target", "normalization", "diameter")


@dataclass(frozen=True)
class ModelSpec:
    """One model of a comparison.

    architecture : a key of ARCHITECTURES.
    group : trivial, p4 or p4m.
    widths : channels per group element at each level, the bottleneck last (for GDenseNet, the channels a level adds).
    augmentation : transformations of its training crops (none, rotations, dihedral).
    target : what it learns, a key of TARGETS.
    normalization : one of NORMALIZATIONS.
    diameter : of the typical nucleus, in pixels, that it works best with. It learns from images magnified to this
        diameter (before `training.zoom`), and new images can be magnified to it. None: it learns from images at their
        own scale.
    """

    architecture: str
    group: str
    widths: tuple[int, ...]
    augmentation: str = "none"
    target: str = "binary"
    normalization: str = "standard"
    diameter: float | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "widths", tuple(int(width) for width in self.widths))
        check_known("architecture", self.architecture, ARCHITECTURES)
        check_known("group", self.group, GROUPS)
        check_known("augmentation", self.augmentation, AUGMENTATIONS)
        check_known("target", self.target, TARGETS)
        check_known("normalization", self.normalization, NORMALIZATIONS)

    def to_dict(self) -> dict:
        """The spec as JSON values; LATER_SETTINGS that have their default are left out."""
        spec = asdict(self) | {"widths": list(self.widths)}
        defaults = {field.name: field.default for field in fields(self)}
        return {key: value for key, value in spec.items() if key not in LATER_SETTINGS or value != defaults[key]}


# Networks of one architecture have about equal numbers of parameters: p4 has half the width of the plain network, p4m
# the width divided by sqrt(8). `-wide` is the plain network with the computing cost of p4. p4 competes with
# augmentation by rotations (`-rot`), p4m with augmentation by the whole dihedral group (`-aug`). Every equivariant
# network has its plain twin here, and both of its augmentations: the same layers, batch norm and strides too, without
# symmetry. A comparison with any other network compares more than the symmetry.
PRESETS = {
    "unet": ModelSpec("unet", "trivial", (64,) * 6),
    "unet-aug": ModelSpec("unet", "trivial", (64,) * 6, "dihedral"),
    "unet-rot": ModelSpec("unet", "trivial", (64,) * 6, "rotations"),
    "unet-p4": ModelSpec("unet", "p4", (32,) * 6),
    "unet-p4m": ModelSpec("unet", "p4m", (23,) * 6),
    "simplified": ModelSpec("simplified", "trivial", (8, 16, 32, 64, 128)),
    "simplified-aug": ModelSpec("simplified", "trivial", (8, 16, 32, 64, 128), "dihedral"),
    "simplified-rot": ModelSpec("simplified", "trivial", (8, 16, 32, 64, 128), "rotations"),
    "simplified-wide": ModelSpec("simplified", "trivial", (16, 32, 64, 128, 256)),
    "simplified-p4": ModelSpec("simplified", "p4", (4, 8, 16, 32, 64)),
    "simplified-p4-aug": ModelSpec("simplified", "p4", (4, 8, 16, 32, 64), "rotations"),
    "simplified-bn": ModelSpec("simplified-bn", "trivial", (8, 16, 32, 64, 128)),
    "simplified-bn-aug": ModelSpec("simplified-bn", "trivial", (8, 16, 32, 64, 128), "dihedral"),
    "simplified-bn-rot": ModelSpec("simplified-bn", "trivial", (8, 16, 32, 64, 128), "rotations"),
    "simplified-bn-p4": ModelSpec("simplified-bn", "p4", (4, 8, 16, 32, 64)),
    "strided": ModelSpec("simplified-bn-strided", "trivial", (16, 32, 64, 128, 128)),
    "strided-aug": ModelSpec("simplified-bn-strided", "trivial", (16, 32, 64, 128, 128), "dihedral"),
    "strided-rot": ModelSpec("simplified-bn-strided", "trivial", (16, 32, 64, 128, 128), "rotations"),
    "strided-p4": ModelSpec("simplified-bn-strided", "p4", (8, 16, 32, 64, 64)),
    "simplified-p4m": ModelSpec("simplified", "p4m", (3, 6, 11, 23, 45)),
    "gdensenet": ModelSpec("gdensenet", "trivial", (26,) * 6),
    "gdensenet-aug": ModelSpec("gdensenet", "trivial", (26,) * 6, "dihedral"),
    "gdensenet-rot": ModelSpec("gdensenet", "trivial", (26,) * 6, "rotations"),
    "gdensenet-p4": ModelSpec("gdensenet", "p4", (13,) * 6),
    "gdensenet-p4m": ModelSpec("gdensenet", "p4m", (9,) * 6),
    "gunet": ModelSpec("gunet", "trivial", (16, 32, 64, 128, 128)),
    "gunet-aug": ModelSpec("gunet", "trivial", (16, 32, 64, 128, 128), "dihedral"),
    "gunet-rot": ModelSpec("gunet", "trivial", (16, 32, 64, 128, 128), "rotations"),
    "gunet-p4": ModelSpec("gunet", "p4", (8, 16, 32, 64, 64)),
    "gunet-p4m": ModelSpec("gunet", "p4m", (6, 12, 24, 48, 48)),
}


def resolve_spec(spec: "str | Mapping | ModelSpec") -> ModelSpec:
    """The full spec from the name of a preset, or from a mapping with every field or with a `preset` and changes to it.

    Raises InputError, which lists what is known, for an unknown name or field.
    """
    if isinstance(spec, ModelSpec):
        return spec
    if isinstance(spec, str):
        check_known("model", spec, PRESETS)
        return PRESETS[spec]
    known = [field.name for field in fields(ModelSpec)]
    changes = dict(spec)
    preset = changes.pop("preset", None)
    for key in changes:
        check_known("model setting", key, known)
    if preset is not None:
        return replace(resolve_spec(preset), **changes)
    missing = {"architecture", "group", "widths"} - changes.keys()
    if missing:
        raise InputError(f"model {dict(spec)}: give `preset`, or add {', '.join(sorted(missing))}")
    return ModelSpec(**changes)
