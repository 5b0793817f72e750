"""What is doubtful about the nuclei of an image, as `equinuclei segment` tells it."""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from equinuclei.images.flags import Findings, Flag, ModelKnows, Remedies, judge
from equinuclei.images.quality import contrast_score, saturated_share, sharpness_score, skewness_score
from equinuclei.inference.nuclei import Segmentation

IMAGE_COLUMNS = (
    "nuclei", "diameter", "magnification", "mean_probability", "solidity", "contrast", "skewness", "sharpness",
    "saturated", "flags", "reasons",
)  # fmt: skip
"""Columns of the table of images, after the image's name."""

REMEDIES = Remedies(
    invert="run again with --invert",
    model="choose a --model",
    diameter="look at the outlines, and tell the size of most nuclei with --diameter",
)


@dataclass(frozen=True)
class JudgedImage:
    """What was measured of an image, and the flags that it has."""

    findings: Findings
    flags: list[Flag]

    def row(self) -> dict[str, Any]:
        """`IMAGE_COLUMNS` of the table of images."""
        found = vars(self.findings)
        told = {"flags": "; ".join(f.kind for f in self.flags), "reasons": "; ".join(f.text for f in self.flags)}
        return {name: found[name] for name in IMAGE_COLUMNS if name in found} | {"nuclei": self.findings.count} | told

    def told(self) -> str:
        """A line of a log: how many nuclei, and every flag with its reason."""
        nuclei = f"{self.findings.count} nuclei"
        size = "" if math.isnan(self.findings.diameter) else f" of about {self.findings.diameter:.0f} pixels"
        doubts = ". ".join(f"{flag.kind.upper()}: {flag.text}" for flag in self.flags)
        return f"{nuclei}{size}. {doubts}" if doubts else f"{nuclei}{size}"


def judge_image(
    image: np.ndarray, found: Segmentation, nuclei: pd.DataFrame, *, model: ModelKnows, told: float | str | None
) -> JudgedImage:
    """The flags of an image (y, x), stored dtype.

    nuclei : of `equinuclei.images.measure.measure_nuclei`, with their probability. told : the diameter that
    `segment_image` was given.
    """
    count, inside = len(nuclei), found.labels > 0
    findings = Findings(
        count=count,
        mean_probability=float(nuclei["probability"].mean()) if count else math.nan,
        solidity=float(np.average(nuclei["solidity"], weights=nuclei["area"])) if count else math.nan,
        contrast=contrast_score(image, inside),
        skewness=skewness_score(image),
        sharpness=sharpness_score(image, inside, found.diameter),
        saturated=saturated_share(image),
        diameter=found.diameter,
        told=told if isinstance(told, float | int) else None,
        magnification=found.magnification,
        at_limit=found.estimate is not None and found.estimate.at_limit,
    )
    return JudgedImage(findings, judge(findings, model, REMEDIES))
