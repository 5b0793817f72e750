"""The size of the nuclei in an image, estimated with the network that is to segment them."""

from dataclasses import dataclass


@dataclass(frozen=True)
class SizeEstimate:
    """What an image tells about the size of its nuclei.

    diameter : of the typical nucleus, in pixels of the image; NaN where no nucleus was found at any magnification.
    score : how much of the image nuclei of this size explain, 0 or more; comparable within an image only.
    rival : the diameter that the next best magnification suggested, in pixels of the image, NaN if there is none.
    agreement : how clear the choice is, 0 to 1: 1 where nothing speaks for the rival, 0 where it scores as much.
    at_limit : whether nuclei are so large or small that the image could not be magnified as they would need.
    """

    diameter: float
    score: float
    rival: float
    agreement: float
    at_limit: bool
