"""From images to warnings: a plate that its model knows has none, and a brightfield plate is told for what it is."""

import numpy as np
import pandas as pd
import pytest
import tifffile

from equinuclei.library.names import SHIPPED, modality_of
from equinuclei.plates.convert import PlateExport, convert_plate
from equinuclei.plates.facts import plate_facts
from equinuclei.plates.measure import measure_plate
from equinuclei.plates.quality import PlateFacts, plate_warnings
from equinuclei.plates.segment import SegmentationSettings, segment_plate
from equinuclei.simulation.fields import simulate_field

MODEL = SHIPPED / "fluorescence-fast-v1" / "weights.safetensors"


def made(folder, modality, channel):
    """Facts and warnings of a plate of one well, of simulated images, as the shipped model sees it."""
    source = folder / "source"
    source.mkdir(parents=True)
    image = simulate_field("HeLa", [3, 0], 300, 300).images[modality]
    tifffile.imwrite(source / "1.tif", image)
    row = {"well": "B02", "field": 1, "channel": channel, "path": "1.tif", "y": 0, "x": 0, "pixel_size": 0.5}
    pd.DataFrame([row]).to_csv(source / "planes.tsv", sep="\t", index=False)
    plate, fields = folder / "plate.ome.zarr", folder / "fields.parquet"
    convert_plate(PlateExport(source), plate, fields, workers=1)
    segmentation, wells = folder / "segmentation.ome.zarr", folder / "wells.tsv"
    segment_plate(plate, fields, MODEL, segmentation, SegmentationSettings(channel=None, min_area=20))
    measure_plate(
        plate, fields, segmentation, channel=None, nuclei_table=folder / "nuclei.parquet",
        fields_table=folder / "fields.tsv", wells_table=wells,
    )  # fmt: skip
    facts = plate_facts(plate, segmentation)
    return facts, plate_warnings(pd.read_csv(wells, sep="\t"), facts=facts)


def test_a_plate_that_the_model_knows_has_no_warning(tmp_path):
    facts, warnings = made(tmp_path, "fluorescence", "DAPI")
    assert (facts.modality, facts.channel, facts.model_diameter) == ("fluorescence", "DAPI", 24)
    assert set(facts.sampled_diameters) == {"B02"} and facts.magnification == pytest.approx(
        24 / facts.sampled_diameters["B02"], rel=0.3
    )
    assert warnings.empty, warnings


def test_a_brightfield_plate_is_told_whatever_its_channel_is_called(tmp_path):
    for channel in ("w1", "TL"):
        _, warnings = made(tmp_path / channel, "brightfield", channel)
        assert not warnings.empty and set(warnings["kind"]) & {"low contrast", "wrong kind of image", "empty"}
        assert ("'TL'" in " ".join(warnings["text"])) == (channel == "TL")


def test_what_was_not_recorded_is_unknown(tmp_path):
    facts = plate_facts(tmp_path / "plate.ome.zarr", tmp_path / "segmentation.ome.zarr")
    wells = pd.DataFrame({"well": ["A01"], "count": 5, "failed_fields": 0.0, "focus": np.nan, "saturated": 0.0})
    assert facts == PlateFacts() and plate_warnings(wells, facts=facts).empty


def test_the_modality_of_a_model(tmp_path):
    assert modality_of(MODEL) == "fluorescence" and modality_of(tmp_path / "weights.safetensors") == ""
    (tmp_path / "run.json").write_text("[1]")
    assert modality_of(tmp_path / "weights.safetensors") == ""
