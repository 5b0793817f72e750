"""Names and specs of the networks.

This module imports no torch: the workflow reads the names from it while it is parsed, in an environment that may hold
Snakemake alone. `equinuclei.networks.build.build_model` makes a network of a spec.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace

from equinuclei.errors import InputError, check_known

# Architecture -> (module in equinuclei.networks, class, further arguments of the class).
ARCHITECTURES = {
    "unet": ("unet", "UNet", {}),
    "simplified": ("simplified_unet", "SimplifiedUNet", {}),
    "simplified-bn": ("simplified_unet", "SimplifiedUNet", {"batch_norm": True}),
    "simplified-bn-strided": ("simplified_unet", "SimplifiedUNet", {"batch_norm": True, "strided": True}),
    "gdensenet": ("gdensenet", "GDenseNet", {}),
    "gunet": ("gunet", "GUNet", {}),
}
GROUPS = ("trivial", "p4", "p4m")
# What a network learns -> maps that it makes of an image; see `equinuclei.networks.targets`.
TARGETS = {"binary": 1, "distance": 2, "three_class": 3}
# What an image is brought to before a network sees it; see `equinuclei.images.intensity`.
NORMALIZATIONS = ("standard", "percentile")
# How a prediction becomes nuclei; see `equinuclei.images.instances.nuclei`.
INSTANCES = ("components", "watershed")
# Otsu's threshold takes part in every table as if it were a model: the floor that a network has to rise above.
OTSU = "otsu"
AUGMENTATIONS = ("none", "rotations", "dihedral")
# Inference modes, in the order of the tables: how an image is predicted -> network evaluations per image.
INFERENCES = {"deployed": 1, "exact": 1, "canonical": 1, "tta4": 4, "tta8": 8}

# Settings of a model that came later than the first weights.
YOUNGER = ("target", "normalization", "diameter")


@dataclass(frozen=True)
class ModelSpec:
    """One model of a comparison.

    architecture: a key of ARCHITECTURES; group: trivial, p4 or p4m; widths: channels per group element and level,
    the bottleneck's last (of GDenseNet: those that a level adds); augmentation: what its training crops undergo (none,
    rotations, dihedral); target: what it learns, a key of TARGETS; normalization: one of NORMALIZATIONS; diameter: that
    of the typical nucleus, in pixels, at which it works best: it learns from images magnified to it (before
    `training.zoom`), and folders and plates may be magnified to it. None: it learns from images as they come.
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
        """The spec as plain JSON values, without what weights tell nothing of that are older than the choice."""
        spec = asdict(self) | {"widths": list(self.widths)}
        usual = {field.name: field.default for field in fields(self)}
        return {key: value for key, value in spec.items() if key not in YOUNGER or value != usual[key]}


# Equal parameters across the groups: p4 has half the plain net's width, p4m the width divided by sqrt(8). `-wide` is
# the plain net whose computing cost equals that of p4. p4 competes with rotations (`-rot`), p4m with the whole dihedral
# group (`-aug`).
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
    "simplified-bn-p4": ModelSpec("simplified-bn", "p4", (4, 8, 16, 32, 64)),
    "strided-p4": ModelSpec("simplified-bn-strided", "p4", (8, 16, 32, 64, 64)),
    "simplified-p4m": ModelSpec("simplified", "p4m", (3, 6, 11, 23, 45)),
    "gdensenet": ModelSpec("gdensenet", "trivial", (26,) * 6),
    "gdensenet-p4": ModelSpec("gdensenet", "p4", (13,) * 6),
    "gdensenet-p4m": ModelSpec("gdensenet", "p4m", (9,) * 6),
    "gunet": ModelSpec("gunet", "trivial", (16, 32, 64, 128, 128)),
    "gunet-p4": ModelSpec("gunet", "p4", (8, 16, 32, 64, 64)),
    "gunet-p4m": ModelSpec("gunet", "p4m", (6, 12, 24, 48, 48)),
}


def resolve_spec(spec: "str | Mapping | ModelSpec") -> ModelSpec:
    """The full spec of a preset's name, or of a mapping: a `preset` and what differs from it, or every field.

    Raises InputError for an unknown name or field, listing the known ones.
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
