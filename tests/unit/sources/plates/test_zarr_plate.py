"""OME-Zarr plates: acquisitions, derived images, axes, lost chunks."""

import shutil

import numpy as np
import pytest

from equinuclei.errors import InputError
from equinuclei.omezarr.metadata import NGFF_VERSIONS
from equinuclei.omezarr.writing import PlateChannel, create_image, create_plate, write_pixels
from equinuclei.sources.plates import find_plate_source, read_plane
from support.plate_checks import check_planes, positions
from support.plate_exports import random_image
from support.zarr_plates import random_pixels, write_zarr_plate


class TestOmeZarr:
    @pytest.mark.parametrize("version", NGFF_VERSIONS)
    def test_reads(self, tmp_path, version):
        pixels = {}
        path = tmp_path / "p.zarr"
        plate = create_plate(path, "my plate", ["B02", "AF48"], version)
        for well in ("B02", "AF48"):
            image = np.stack([random_image(1), random_image(2)])
            channels = [PlateChannel("DAPI", 450.0), PlateChannel("BF")]
            stored = create_image(plate, well, channels, (16, 20), "uint16", 0.5)
            write_pixels(stored, lambda c, y, x, image=image: image[c, y, x])
            pixels |= {(well, 1, "DAPI", 0): image[0], (well, 1, "BF", 0): image[1]}
        source = find_plate_source(path)
        assert source.layout == "ome-zarr" and source.name == "my plate"
        check_planes(source, pixels)
        assert set(source.planes["pixel_size"]) == {0.5}
        assert set(source.planes["y"]) == {0.0}

    def test_damaged(self, tmp_path):
        (tmp_path / ".zgroup").write_text('{"zarr_format": 2}')
        (tmp_path / ".zattrs").write_text('{"plate": {"wells": [{"path": "../B/02"}]}}')
        with pytest.raises(InputError, match="metadata is damaged"):
            find_plate_source(tmp_path)


def image(name: str, seed: int, acquisition: int | None = None, **more) -> dict:
    given = {} if acquisition is None else {"acquisition": acquisition}
    return {"name": name, "pixels": random_pixels(seed), "labels": ("DAPI", "GFP"), **given, **more}


class TestFields:
    def test_images_of_one_acquisition_are_fields(self, tmp_path):
        images = [image("0", 1, corner=(0.0, 0.0)), image("1", 2, corner=(2.0, 10.0))]
        write_zarr_plate(tmp_path / "p.zarr", {"B/03": images})
        source = find_plate_source(tmp_path / "p.zarr")
        check_planes(
            source,
            {
                ("B03", field, name, 0): images[field - 1]["pixels"][channel]
                for field in (1, 2)
                for channel, name in enumerate(("DAPI", "GFP"))
            },
        )
        assert positions(source) == {1: (0.0, 0.0), 2: (2.0, 10.0)}
        assert set(source.planes["acquisition"]) == {0}

    @pytest.mark.parametrize("corner", [None, (3.0, 4.0)])
    @pytest.mark.parametrize(
        ("acquisitions", "names"),
        [
            (({"id": 0, "name": "cycle0"}, {"id": 2, "name": "cycle2"}), ("cycle0", "cycle2")),
            (({"id": 0}, {"id": 2}), ("acquisition 0", "acquisition 2")),
            ((), ("acquisition 0", "acquisition 2")),
            (({"id": 0, "name": "same"}, {"id": 2, "name": "same"}), ("same", "same (2)")),
        ],
    )
    def test_acquisitions_of_one_place_are_channels(self, tmp_path, corner, acquisitions, names):
        images = [image("0", 1, 0, corner=corner), image("1", 2, 2, corner=corner)]
        write_zarr_plate(tmp_path / "p.zarr", {"B/03": images, "B/04": images}, acquisitions)
        source = find_plate_source(tmp_path / "p.zarr")
        check_planes(
            source,
            {
                (well, 1, f"{names[at]} {label}", 0): images[at]["pixels"][channel]
                for well in ("B03", "B04")
                for at in (0, 1)
                for channel, label in enumerate(("DAPI", "GFP"))
            },
        )
        assert source.planes.groupby("acquisition")["channel"].unique().map(sorted).to_dict() == {
            number: [f"{name} DAPI", f"{name} GFP"] for number, name in zip((0, 2), names, strict=True)
        }
        assert source.planes[["y", "x"]].drop_duplicates().to_numpy().tolist() == [[*(corner or (0.0, 0.0))]]

    def test_several_fields_of_each_acquisition(self, tmp_path):
        images = [image(str(3 * a + f), a * 10 + f, a, corner=(0.0, 10.0 * f)) for a in (0, 1) for f in (0, 1)]
        write_zarr_plate(tmp_path / "p.zarr", {"B/03": images})
        planes = find_plate_source(tmp_path / "p.zarr").planes
        assert planes.groupby("field")["acquisition"].unique().map(list).to_dict() == {1: [0, 1], 2: [0, 1]}
        assert planes.groupby("field")["x"].unique().map(list).to_dict() == {1: [0.0], 2: [10.0]}

    @pytest.mark.parametrize("other", [{"corner": (0.0, 30.0)}, {"pixels": random_pixels(2, shape=(8, 8))}])
    def test_acquisitions_of_other_places_have_fields_of_their_own(self, tmp_path, other):
        images = [image("0", 1, 0, corner=(0.0, 0.0)), image("1", 2, 1, **{"corner": (0.0, 0.0), **other})]
        write_zarr_plate(tmp_path / "p.zarr", {"B/03": images})
        planes = find_plate_source(tmp_path / "p.zarr").planes
        fields = planes.groupby("field")["channel"].unique().map(sorted).to_dict()
        assert fields == {
            1: ["acquisition 0 DAPI", "acquisition 0 GFP"],
            2: ["acquisition 1 DAPI", "acquisition 1 GFP"],
        }

    def test_one_acquisition_per_well_names_no_channel(self, tmp_path):
        write_zarr_plate(tmp_path / "p.zarr", {"B/03": [image("0", 1, 0)], "B/04": [image("0", 2, 1)]})
        planes = find_plate_source(tmp_path / "p.zarr").planes
        assert set(planes["channel"]) == {"DAPI", "GFP"} and set(planes["acquisition"]) == {0, 1}


class TestDerived:
    @pytest.mark.parametrize("name", ["0_registered", "0_illum_corr", "0_mip"])
    def test_is_not_read_beside_its_raw_image(self, tmp_path, name):
        images = [image("0", 1), image(name, 2)]
        path = tmp_path / "p.zarr"
        write_zarr_plate(path, {"B/03": images})
        source = find_plate_source(path)
        raw = images[0]["pixels"]
        check_planes(source, {("B03", 1, "DAPI", 0): raw[0], ("B03", 1, "GFP", 0): raw[1]})
        assert source.metadata["derived_images"] == {name: 1}
        assert "made from image '0'" in source.set_aside[str(path / "B/03" / name)]

    @pytest.mark.parametrize("names", [("0", "0_1"), ("a", "ab"), ("0_registered",)])
    def test_other_names_are_fields(self, tmp_path, names):
        write_zarr_plate(tmp_path / "p.zarr", {"B/03": [image(name, 1) for name in names]})
        assert find_plate_source(tmp_path / "p.zarr").planes["field"].nunique() == len(names)

    def test_labels_and_lower_resolutions_are_set_aside(self, tmp_path):
        path = tmp_path / "p.zarr"
        write_zarr_plate(path, {"B/03": [image("0", 1, levels=2)]})
        (path / "B/03/0/labels").mkdir()
        (path / "B/03/0/tables").mkdir()
        reasons = find_plate_source(path).set_aside
        assert {name[len(str(path / "B/03/0")) + 1 :]: why.split(":")[0] for name, why in reasons.items()} == {
            "1": "lower resolution of an image that is read",
            "labels": "labels",
            "tables": "tables of a segmentation",
        }


class TestAxes:
    def test_without_names_there_are_five(self, tmp_path):
        pixels = random_pixels(1, 4).reshape(1, 2, 2, 16, 20)
        five = {"name": "0", "pixels": pixels, "labels": ("DAPI", "GFP"), "axes": None}
        write_zarr_plate(tmp_path / "p.zarr", {"B/03": [five]})
        check_planes(
            find_plate_source(tmp_path / "p.zarr"),
            {("B03", 1, label, z): pixels[0, c, z] for c, label in enumerate(("DAPI", "GFP")) for z in (0, 1)},
        )
        write_zarr_plate(tmp_path / "q.zarr", {"B/03": [image("0", 1, axes=None)]})
        with pytest.raises(
            InputError, match=r"names no axes, and its array has 3 of them, not the five \(t, c, z, y, x\)"
        ):
            find_plate_source(tmp_path / "q.zarr")

    @pytest.mark.parametrize(("axes", "message"), [("cxy", "must be y and x"), ("syx", "s is none of t, c and z")])
    def test_unknown_order(self, tmp_path, axes, message):
        write_zarr_plate(tmp_path / "p.zarr", {"B/03": [image("0", 1, axes=axes)]})
        with pytest.raises(InputError, match=message):
            find_plate_source(tmp_path / "p.zarr")


class TestAbsentImages:
    def make(self, path):
        images = [image("0", 1, corner=(0.0, 0.0)), image("1", 2, corner=(0.0, 10.0))]
        write_zarr_plate(path, {well: images for well in ("B/03", "B/04", "B/05")})
        return images

    @pytest.mark.parametrize("lost", ["B/04/1", "B/04/1/.zattrs", "B/04/1/0/.zarray", "B/04", "B/04/.zattrs"])
    def test_are_missing_and_the_rest_is_read(self, tmp_path, lost):
        path = tmp_path / "p.zarr"
        images = self.make(path)
        shutil.rmtree(path / lost) if (path / lost).is_dir() else (path / lost).unlink()
        planes = find_plate_source(path).planes
        assert len(planes) == 12 and planes.groupby("well")["x"].unique().map(list).tolist() == [[0.0, 10.0]] * 3
        for plane in planes.itertuples():
            # Without the metadata of a group, its arrays are read all the same.
            if plane.well == "B04" and (lost == "B/04" or (plane.field == 2 and not lost.endswith(".zattrs"))):
                with pytest.raises(InputError, match=r"is not there|cannot be read"):
                    read_plane(plane.path, plane.page)
            else:
                expected = images[plane.field - 1]["pixels"][plane.page]
                np.testing.assert_array_equal(read_plane(plane.path, plane.page), expected)

    def test_of_all_wells(self, tmp_path):
        path = tmp_path / "p.zarr"
        self.make(path)
        shutil.rmtree(path / "B")
        with pytest.raises(InputError, match="none of the images that it lists is there"):
            find_plate_source(path)


def test_a_plane_that_lost_chunks_is_not_read(tmp_path):
    images = [image("0", 1, chunks=(1, 8, 10))]
    write_zarr_plate(tmp_path / "p.zarr", {"B/03": images})
    array = tmp_path / "p.zarr/B/03/0/0"
    (array / "0/1/0").unlink()
    np.testing.assert_array_equal(read_plane(array, 1), images[0]["pixels"][1])
    with pytest.raises(InputError, match="plane 0: 1 of 4 chunks are absent: was it copied whole"):
        read_plane(array, 0)
