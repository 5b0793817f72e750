"""Conversion, targets and loading: every pixel from the source file to the part in memory."""

import hashlib
import shutil
from concurrent.futures import ThreadPoolExecutor, wait
from pathlib import Path

import numpy as np
import ome_zarr_models.v05
import pandas as pd
import pytest
import tifffile
import yaozarrs
import zarr

from equinuclei.dataset import parts
from equinuclei.dataset.convert import ConvertedFiles, binarize_masks, convert_dataset
from equinuclei.dataset.parts import (
    FIELDS_COLUMNS,
    DatasetFiles,
    iterate_images,
    load_part,
    part_fields,
    read_fields,
    read_splits,
)
from equinuclei.dataset.splits import split_dataset, write_splits
from equinuclei.errors import InputError
from equinuclei.images import masks
from equinuclei.omezarr import stacks as store
from equinuclei.sources import read_image, read_mask

DATA = Path(__file__).resolve().parents[4] / "shared" / "data"
needs_data = pytest.mark.skipif(not DATA.is_dir(), reason=f"real images are not at {DATA}")

SHAPES = {"a": (8, 6), "b b": (8, 6), "c": (6, 8), 'd"é': (8, 6)}


def make_source(folder: Path) -> dict:
    """Four fields in two modalities: shapes and dtypes mixed, one mask file for both modalities, ids as they come."""
    rng = np.random.default_rng(0)
    folder.mkdir()
    rows = []
    for number, (image_id, shape) in enumerate(SHAPES.items()):
        tifffile.imwrite(folder / f"mask{number}.tif", rng.integers(0, 3, shape, dtype=np.uint8))
        for modality, dtype in (("fluorescence", "uint16"), ("brightfield", "uint8" if image_id == "a" else "float32")):
            name = f"{modality}{number}.tif"
            tifffile.imwrite(folder / name, rng.integers(0, 200, shape).astype(dtype))
            rows.append((image_id, "HeLa", modality, name, f"mask{number}.tif"))
    table = pd.DataFrame(rows, columns=["image_id", "cell_line", "modality", "image", "mask"])
    table.to_csv(folder / "images.tsv", sep="\t", index=False)
    return {"layout": "table", "path": str(folder / "images.tsv"), "mask": {"kind": "three_class"}}


@pytest.fixture
def source(tmp_path: Path) -> dict:
    return make_source(tmp_path / "source")


class Outputs:
    """Paths of one converted data set."""

    def __init__(self, folder: Path) -> None:
        self.images = folder / "images.zarr"
        self.annotations = folder / "annotations.zarr"
        self.targets = folder / "targets.zarr"
        self.fields = folder / "fields.tsv"
        self.splits = folder / "splits.tsv"

    def convert(self, source: dict, **more: float) -> pd.DataFrame:
        output = ConvertedFiles(self.images, self.annotations, self.fields)
        convert_dataset(source, output, workers=2, **more)
        return read_fields(self.fields)

    def binarize(self, source: dict) -> None:
        binarize_masks(self.annotations, self.fields, self.targets, source["mask"], workers=2)

    def split(self, sizes: tuple) -> pd.DataFrame:
        write_splits(split_dataset(read_fields(self.fields), sizes, 0), self.splits)
        return read_splits(self.splits)

    @property
    def files(self) -> DatasetFiles:
        return DatasetFiles(self.images, self.targets, self.fields, self.splits)


@pytest.fixture
def outputs(tmp_path: Path) -> Outputs:
    return Outputs(tmp_path / "results")


def check_valid(path: Path) -> None:
    root = zarr.open_group(path, mode="r")
    names = [name for name, node in root.members(max_depth=None) if "ome" in node.attrs]
    assert names
    for name in names:
        yaozarrs.validate_zarr_store(path / name)
        ome_zarr_models.v05.Image.from_zarr(zarr.open_group(path / name, mode="r"))


def check_every_pixel(outputs: Outputs, fields: pd.DataFrame, folder: Path, mask: dict) -> None:
    """Compare all stores with the source files, read here on their own."""
    kind, codes = mask["kind"], mask.get("codes", masks.DEFAULT_CODES)
    for row in fields.itertuples():
        for file, digest, target in (
            (row.image_file, row.image_sha256, outputs.images),
            (row.mask_file, row.mask_sha256, outputs.annotations),
        ):
            assert hashlib.sha256((folder / file).read_bytes()).hexdigest() == digest
            stored = store.read_row(target / row.array, row.row)
            np.testing.assert_array_equal(stored, tifffile.imread(folder / file))
        annotation = tifffile.imread(folder / row.mask_file)
        border_as = mask.get("border_as", "background")
        expected = {
            "binary": masks.to_binary(annotation, kind, codes, border_as),
            "instances": masks.to_instances(annotation, kind, codes, border_as),
        }
        if kind != "binary":
            expected["three_class"] = masks.to_three_class(annotation, kind, codes)
            expected["distance"] = masks.to_distance(annotation, kind, codes, border_as)
        for name, pixels in expected.items():
            np.testing.assert_array_equal(store.read_row(outputs.targets / name / row.array, row.row), pixels)


def test_every_pixel_arrives(source, outputs):
    fields = outputs.convert(source, pixel_size=0.5)
    outputs.binarize(source)
    assert list(fields.columns) == FIELDS_COLUMNS
    assert fields["image_id"].tolist() == ["a", "b b", "c", 'd"é'] * 2
    assert fields["modality"].tolist() == ["brightfield"] * 4 + ["fluorescence"] * 4
    assert fields["array"].tolist() == [
        "brightfield/8x6-uint8",
        "brightfield/8x6-float32",
        "brightfield/6x8",
        "brightfield/8x6-float32",
        "fluorescence/8x6",
        "fluorescence/8x6",
        "fluorescence/6x8",
        "fluorescence/8x6",
    ]
    assert fields["row"].tolist() == [0, 0, 0, 1, 0, 1, 0, 2]
    assert fields["dtype"].tolist() == ["uint8", "float32", "float32", "float32"] + ["uint16"] * 4
    assert fields["image_file"].tolist()[0] == "brightfield0.tif"
    assert set(fields["split"]) == {""}
    check_every_pixel(outputs, fields, Path(source["path"]).parent, source["mask"])
    for path, content in (
        (outputs.images, "images"),
        (outputs.annotations, "annotations"),
        (outputs.targets, "targets"),
    ):
        check_valid(path)
        assert store.store_attributes(path)["equinuclei"]["content"] == content
    assert store.open_stack(outputs.images, "fluorescence/8x6").dtype == np.uint16
    assert store.open_stack(outputs.annotations, "fluorescence/8x6").dtype == np.uint8
    assert store.open_stack(outputs.targets, "instances/fluorescence/8x6").dtype == np.uint16
    assert store.read_pixel_size(outputs.targets, "binary/fluorescence/8x6") == 0.5
    results = outputs.fields.parent
    assert {path.name for path in results.iterdir()} == {
        "images.zarr",
        "annotations.zarr",
        "targets.zarr",
        "fields.tsv",
    }
    assert not list(results.rglob(".done-*"))
    assert b"\r" not in outputs.fields.read_bytes()


def test_masks_of_one_array_share_a_dtype(source, outputs):
    folder = Path(source["path"]).parent
    labels = np.zeros((8, 6), np.uint16)
    labels[:4] = 60000
    tifffile.imwrite(folder / "mask1.tif", labels)
    source["mask"] = {"kind": "instances", "border_as": "nucleus"}
    fields = outputs.convert(source)
    outputs.binarize(source)
    assert store.open_stack(outputs.annotations, "fluorescence/8x6").dtype == np.uint16
    assert store.open_stack(outputs.annotations, "fluorescence/6x8").dtype == np.uint8
    check_every_pixel(outputs, fields, folder, source["mask"])


def test_many_nuclei_make_a_wider_array(tmp_path, outputs):
    folder = tmp_path / "source"
    for name in ("images", "masks"):
        (folder / name).mkdir(parents=True)
    mask = np.zeros((513, 513), np.uint8)
    mask[::2, ::2] = 1
    for stem, pixels in (("few", np.eye(513, dtype=np.uint8)), ("many", mask)):
        tifffile.imwrite(folder / "images" / f"{stem}.tif", pixels)
        tifffile.imwrite(folder / "masks" / f"{stem}.tif", pixels)
    source = {"layout": "folder", "path": str(folder), "modality": "m", "mask": {"kind": "binary"}}
    fields = outputs.convert(source)
    outputs.binarize(source)
    assert store.open_stack(outputs.targets, "instances/m/513x513").dtype == np.uint32
    assert {path.name for path in outputs.targets.iterdir() if path.is_dir()} == {"binary", "instances"}
    check_every_pixel(outputs, fields, folder, source["mask"])


def test_given_splits_and_groups_reach_the_table(source, outputs):
    path = Path(source["path"])
    table = pd.read_csv(path, sep="\t").assign(split="val", group="well 1")
    table.to_csv(path, sep="\t", index=False)
    fields = outputs.convert(source)
    assert set(fields["split"]) == {"val"}
    assert set(fields["group"]) == {"well 1"}
    assert set(outputs.split((9, 9, 9))["part"]) == {"val"}


def test_interrupted_conversion_continues(source, outputs, monkeypatch):
    write_stack, written = store.write_stack, []

    def fail_at(number: int):
        def write(stack, read, workers):
            if len(written) == number:
                raise KeyboardInterrupt
            written.append(stack.store_path)
            write_stack(stack, read, workers)

        return write

    monkeypatch.setattr(store, "write_stack", fail_at(3))
    with pytest.raises(KeyboardInterrupt):
        outputs.convert(source)
    assert not outputs.images.exists()
    assert not outputs.fields.exists()
    monkeypatch.setattr(store, "write_stack", fail_at(8))
    with pytest.raises(KeyboardInterrupt):
        outputs.convert(source)
    assert outputs.images.exists()
    assert not outputs.fields.exists()
    monkeypatch.setattr(store, "write_stack", fail_at(-1))
    fields = outputs.convert(source)
    outputs.binarize(source)
    assert len(written) == 10 + 20  # five arrays of images, five of annotations, each once, and their targets
    check_every_pixel(outputs, fields, Path(source["path"]).parent, source["mask"])


def test_interrupted_conversion_by_other_code_is_not_continued(source, outputs, monkeypatch):
    write_stack, written = store.write_stack, []

    def write(stack, read, workers):
        if len(written) == 3:
            raise KeyboardInterrupt
        written.append(stack.store_path)
        write_stack(stack, read, workers)

    files = ConvertedFiles(outputs.images, outputs.annotations, outputs.fields)
    monkeypatch.setattr(store, "write_stack", write)
    with pytest.raises(KeyboardInterrupt):
        convert_dataset(source, files, workers=1, code="old")
    written += [None]
    convert_dataset(source, files, workers=1, code="new")
    assert len(written) == 4 + 10  # all arrays of images and annotations anew


def test_changed_source_is_not_mixed_with_old_stores(source, outputs):
    outputs.convert(source)
    outputs.convert(source)
    before = outputs.fields.read_bytes()
    tifffile.imwrite(Path(source["path"]).with_name("fluorescence0.tif"), np.zeros((8, 6), np.uint16))
    with pytest.raises(InputError, match=r"images.zarr exists and was made from other inputs"):
        outputs.convert(source)
    assert outputs.fields.read_bytes() == before


def test_all_problems_of_files_are_reported_at_once(source, outputs):
    folder = Path(source["path"]).parent
    (folder / "fluorescence0.tif").write_bytes(b"")
    tifffile.imwrite(folder / "fluorescence1.tif", np.zeros((8, 7), np.uint8))
    tifffile.imwrite(folder / "mask2.tif", np.full((6, 8), 7, np.uint8))
    with pytest.raises(InputError, match="4 problems") as error:
        outputs.convert(source)
    message = str(error.value)
    assert "fluorescence0.tif: cannot be read" in message
    assert "is 8 x 7 pixels, but its mask" in message
    assert "mask2.tif: the three-class mask holds the value 7" in message
    assert not outputs.images.exists()


@pytest.mark.parametrize(
    ("mask", "message"),
    [
        ({"kind": "labels"}, "mask kind 'labels'"),
        ({"kind": "three_class", "codes": {"nucleus": 1}}, "three different numbers"),
        ({"kind": "binary", "border_as": "x"}, "border_as 'x'"),
    ],
)
def test_unusable_mask_settings(source, outputs, mask, message):
    with pytest.raises(InputError, match=message):
        outputs.convert(source | {"mask": mask})


def test_unusable_modality(source, outputs):
    path = Path(source["path"])
    path.write_text(path.read_text().replace("brightfield\t", "bright field\t"))
    with pytest.raises(InputError, match="modality 'bright field'"):
        outputs.convert(source)


def test_annotations_of_another_table(source, outputs):
    fields = outputs.convert(source)
    fields.iloc[:-1].to_csv(outputs.fields, sep="\t", index=False)
    with pytest.raises(InputError, match=r"array 'fluorescence/8x6' has 3 rows, .* has 2"):
        outputs.binarize(source)
    fields.assign(array="brightfield/9x9").to_csv(outputs.fields, sep="\t", index=False)
    with pytest.raises(InputError, match="has no array 'brightfield/9x9'"):
        outputs.binarize(source)


@pytest.fixture(scope="module")
def template(tmp_path_factory) -> Outputs:
    folder = tmp_path_factory.mktemp("template")
    source, outputs = make_source(folder / "source"), Outputs(folder / "results")
    outputs.convert(source)
    outputs.binarize(source)
    outputs.split((2, 1, 1))
    return outputs


@pytest.fixture
def converted(template, outputs) -> Outputs:
    shutil.copytree(template.fields.parent, outputs.fields.parent)
    return outputs


def test_load_part(converted, source):
    folder = Path(source["path"]).parent
    splits = read_splits(converted.splits).set_index("image_id")["part"]
    for modality in ("brightfield", "fluorescence"):
        part = load_part(converted.files, modality=modality, part="train")
        assert part.fields["image_id"].tolist() == sorted(splits.index[splits == "train"])
        assert set(part.fields["part"]) == {"train"}
        assert set(part.fields["modality"]) == {modality}
        assert len(part.images) == len(part.targets) == len(part.fields) == 2
        for number, row in part.fields.iterrows():
            image, mask = read_image(folder / row["image_file"]), read_mask(folder / row["mask_file"])
            assert part.images[number].dtype == row["dtype"] == image.dtype
            assert part.targets[number].dtype == bool
            np.testing.assert_array_equal(part.images[number], image)
            np.testing.assert_array_equal(part.targets[number], mask == 2)
    with pytest.raises(AttributeError):
        part.images = []


@pytest.mark.parametrize("workers", [1, 3])
def test_iterate_images(converted, source, workers):
    folder = Path(source["path"]).parent
    rows = part_fields(converted.fields, converted.splits, modality="brightfield", part="train")
    stores = {name: converted.targets / name for name in ("instances", "three_class")}
    yielded = list(iterate_images(rows, workers=workers, image=converted.images, **stores))
    assert [row.image_id for row, _ in yielded] == rows["image_id"].tolist()
    for row, stored in yielded:
        mask = read_mask(folder / row.mask_file)
        np.testing.assert_array_equal(stored["image"], read_image(folder / row.image_file))
        np.testing.assert_array_equal(stored["three_class"], mask)
        np.testing.assert_array_equal(stored["instances"] > 0, mask == 2)


def test_few_images_are_read_ahead(converted, monkeypatch):
    rows = pd.concat([read_fields(converted.fields).iloc[4:5].assign(image_id=f"{n:03}") for n in range(30)])
    count = []

    class AtOnce(ThreadPoolExecutor):
        """Reads as soon as it is told to, so that none is on its way."""

        def submit(self, *work):
            future = super().submit(*work)
            wait([future])
            return future

    monkeypatch.setattr(parts, "ThreadPoolExecutor", AtOnce)
    monkeypatch.setattr(parts, "read_row", lambda *where: count.append(where) or store.read_row(*where))
    iterator = iterate_images(rows, workers=2, image=converted.images)
    next(iterator)
    assert len(count) == 5
    assert len(list(iterator)) == 29
    assert len(count) == 30


@pytest.mark.parametrize(
    ("modality", "part", "message"),
    [
        ("phase", "train", "no images of modality 'phase' in 'train'; there are brightfield: test, train"),
        ("brightfield", "holdout", "in 'holdout'"),
    ],
)
def test_parts_that_are_not_there(converted, modality, part, message):
    with pytest.raises(InputError, match=message):
        load_part(converted.files, modality=modality, part=part)


def test_splits_of_another_data_set(converted):
    splits = read_splits(converted.splits)
    splits.iloc[1:].to_csv(converted.splits, sep="\t", index=False)
    with pytest.raises(InputError, match=r"image_id 'a' of .*fields\.tsv is not in"):
        load_part(converted.files, modality="brightfield", part="train")


def test_ids_stay_strings(tmp_path):
    ids = ["007", "NA", "1e5", "nan", 'say "x"', "true"]
    split = pd.DataFrame({"image_id": ids, "cell_line": "NA", "group": ids, "part": "train"})
    write_splits(split, tmp_path / "splits.tsv")
    pd.testing.assert_frame_equal(read_splits(tmp_path / "splits.tsv"), split, check_dtype=False)


def test_tables_that_cannot_be_read(tmp_path):
    with pytest.raises(InputError, match="does not exist"):
        read_fields(tmp_path / "fields.tsv")
    (tmp_path / "fields.tsv").write_text("image_id\ta\n")
    with pytest.raises(InputError, match="column 'cell_line', 'modality'"):
        read_fields(tmp_path / "fields.tsv")
    (tmp_path / "splits.tsv").write_text("image_id\tcell_line\tgroup\tpart\na\tb\tc\tholdout\n")
    with pytest.raises(InputError, match="part 'holdout'"):
        read_splits(tmp_path / "splits.tsv")


def copy_some(source: Path, folder: Path, stems: list[str]) -> None:
    for name in ("images", "masks"):
        (folder / name).mkdir(parents=True)
        for stem in stems:
            shutil.copy(source / name / f"{stem}.tif", folder / name)
    listed = pd.read_csv(source / "split.csv", dtype=str, keep_default_na=False)
    listed[listed["name"].isin(stems)].to_csv(folder / "split.csv", index=False)


@needs_data
@pytest.mark.parametrize(
    ("name", "modality", "mask"),
    [
        ("dsb2018_fluo", "fluorescence", {"kind": "instances"}),
        ("brifiseg_brightfield", "brightfield", {"kind": "binary"}),
    ],
)
def test_real_images(tmp_path, outputs, monkeypatch, name, modality, mask):
    monkeypatch.setattr(store, "SHARD_BYTES", 600_000)  # several shards in an array
    listed = pd.read_csv(DATA / name / "split.csv", dtype=str, keep_default_na=False)
    if "height" in listed:
        shapes = listed["height"] + "x" + listed["width"]
        small = listed[~shapes.isin(["603x1272", "1040x1388"])]
        stems = small.groupby(shapes).head(2)["name"].tolist()
    else:
        stems = listed.groupby("cell_line").head(6)["name"].tolist()
    assert len(stems) == 12
    copy_some(DATA / name, tmp_path / "source", stems)
    source = {"layout": "folder", "path": str(tmp_path / "source"), "modality": modality, "mask": mask}
    fields = outputs.convert(source)
    outputs.binarize(source)
    assert len(fields) == 12
    check_every_pixel(outputs, fields, tmp_path / "source", mask)
    for path in (outputs.images, outputs.annotations, outputs.targets):
        check_valid(path)
    splits = outputs.split((0.5, 0.5, 0.0))
    assert dict(zip(splits["image_id"], splits["part"], strict=True)) == dict(
        zip(fields["image_id"], fields["split"], strict=True)
    )


@needs_data
def test_three_class_codes_of_a_real_set(tmp_path, outputs):
    name = DATA / "brifiseg_brightfield"
    stems = [path.stem for path in sorted((name / "masks_3class").iterdir())]
    copy_some(name, tmp_path / "source", stems)
    shutil.rmtree(tmp_path / "source" / "masks")
    shutil.copytree(name / "masks_3class", tmp_path / "source" / "masks")
    mask = {"kind": "three_class", "codes": {"background": 0, "nucleus": 1, "border": 2}, "border_as": "nucleus"}
    source = {"layout": "folder", "path": str(tmp_path / "source"), "modality": "brightfield", "mask": mask}
    fields = outputs.convert(source)
    outputs.binarize(source)
    check_every_pixel(outputs, fields, tmp_path / "source", mask)
