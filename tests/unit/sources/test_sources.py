"""Readers of source layouts and of single files, and the message for every bad input."""

import struct
from pathlib import Path

import imageio.v3 as iio
import numpy as np
import pandas as pd
import pytest
import tifffile

from equinuclei.errors import InputError
from equinuclei.sources import COLUMNS, read_image, read_mask, read_source, source_folder

DATA = Path(__file__).resolve().parents[4] / "shared" / "data"
needs_data = pytest.mark.skipif(not DATA.is_dir(), reason=f"real images are not at {DATA}")

PIXELS = np.arange(48, dtype=np.uint8).reshape(6, 8)


def write_pairs(folder: Path, stems: list[str], suffix: str = ".tif") -> None:
    for name in ("images", "masks"):
        (folder / name).mkdir(parents=True, exist_ok=True)
        for stem in stems:
            iio.imwrite(folder / name / f"{stem}{suffix}", PIXELS)


def folder_source(folder: Path, **more: str) -> dict:
    return {"layout": "folder", "path": str(folder), "modality": "fluorescence", **more}


def table_source(folder: Path, rows: list[dict], name: str = "images.tsv") -> dict:
    write_pairs(folder, ["a", "b", "c"])
    frame = pd.DataFrame(rows)
    frame.to_csv(folder / name, sep="\t" if name.endswith("tsv") else ",", index=False)
    return {"layout": "table", "path": str(folder / name)}


def row(image_id: str = "a", **more: str) -> dict:
    plain = {"image_id": image_id, "cell_line": "HeLa", "modality": "fluorescence"}
    return {**plain, "image": "images/a.tif", "mask": "masks/a.tif", **more}


class TestFolder:
    def test_reads_sorted_pairs(self, tmp_path):
        write_pairs(tmp_path, ["b 2", "a'1"])
        write_pairs(tmp_path, ["ü"], suffix=".PNG")
        table = read_source(folder_source(tmp_path))
        assert list(table.columns) == COLUMNS
        assert table["image_id"].tolist() == ["a'1", "b 2", "ü"] == table["group"].tolist()
        assert set(table["cell_line"]) == {"unknown"}
        assert set(table["split"]) == {""}
        assert table["image"].tolist()[2] == str(tmp_path / "images" / "ü.PNG")
        assert table["mask"].tolist()[0] == str(tmp_path / "masks" / "a'1.tif")

    def test_uses_split_csv(self, tmp_path):
        write_pairs(tmp_path, ["a", "b"])
        (tmp_path / "split.csv").write_text("name,split,group,note\nb,val,,x\na,train,g,\n", encoding="utf-8-sig")
        table = read_source(folder_source(tmp_path, cell_line="A549"))
        assert table["split"].tolist() == ["train", "val"]
        assert table["group"].tolist() == ["g", "b"]
        assert set(table["cell_line"]) == {"A549"}

    def test_other_mask_folder(self, tmp_path):
        write_pairs(tmp_path, ["a"])
        (tmp_path / "masks").rename(tmp_path / "masks_3class")
        table = read_source(folder_source(tmp_path, masks="masks_3class"))
        assert table["mask"].tolist() == [str(tmp_path / "masks_3class" / "a.tif")]

    def test_hidden_files_are_ignored(self, tmp_path):
        write_pairs(tmp_path, ["a"])
        (tmp_path / "images" / "._a.tif").touch()
        assert len(read_source(folder_source(tmp_path))) == 1

    def test_misspelt_folder(self, tmp_path):
        write_pairs(tmp_path / "nuclei", ["a"])
        with pytest.raises(InputError, match=r"does not exist; did you mean 'nuclei'"):
            read_source(folder_source(tmp_path / "nucleii"))

    def test_misspelt_mask_folder(self, tmp_path):
        write_pairs(tmp_path, ["a"])
        with pytest.raises(InputError, match=r"did you mean 'masks'"):
            read_source(folder_source(tmp_path, masks="mask"))

    @pytest.mark.parametrize(
        ("split", "message"),
        [
            ("name,split\na,train\nb,val\nz,val\n", "split.csv names 'z', which has no image"),
            ("name,split\na,train\n", "image 'b.tif' has no row in split.csv"),
            ("name,split\na,train\nb,val\na,train\n", "names 'a' more than once"),
            ("nam,split\na,train\nb,val\n", "column 'name' is missing; rename column 'nam'"),
            ("name,split\na,train\nb,training\n", "split 'training' of 1 rows .* did you mean 'train'"),
            ("name,split\na,train\nb,\n", "split is given for 1 of 2 rows, not for image_id 'b'"),
            ("name,split,group\na,train,g\nb,val,g\n", r"group 'g' is in more than one split \(train, val\)"),
            ("name,split,groups\na,train,g\nb,val,h\n", "column 'group' is missing; rename column 'groups'"),
            ("name,split\na,train,1\nb,val\n", "line 2 has 3 values, the header has 2"),
            ("", "the table is empty"),
        ],
    )
    def test_bad_split_csv(self, tmp_path, split, message):
        write_pairs(tmp_path, ["a", "b"])
        (tmp_path / "split.csv").write_text(split)
        with pytest.raises(InputError, match=message):
            read_source(folder_source(tmp_path))

    def test_pair_without_partner(self, tmp_path):
        write_pairs(tmp_path, ["a", "b"])
        (tmp_path / "masks" / "a.tif").unlink()
        (tmp_path / "images" / "b.tif").unlink()
        with pytest.raises(InputError, match=r"2 problems") as error:
            read_source(folder_source(tmp_path))
        assert "image 'a.tif' has no mask" in str(error.value)
        assert "mask 'b.tif' has no image" in str(error.value)

    def test_two_images_with_one_stem(self, tmp_path):
        write_pairs(tmp_path, ["a"])
        iio.imwrite(tmp_path / "images" / "a.png", PIXELS)
        with pytest.raises(InputError, match=r"'a.png' and 'a.tif' in images/ have the same stem"):
            read_source(folder_source(tmp_path))

    def test_image_of_another_format(self, tmp_path):
        write_pairs(tmp_path, ["a"])
        (tmp_path / "images" / "b.jpg").touch()
        with pytest.raises(InputError, match=r"images/b.jpg is neither TIFF nor PNG"):
            read_source(folder_source(tmp_path))

    def test_empty_folder(self, tmp_path):
        write_pairs(tmp_path, [])
        with pytest.raises(InputError, match="no image found"):
            read_source(folder_source(tmp_path))

    def test_modality_is_needed(self, tmp_path):
        with pytest.raises(InputError, match="needs 'modality'"):
            read_source({"layout": "folder", "path": str(tmp_path)})


class TestTable:
    @pytest.mark.parametrize("name", ["images.tsv", "images.csv"])
    def test_reads_both_formats(self, tmp_path, name):
        rows = [row("007"), row("007", modality="brightfield"), row("NA", image=str(tmp_path / "images/b.tif"))]
        source = table_source(tmp_path, rows, name)
        table = read_source(source)
        assert list(table.columns) == COLUMNS
        assert table["image_id"].tolist() == ["007", "007", "NA"]
        assert table["modality"].tolist() == ["brightfield", "fluorescence", "fluorescence"]
        assert table["image"].tolist()[2] == str(tmp_path / "images/b.tif")
        assert table["mask"].tolist()[0] == str(tmp_path / "masks/a.tif")
        assert table["group"].tolist() == ["007", "007", "NA"]
        assert source_folder(source) == tmp_path

    def test_relative_path_counts_from_the_table(self, tmp_path, monkeypatch):
        table_source(tmp_path, [row()])
        monkeypatch.chdir(tmp_path.parent)
        table = read_source({"layout": "table", "path": f"{tmp_path.name}/images.tsv"})
        assert table["image"].tolist() == [str(tmp_path / "images/a.tif")]

    @pytest.mark.parametrize("image_id", ["a b", "it's", 'say "x"', "Zellkern µ", "a,b;c", "-rf", "$(x)"])
    def test_ids_are_kept(self, tmp_path, image_id):
        assert read_source(table_source(tmp_path, [row(image_id)]))["image_id"].tolist() == [image_id]

    @pytest.mark.parametrize(
        ("image_id", "message"),
        [
            ("a/b", "is a path"),
            ("a\\b", "is a path"),
            ("..", "is a path"),
            (".", "is a path"),
            ("a\tb", "tab, a line break"),
            ("a\nb", "tab, a line break"),
            ("a\x07", "control character"),
            ("", "image_id is empty"),
            (" ", "image_id is empty"),
        ],
    )
    def test_unusable_id(self, tmp_path, image_id, message):
        with pytest.raises(InputError, match=message):
            read_source(table_source(tmp_path, [row(image_id), row("fine")]))

    def test_duplicates_are_counted(self, tmp_path):
        rows = [row(f"i{n}") for n in range(7)] * 2
        with pytest.raises(InputError, match="7 problems") as error:
            read_source(table_source(tmp_path, rows))
        assert str(error.value).count("occurs more than once") == 5
        assert "and 2 more" in str(error.value)

    def test_missing_files_name_the_nearest(self, tmp_path):
        rows = [row(image="images/a.tiff"), row("b", mask="mask/b.tif")]
        with pytest.raises(InputError, match="2 problems") as error:
            read_source(table_source(tmp_path, rows))
        assert "did you mean 'a.tif'" in str(error.value)
        assert "nor does its parent folder" in str(error.value)

    def test_missing_column(self, tmp_path):
        rows = [{"imageid": "a", "modality": "m", "image": "images/a.tif"}]
        with pytest.raises(InputError, match="2 problems") as error:
            read_source(table_source(tmp_path, rows))
        assert "column 'image_id' is missing; rename column 'imageid'" in str(error.value)
        assert "column 'mask' is missing" in str(error.value)

    def test_empty_file_name(self, tmp_path):
        with pytest.raises(InputError, match="column 'mask' is empty"):
            read_source(table_source(tmp_path, [row(mask="")]))

    def test_missing_table(self, tmp_path):
        table_source(tmp_path, [row()])
        with pytest.raises(InputError, match=r"did you mean 'images\.tsv'"):
            read_source({"layout": "table", "path": str(tmp_path / "image.tsv")})

    def test_table_of_another_format(self, tmp_path):
        (tmp_path / "images.xlsx").touch()
        with pytest.raises(InputError, match=r"must end in .tsv"):
            read_source({"layout": "table", "path": str(tmp_path / "images.xlsx")})

    def test_table_that_is_not_utf8(self, tmp_path):
        source = table_source(tmp_path, [row()])
        Path(source["path"]).write_bytes("image_id\tµ".encode("latin-1"))
        with pytest.raises(InputError, match="UTF-8"):
            read_source(source)

    def test_unknown_layout(self):
        with pytest.raises(InputError, match="Did you mean 'folder'"):
            read_source({"layout": "folders", "path": "x"})


class TestPixels:
    @pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32", ">u2"])
    @pytest.mark.parametrize("compression", [None, "zlib", "lzw"])
    def test_tiff_round_trip(self, tmp_path, dtype, compression):
        tifffile.imwrite(tmp_path / "a.tif", PIXELS.astype(dtype), compression=compression)
        image = read_image(tmp_path / "a.tif")
        assert image.dtype == np.dtype(dtype).newbyteorder("=")
        assert image.dtype.isnative
        np.testing.assert_array_equal(image, PIXELS)

    @pytest.mark.parametrize("dtype", ["uint8", "uint16"])
    def test_png_round_trip(self, tmp_path, dtype):
        iio.imwrite(tmp_path / "a.png", PIXELS.astype(dtype) * 3)
        image = read_image(tmp_path / "a.png")
        assert image.dtype == dtype
        np.testing.assert_array_equal(image, PIXELS * 3)

    @pytest.mark.parametrize("channels", [3, 4])
    @pytest.mark.parametrize("suffix", ["png", "tif"])
    def test_equal_channels_become_one(self, tmp_path, suffix, channels):
        stacked = np.stack([PIXELS] * channels, axis=-1)
        stacked[..., 3:] = 255
        iio.imwrite(tmp_path / f"a.{suffix}", stacked)
        np.testing.assert_array_equal(read_image(tmp_path / f"a.{suffix}"), PIXELS)

    def test_planar_channels_become_one(self, tmp_path):
        tifffile.imwrite(tmp_path / "a.tif", np.stack([PIXELS] * 3), photometric="rgb", planarconfig="separate")
        np.testing.assert_array_equal(read_image(tmp_path / "a.tif"), PIXELS)

    @pytest.mark.parametrize("suffix", ["png", "tif"])
    def test_colour_is_refused(self, tmp_path, suffix):
        iio.imwrite(tmp_path / f"a.{suffix}", np.stack([PIXELS, PIXELS, PIXELS + 1], axis=-1))
        with pytest.raises(InputError, match=rf"a.{suffix}: a colour image, shape \(6, 8, 3\)"):
            read_image(tmp_path / f"a.{suffix}")

    def test_varying_transparency_is_refused(self, tmp_path):
        iio.imwrite(tmp_path / "a.png", np.stack([PIXELS] * 4, axis=-1))
        with pytest.raises(InputError, match="transparency"):
            read_image(tmp_path / "a.png")

    @pytest.mark.parametrize("kind", ["plain", "imagej", "imagej with one header", "ome"])
    def test_a_page_is_chosen(self, tmp_path, kind):
        path = tmp_path / ("a.ome.tif" if kind == "ome" else "a.tif")
        pages = np.stack([PIXELS + 20 * page for page in range(5)])
        settings = {"imagej": True} if "imagej" in kind else {"ome": True} if kind == "ome" else {}
        tifffile.imwrite(path, pages, photometric="minisblack", **settings)
        if kind == "imagej with one header":  # as ImageJ writes stacks above 4 GB
            self.end_chain_of_headers(path)
        with pytest.raises(InputError, match=r"holds 5 pages: choose one with `page`"):
            read_image(path)
        for page in range(5):
            np.testing.assert_array_equal(read_image(path, page), pages[page])
        with pytest.raises(InputError, match=r"no page 5; the file holds 5, counted from 0"):
            read_image(path, 5)
        with tifffile.TiffFile(path) as tiff:
            start = tiff.pages[0].dataoffsets[0]
        path.write_bytes(path.read_bytes()[: start + pages.nbytes // 2])
        with pytest.raises(InputError, match=r"truncated|no page 4; the file holds [12]"):
            read_image(path, 4)

    @staticmethod
    def end_chain_of_headers(path):
        with tifffile.TiffFile(path) as tiff:
            header, byteorder = tiff.pages[0].offset, tiff.byteorder
        content = bytearray(path.read_bytes())
        (tags,) = struct.unpack_from(f"{byteorder}H", content, header)
        struct.pack_into("I", content, header + 2 + 12 * tags, 0)
        path.write_bytes(bytes(content))
        with tifffile.TiffFile(path) as tiff:
            assert len(tiff.pages) == 1

    def test_a_png_has_one_page(self, tmp_path):
        iio.imwrite(tmp_path / "a.png", PIXELS.astype("uint8"))
        np.testing.assert_array_equal(read_image(tmp_path / "a.png", 0), PIXELS)
        with pytest.raises(InputError, match="no page 1"):
            read_image(tmp_path / "a.png", 1)

    @pytest.mark.parametrize("dtype", ["float64", "int16", "uint32", "complex64"])
    def test_other_pixel_types_are_refused(self, tmp_path, dtype):
        tifffile.imwrite(tmp_path / "a.tif", PIXELS.astype(dtype))
        with pytest.raises(InputError, match=f"pixels are {dtype}"):
            read_image(tmp_path / "a.tif")

    @pytest.mark.parametrize("value", [np.nan, np.inf])
    def test_not_finite_is_refused(self, tmp_path, value):
        image = PIXELS.astype(np.float32)
        image[2, 3] = value
        tifffile.imwrite(tmp_path / "a.tif", image)
        with pytest.raises(InputError, match="1 pixels are NaN or infinite"):
            read_image(tmp_path / "a.tif")

    @pytest.mark.parametrize("name", ["a.tif", "lzw.tif", "a.png"])
    @pytest.mark.parametrize("kept", [0.0, 0.001, 0.5, 0.97])
    def test_truncated_file(self, tmp_path, name, kept):
        pixels = np.random.default_rng(1).integers(0, 60000, (64, 64)).astype(np.uint16)
        path = tmp_path / name
        if name.endswith("png"):
            iio.imwrite(path, pixels)
        else:
            tifffile.imwrite(path, pixels, rowsperstrip=8, compression="lzw" if name == "lzw.tif" else None)
        whole = path.read_bytes()
        np.testing.assert_array_equal(read_image(path), pixels)
        path.write_bytes(whole[: int(len(whole) * kept)])
        with pytest.raises(InputError, match="truncated, damaged") as error:
            read_image(path)
        assert error.value.__cause__ is not None

    def test_missing_last_byte(self, tmp_path):
        # LZW decodes without it, and some readers then say nothing.
        tifffile.imwrite(tmp_path / "a.tif", PIXELS, compression="lzw")
        path = tmp_path / "a.tif"
        path.write_bytes(path.read_bytes()[:-1])
        with pytest.raises(InputError, match="bytes expected"):
            read_image(path)

    def test_file_of_another_format(self, tmp_path):
        (tmp_path / "a.tif").write_text("not an image")
        with pytest.raises(InputError, match="damaged or not of the type"):
            read_image(tmp_path / "a.tif")
        with pytest.raises(InputError, match=r"must end in .tif"):
            read_image(tmp_path / "a.bmp")

    @pytest.mark.parametrize(("depth", "colour"), [(2, 0), (4, 0), (16, 2)])
    def test_png_that_would_change_its_values(self, tmp_path, depth, colour):
        iio.imwrite(tmp_path / "a.png", PIXELS)
        content = bytearray((tmp_path / "a.png").read_bytes())
        content[24:26] = struct.pack("BB", depth, colour)
        (tmp_path / "a.png").write_bytes(bytes(content))
        with pytest.raises(InputError, match=f"a {depth}-bit"):
            read_image(tmp_path / "a.png")

    @pytest.mark.parametrize(
        ("stored", "dtype"),
        [("uint8", "uint8"), ("uint16", "uint16"), ("uint32", "uint32"), ("int32", "uint8"), ("float32", "uint8")],
    )
    def test_mask_types(self, tmp_path, stored, dtype):
        tifffile.imwrite(tmp_path / "a.tif", PIXELS.astype(stored))
        mask = read_mask(tmp_path / "a.tif")
        assert mask.dtype == dtype
        np.testing.assert_array_equal(mask, PIXELS)

    def test_one_bit_mask(self, tmp_path):
        tifffile.imwrite(tmp_path / "a.tif", PIXELS > 20, photometric="minisblack")
        mask = read_mask(tmp_path / "a.tif")
        assert mask.dtype == np.uint8
        np.testing.assert_array_equal(mask, PIXELS > 20)

    @pytest.mark.parametrize("value", [-1.0, 0.5, np.nan])
    def test_mask_that_is_no_label_image(self, tmp_path, value):
        tifffile.imwrite(tmp_path / "a.tif", np.where(PIXELS == 3, value, PIXELS).astype(np.float32))
        with pytest.raises(InputError, match="whole numbers"):
            read_mask(tmp_path / "a.tif")


@needs_data
class TestRealSets:
    def test_dsb2018(self):
        source = {"layout": "folder", "path": str(DATA / "dsb2018_fluo"), "modality": "fluorescence"}
        table = read_source(source)
        assert len(table) == 460
        assert table["split"].value_counts().to_dict() == {"train": 389, "val": 71}
        assert set(table["cell_line"]) == {"unknown"}
        assert table["group"].nunique() < 460

    def test_brifiseg(self):
        source = {"layout": "folder", "path": str(DATA / "brifiseg_brightfield"), "modality": "brightfield"}
        table = read_source(source)
        assert table["cell_line"].value_counts().to_dict() == {"A549": 72, "HeLa": 40}
        assert table["group"].tolist() == table["image_id"].tolist()

    def test_three_class_masks_of_five_images_only(self):
        source = {"layout": "folder", "path": str(DATA / "brifiseg_brightfield"), "modality": "brightfield"}
        with pytest.raises(InputError, match="107 problems"):
            read_source({**source, "masks": "masks_3class"})
