"""What a plate and its model declare, for the checks of its quality."""

from pathlib import Path

from equinuclei.omezarr.plates import Plate, is_plate
from equinuclei.plates.quality import PlateFacts
from equinuclei.sources.plates.contents import declared_shape


def plate_facts(plate: str | Path, segmentation: str | Path) -> PlateFacts:
    """Of a plate that was segmented; what was not recorded is unknown.

    plate : `plate.ome.zarr` of `equinuclei.plates.convert.convert_plate`
    segmentation : of `equinuclei.plates.segment.segment_plate`
    """
    shape = None
    if is_plate(plate):
        converted = Plate(plate)
        notes = converted.notes
        shape = declared_shape(notes.get("layout", ""), notes.get("metadata", {}), converted.wells)
    notes = Plate(segmentation).notes if is_plate(segmentation) else {}
    return PlateFacts(
        shape=shape,
        modality=notes.get("modality", ""),
        channel=notes.get("channel", ""),
        model_diameter=notes.get("model_diameter"),
        magnification=notes.get("magnification", 1.0),  # None: each image of a folder has its own
        sampled_diameters=notes.get("sampled_diameters", {}),
    )
