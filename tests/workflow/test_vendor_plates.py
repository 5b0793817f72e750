"""Real exports of every vendor, in one inbox, from there to their pages."""

import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from conftest import WEIGHTS
from lab import Lab, jobs_of, make_old

from equinuclei.omezarr.plates import Plate

DATA = Path(__file__).resolve().parents[3] / "shared" / "data" / "plates"
pytestmark = pytest.mark.skipif(not DATA.is_dir(), reason=f"real plates are not at {DATA}")

# Folder of the export, and what is known of it: channel (the others have one that is found as nuclear), layout, wells.
EXPORTS = {
    "BR00121482": ("harmony_phenix_BR00121482", "", "harmony", ["A01"]),
    "BALL": ("harmony_sonata_BALL", "", "harmony", ["C03"]),
    "3434": ("metaxpress_export/9987_Plate_3434", "", "metaxpress", ["B02", "B03"]),
    "beads": ("imagexpress_database/Projection-Mix", "FITC_05", "metaxpress", ["E07"]),
    "CV8000": (
        "cellvoyager_cv8000/CV8000-Minimal-DataSet-2C-3W-4S-FP2-stack", "", "cellvoyager", ["F08"]
    ),
    "ones": ("ome_zarr_hcs/plate_ones_mip.zarr", "some-label-1", "ome-zarr", ["B03"]),
}  # fmt: skip


def drop_wells(export, *wells):
    """A smaller CellVoyager export, to be quick: without the images of some wells."""
    index = export / "MeasurementData.mlf"
    lines = index.read_text(encoding="utf-8-sig").splitlines(keepends=True)
    index.write_text(
        "".join(line for line in lines if not any(f"_{well}_" in line for well in wells)), encoding="utf-8"
    )
    for well in wells:
        for path in export.glob(f"*_{well}_*.tif"):
            path.unlink()


@pytest.fixture(scope="module")
def lab(tmp_path_factory, trained):
    table = tmp_path_factory.mktemp("table") / "plates.tsv"
    lab = Lab(tmp_path_factory.mktemp("lab"), trained / WEIGHTS, channel="nuclear", tile=1024, table=str(table))
    for name, (source, *_) in EXPORTS.items():
        shutil.copytree(DATA / source, lab.inbox / name)
    drop_wells(lab.inbox / "CV8000", "D08", "E03")
    shutil.copytree(DATA / "harmony_v7_index_only", lab.inbox / "index only")
    make_old(lab.inbox)
    table.write_text("plate\tchannel\n")
    lab.tick()
    found = {folder: plate for plate, folder in lab.folders().items()}
    rows = [f"{found[name]}\t{channel}" for name, (_, channel, *_) in EXPORTS.items() if channel]
    table.write_text("\n".join(["plate\tchannel", *rows]) + "\n")
    lab.tick()
    return lab


def test_every_export_has_its_page_and_an_index_without_images_none(lab):
    found = {folder: plate for plate, folder in lab.folders().items()}
    assert {lab.status()[found[name]] for name in EXPORTS} == {"ready"}
    assert lab.status()[found["index only"]] == "incomplete"
    assert set(lab.pages()) == {found[name] for name in EXPORTS}
    assert set(pd.read_csv(lab.results / "plates.tsv", sep="\t", dtype=str)["plate"]) == set(lab.pages())
    assert not jobs_of(lab.tick())


@pytest.mark.parametrize("name", EXPORTS)
def test_the_plate_is_what_the_vendor_wrote(lab, name):
    found = {folder: plate for plate, folder in lab.folders().items()}
    _, _, layout, wells = EXPORTS[name]
    folder = lab.results / found[name]
    plate, model = folder / "plate.ome.zarr", folder / "turning-v1"
    assert Plate(plate).notes["layout"] == layout and Plate(plate).wells == wells
    assert pd.read_parquet(folder / "fields.parquet")["status"].eq("ok").all()
    nuclei, counted = pd.read_parquet(model / "nuclei.parquet"), pd.read_csv(model / "wells.tsv", sep="\t")
    assert counted["well"].tolist() == wells and counted["count"].sum() == len(nuclei)
    for well in wells:
        labels = Plate(model / "segmentation.ome.zarr").image(well).label("nuclei").read()
        assert labels.shape == Plate(plate).image(well).level(0).shape[-2:]
        assert set(np.unique(labels)) - {0} == set(nuclei.loc[nuclei["well"] == well, "label"])
        assert {f"mean_{channel}" for channel in Plate(plate).image(well).channels} <= set(nuclei.columns)


def test_real_nuclei_are_found(lab):
    found = {folder: plate for plate, folder in lab.folders().items()}
    wells = pd.read_csv(lab.results / found["3434"] / "turning-v1/wells.tsv", sep="\t")
    assert wells["count"].min() > 5 and wells["median_area_um2"].between(20, 2000).all()
