"""What makes nuclei that were found doubtful: a pure judgement of measured numbers, for single images and for wells.

Thresholds were chosen on groups held out of the training parts; `python -m benchmarks.flags` prints false alarms and
misses on images that took no part in that.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass

from equinuclei.channels import is_brightfield
from equinuclei.images.rescaling import LEAST, MOST

KINDS = (
    "saturated", "inverted", "wrong kind of image", "low contrast", "empty", "out of focus", "unsure", "size",
    "size at the limit",
)  # fmt: skip
"""What flags are called in tables and on pages."""

SATURATED, INVERTED, WRONG_KIND, LOW_CONTRAST, EMPTY, OUT_OF_FOCUS, UNSURE, SIZE, SIZE_LIMIT = KINDS

SATURATED_SHARE = 0.01
"""Of the pixels. The most saturated image of the training part has 0.0099."""

STAINED = 0.5
"""Skewness of an image of bright nuclei on a dark background: fluorescence has 0.77 and more, but for nearly empty
images; brightfield -0.45 to 0.15; inverted fluorescence -0.77 and less."""

OTHER_SIDE = 0.16
"""Skewness beyond which brightfield is inverted, or lies on the other side of the focus."""

BRIGHT = 1.0
"""Contrast beyond which nuclei are bright for brightfield: unstained ones have 0.1 at most."""

LOWEST_CONTRAST = 3.0
"""Stained nuclei stand out by 5 times the noise of the background and more, most by 20; what is found in noise by 2."""

RAGGED = 0.9
"""Solidity of what is no nucleus: pieces of background or noise have 0.85, nuclei 0.92 and more."""


@dataclass(frozen=True)
class Limits:
    """Below these, images of a modality are doubtful.

    sure : mean probability of nuclei. In nine of ten images of fluorescence that a model knows it is 0.88 and more, and
        0.76 in the worst; in brightfield 0.76 and more
    sharp : sharpness, where the mean probability is below `certain` too. A blur by a quarter of the nuclei's diameter
        leaves 1.31 and 0.91 in fluorescence, 1.38 and 0.75 in brightfield at most
    """

    sure: float
    sharp: float
    certain: float


FLUORESCENCE = Limits(sure=0.8, sharp=1.33, certain=0.91)
BRIGHTFIELD = Limits(sure=0.7, sharp=1.5, certain=1.0)

OTHER_SIZE = 1.5
"""Times the diameter that a model knows, or that was told."""

BEYOND_LIMIT = 0.9
"""Share of the smallest diameter that magnification can bring to the model's own, and of the largest (inverse)."""


@dataclass(frozen=True)
class Findings:
    """What was measured of an image, or a well; NaN where it is unknown.

    count : nuclei
    mean_probability : mean over nuclei of their probability
    solidity : mean over nuclei of area by area of the convex hull, weighted by area
    contrast, skewness, sharpness, saturated : of `equinuclei.images.quality`
    diameter : of the typical nucleus, in pixels; told : that which the user gave, None if it was estimated
    magnification : by which the network saw it; None if each field had its own
    at_limit : whether the estimate of the size reached a limit
    """

    count: int
    mean_probability: float = math.nan
    solidity: float = math.nan
    contrast: float = math.nan
    skewness: float = math.nan
    sharpness: float = math.nan
    saturated: float = math.nan
    diameter: float = math.nan
    told: float | None = None
    magnification: float | None = None
    at_limit: bool = False


@dataclass(frozen=True)
class ModelKnows:
    """The images that a model learnt from: their modality (empty: unknown), and the diameter of nuclei (pixels)."""

    modality: str = ""
    diameter: float | None = None


@dataclass(frozen=True)
class Remedies:
    """What a person can do about flags, in the words of the program that shows them.

    invert : about an inverted image; model : to choose another one; diameter : to tell the size of nuclei
    """

    invert: str
    model: str
    diameter: str


@dataclass(frozen=True)
class Flag:
    """A doubt: its kind (`KINDS`), and the reason with what to do, in a sentence without its full stop."""

    kind: str
    text: str


def judge(found: Findings, model: ModelKnows, remedies: Remedies) -> list[Flag]:
    """Every reason to doubt what was found, what decides most first; an empty list if there is none."""
    return [Flag(kind, text) for kind, text in (*_of_image(found, model, remedies), *_of_size(found, model, remedies))]


def _of_image(found: Findings, model: ModelKnows, remedies: Remedies) -> Iterator[tuple[str, str]]:
    """Flags of the kind of image, and of how well nuclei stand out in it."""
    limits = BRIGHTFIELD if is_brightfield(model.modality) else FLUORESCENCE
    if found.saturated > SATURATED_SHARE:
        yield (
            SATURATED,
            f"{found.saturated:.1%} of the pixels are saturated: expose shorter, or convert without clipping",
        )
    doubtful = found.count == 0 or found.mean_probability < limits.sure or found.solidity < RAGGED
    wrong = _not_brightfield if limits is BRIGHTFIELD else _not_fluorescence
    if (flag := wrong(found, doubtful, remedies)) is not None:
        yield flag
    elif found.count == 0:
        yield EMPTY, "no nucleus found"
    elif found.sharpness < limits.sharp and found.mean_probability < limits.certain:
        yield (
            OUT_OF_FOCUS,
            f"the edges of its nuclei are blurred (sharpness {found.sharpness:.2f}): image it again in focus",
        )
    elif doubtful:
        told = {"mean probability": found.mean_probability, "solidity": found.solidity}
        numbers = ", ".join(f"{name} {value:.2f}" for name, value in told.items() if not math.isnan(value))
        yield (
            UNSURE,
            f"what was found may be no nuclei ({numbers}): look at the outlines; {remedies.model}, or tell the size of "
            "nuclei",
        )


def _not_fluorescence(found: Findings, doubtful: bool, remedies: Remedies) -> tuple[str, str] | None:
    """The flag of an image that a model of fluorescence does not know, or where nuclei hardly stand out."""
    faint = found.contrast < LOWEST_CONTRAST
    if found.skewness < -STAINED and (doubtful or faint):
        return INVERTED, f"its nuclei are darker than the background, as in an inverted image: {remedies.invert}"
    if found.count and (found.contrast < 0 or (found.skewness < STAINED and (doubtful or faint))):
        reason = "what was found hardly stands out from the background, as in brightfield and in noise"
        return WRONG_KIND, f"{reason}: {remedies.model} of brightfield, or another channel"
    if faint:
        reason = f"its nuclei stand out by {found.contrast:.1f} times the noise of the background"
        return LOW_CONTRAST, f"{reason}: no stain, too short an exposure, or not an image of fluorescence"
    return None


def _not_brightfield(found: Findings, doubtful: bool, remedies: Remedies) -> tuple[str, str] | None:
    """The flag of an image that a model of brightfield does not know."""
    learnt = "and the model learnt brightfield"
    if found.skewness < -STAINED and doubtful:
        reason = f"its nuclei are dark on an even bright background, as in inverted fluorescence, {learnt}"
        return WRONG_KIND, f"{reason}: {remedies.invert}, and {remedies.model} of fluorescence"
    if found.contrast > LOWEST_CONTRAST or found.skewness > STAINED:
        reason = f"its nuclei are bright on a dark background, {learnt}"
        return WRONG_KIND, f"{reason}: {remedies.model} of fluorescence, or another channel"
    if found.skewness > OTHER_SIDE or found.contrast > BRIGHT:
        return INVERTED, f"an inverted image of brightfield, or one from the other side of the focus: {remedies.invert}"
    return None


def _of_size(found: Findings, model: ModelKnows, remedies: Remedies) -> Iterator[tuple[str, str]]:
    """Flags of the size of nuclei: that which was told or that which the network saw them at does not fit."""
    if model.diameter is None or found.magnification is None:
        return
    smallest, largest = BEYOND_LIMIT * model.diameter / MOST, model.diameter / LEAST / BEYOND_LIMIT
    size = found.diameter if found.told is None else found.told
    if found.at_limit or size < smallest or size > largest:
        of_size = "nuclei" if math.isnan(size) else f"nuclei of {size:.3g} pixels"
        yield (
            SIZE_LIMIT,
            f"{of_size} are beyond the sizes that images can be magnified for (about {model.diameter / MOST:.0f} to "
            f"{model.diameter / LEAST:.0f} pixels): image them at another magnification",
        )
    elif found.told is not None:
        if _differ(found.diameter / found.told):
            yield (
                SIZE,
                f"nuclei of {found.told:.3g} pixels were told, and those that were found have {found.diameter:.3g}: "
                f"{remedies.diameter}",
            )
    elif _differ(ratio := found.diameter * found.magnification / model.diameter):
        yield (
            SIZE,
            f"its nuclei are {ratio:.2g} times as large across as those that the model knows: {remedies.diameter}",
        )


def _differ(ratio: float) -> bool:
    return ratio < 1 / OTHER_SIZE or ratio > OTHER_SIZE
