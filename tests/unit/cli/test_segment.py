"""`equinuclei segment` end to end: from a folder of simulated fields to label images, a table and overlays."""

import os
import subprocess
import sys
from pathlib import Path

import imageio.v3 as iio
import numpy as np
import pandas as pd
import pytest
import tifffile
import torch
from skimage.transform import rescale

from equinuclei.cli.main import main
from equinuclei.errors import InputError
from equinuclei.images.instances import connected_components
from equinuclei.images.pixel_metrics import pixel_scores
from equinuclei.inference import nuclei as segmentation
from equinuclei.inference.image_folder import _output_names, draw_overlay, find_images, segment_folder, write_labels
from equinuclei.inference.nuclei import segment_image
from equinuclei.networks.checkpoint import load_model
from equinuclei.networks.folding import fold
from equinuclei.simulation.fields import simulate_field
from equinuclei.specs import TARGETS
from equinuclei.tables.columns import tables as all_tables
from equinuclei.tables.formulas import unguarded
from support.tiny_model import tiny_weights


@pytest.fixture(autouse=True)
def torch_as_it_was():
    """Segmenting in this process sets torch's threads and determinism, for the tests of other files too."""
    threads, deterministic = torch.get_num_threads(), torch.are_deterministic_algorithms_enabled()
    yield
    torch.set_num_threads(threads)
    torch.use_deterministic_algorithms(deterministic)


@pytest.fixture(scope="module")
def weights():
    return tiny_weights()


@pytest.fixture
def field():
    return simulate_field("HeLa", 1, 201, 174)


def run(*arguments, **options):
    command = [sys.executable, "-m", "equinuclei", "segment", *map(str, arguments), "--threads", "1"]
    return subprocess.run(command, capture_output=True, text=True, errors="surrogateescape", **options)


def files(folder):
    return {path.relative_to(folder).as_posix() for path in Path(folder).rglob("*") if path.is_file()}


NAMES = ["A 1.tif", 'it\'s "b".tiff', "zelle_µm_核.png", "$(touch x);#.TIF", "-dash.tif", "tab\there.tif"]


def test_a_folder_of_images(tmp_path, weights, field):
    images, output = tmp_path / "my images", tmp_path / "my images" / "the results"
    images.mkdir()
    image = field.images["fluorescence"]
    for name in NAMES:
        iio.imwrite(images / name, image) if name.endswith("png") else tifffile.imwrite(images / name, image)
    for other in ("notes.txt", ".hidden.tif"):
        (images / other).write_text("no image")
    before = {name: (images / name).read_bytes() for name in NAMES}
    done = run("--model", weights, images, output, "--min-area", 20, "--pixel-size", 0.5, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    stems = [Path(name).stem for name in NAMES]
    tables = {"nuclei.tsv", "images.tsv"}
    expected = {f"labels/{stem}.tif" for stem in stems} | {f"overlays/{stem}.png" for stem in stems} | tables
    assert files(output) == expected
    assert {name: (images / name).read_bytes() for name in NAMES} == before
    assert files(tmp_path) == {f"my images/{name}" for name in [*NAMES, "notes.txt", ".hidden.tif"]} | {
        f"my images/the results/{name}" for name in expected
    }
    labels = tifffile.imread(output / "labels" / "A 1.tif")
    assert labels.dtype == np.uint16 and labels.shape == image.shape
    assert pixel_scores(field.instances > 0, labels > 0)["F1"] > 0.8
    assert np.bincount(labels.ravel())[1:].min() >= 20
    overlay = iio.imread(output / "overlays" / "A 1.png")
    assert overlay.shape == (*image.shape, 3)
    nuclei = pd.read_csv(output / "nuclei.tsv", sep="\t")
    assert nuclei.columns[0] == "image" and set(nuclei["image"].map(unguarded)) == set(NAMES)
    first = nuclei[nuclei["image"] == "A 1.tif"]
    assert first["label"].tolist() == list(range(1, labels.max() + 1))
    assert first["area"].tolist() == np.bincount(labels.ravel())[1:].tolist()
    assert first["area_um2"].tolist() == (first["area"] / 4).tolist()
    sums = [int(image[labels == label].sum()) for label in first["label"]]
    assert first["integrated_intensity"].tolist() == sums
    assert first["probability"].between(0.5, 1).all()
    # The results, which now lie inside, are no images of the next run, which gives the same bytes.
    once = {name: (output / name).read_bytes() for name in expected}
    again = run("--model", weights.parent, images, output, "--min-area", 20, "--pixel-size", 0.5)
    assert again.returncode == 0 and f"[6/{len(NAMES)}]" in again.stderr
    assert {name: (output / name).read_bytes() for name in files(output)} == once


def test_nuclei_are_cleaned_as_the_command_line_says(tmp_path, weights, field):
    tifffile.imwrite(tmp_path / "a.tif", field.images["fluorescence"])
    labels = []
    for name, flags in (("raw", []), ("clean", ["--fill-holes", "--exclude-border"])):
        assert main(["segment", *[str(w) for w in ("--model", weights, *flags, tmp_path, tmp_path / name)]]) == 0
        labels.append(tifffile.imread(tmp_path / name / "labels" / "a.tif"))
    raw, clean = labels
    rims = [np.concatenate([found[0], found[-1], found[:, 0], found[:, -1]]) for found in labels]
    assert rims[0].any() and not rims[1].any() and 0 < clean.max() < raw.max()
    assert (clean[~np.isin(raw, rims[0])] > 0).any() and not clean[np.isin(raw, rims[0][rims[0] > 0])].any()


def test_bad_images_are_told_and_the_others_done(tmp_path, weights, field):
    images, output = tmp_path / "in", tmp_path / "out"
    images.mkdir()
    image = field.images["fluorescence"]
    tifffile.imwrite(images / "good.tif", image)
    (images / "broken.tif").write_bytes((images / "good.tif").read_bytes()[:500])
    (images / "empty.png").write_bytes(b"")
    tifffile.imwrite(images / "colour.tif", np.stack([image, image // 2, image], axis=-1), photometric="rgb")
    tifffile.imwrite(images / "stack.tif", np.stack([image, image]), photometric="minisblack")
    tifffile.imwrite(images / "tiny.tif", image[:1, :1])
    (images / "link.tif").symlink_to("nowhere.tif")
    tifffile.imwrite(images / f"{'long' * 62}.tif", image)  # its temporary name would be too long
    (output / "labels").mkdir(parents=True)
    (output / "labels" / "broken.tif").write_bytes(b"of an earlier run")
    done = run("--model", weights, images, output)
    assert done.returncode == 1 and "Traceback" not in done.stderr
    for name in ("broken.tif", "empty.png", "colour.tif", "stack.tif", "tiny.tif", "link.tif", "longlong.tif"):
        assert f"{name}: FAILED" in done.stderr
    assert "--page" in done.stderr and "7 of 8 images" in done.stderr
    assert files(output) == {"labels/good.tif", "overlays/good.png", "nuclei.tsv", "images.tsv"}


def test_a_page_can_be_chosen(tmp_path, weights, field):
    tifffile.imwrite(
        tmp_path / "stack.tif",
        np.stack([np.zeros_like(field.images["fluorescence"]), field.images["fluorescence"]]),
        photometric="minisblack",
    )
    assert run("--model", weights, tmp_path, tmp_path / "out", "--channel", 1).returncode == 0
    assert tifffile.imread(tmp_path / "out/labels/stack.tif").max() > 5
    nuclei = pd.read_csv(tmp_path / "out/nuclei.tsv", sep="\t")
    assert not any(column.endswith(("_um", "_um2")) for column in nuclei.columns)


def test_mistakes_are_one_message(tmp_path, weights, field, capsys):
    images = tmp_path / "in"
    images.mkdir()
    empty = tmp_path / "empty"
    empty.mkdir()
    tifffile.imwrite(images / "a.tif", field.images["fluorescence"])
    (tmp_path / "file").write_text("")
    (tmp_path / "bad.safetensors").write_text("no weights")
    outside = tmp_path / "outside"
    outside.mkdir()
    linked = tmp_path / "linked"
    linked.mkdir()
    (linked / "labels").symlink_to(outside)
    inside = tmp_path / "inside"
    (inside / "labels").mkdir(parents=True)
    tifffile.imwrite(inside / "labels" / "a.tif", field.images["fluorescence"])
    out = tmp_path / "out"
    for arguments, message in [
        (["--model", "no-such", images, out], "model 'no-such'"),
        (["--model", tmp_path / "bad.safetensors", images, out], "these are no weights of this workflow"),
        (["--model", weights, tmp_path / "nowhere", out], "no such folder"),
        (["--model", weights, tmp_path / "file", out], "not a folder"),
        (["--model", weights, empty, out], "no image in it"),
        (["--model", weights, images, tmp_path / "file"], "not a folder"),
        (["--model", weights, images, tmp_path / "file" / "x"], "file"),
        (["--model", weights, images, images], "folder of the images"),
        (["--model", weights, images, images / ".." / "in"], "folder of the images"),
        (["--model", weights, inside / "labels", inside], "folder of the images"),
        (["--model", weights, images, linked], "a link"),
    ]:
        assert main(["segment", *[str(word) for word in arguments]]) == 1, arguments
        told = capsys.readouterr().err
        assert told.startswith("Error: ") and message in told
        assert not out.exists() and not files(outside)
    for arguments in (["--tile", 0], ["--page", -1], ["--min-area", "x"], ["--pixel-size", "nan"], ["--device", "tpu"]):
        with pytest.raises(SystemExit) as ended:
            main(["segment", *[str(word) for word in ("--model", weights, images, out, *arguments)]])
        assert ended.value.code == 2 and arguments[0] in capsys.readouterr().err and not out.exists()


@pytest.mark.skipif(os.getuid() == 0, reason="root may write everywhere")
def test_an_output_that_cannot_be_written(tmp_path, weights, field):
    tifffile.imwrite(tmp_path / "a.tif", field.images["fluorescence"])
    locked = tmp_path / "locked"
    locked.mkdir(mode=0o500)
    done = run("--model", weights, tmp_path, locked / "out")
    assert done.returncode == 1 and "Permission denied" in done.stderr and "Traceback" not in done.stderr


def test_help_tells_what_comes_out():
    done = run("--help")
    assert done.returncode == 0
    for word in ("labels/NAME.tif", "overlays/NAME.png", "nuclei.tsv", "examples:", "exit status"):
        assert word in done.stdout


def test_images_of_one_stem_keep_apart():
    names = ["a.PNG", "A.tif", "a.tif", "a.tif.tif", "b.tif"]
    found = list(_output_names([Path(name) for name in names]))
    assert len({name.casefold() for name in found}) == len(names)
    assert found[-1] == "b" and found[0] == "a.PNG"


def test_images_are_sorted_and_files(tmp_path):
    for name in ("b.tif", "a.TIFF", "c.png", "d.jpg", "._b.tif"):
        (tmp_path / name).touch()
    (tmp_path / "folder.tif").mkdir()
    assert [path.name for path in find_images(tmp_path)] == ["a.TIFF", "b.tif", "c.png"]


def test_many_labels_are_uint32(tmp_path):
    labels = np.arange(70_000, dtype=np.int32).reshape(700, 100)
    write_labels(tmp_path / "a.tif", labels)
    write_labels(tmp_path / "b.tif", labels[:600])
    many, few = tifffile.imread(tmp_path / "a.tif"), tifffile.imread(tmp_path / "b.tif")
    assert many.dtype == np.uint32 and few.dtype == np.uint16
    np.testing.assert_array_equal(many, labels)
    np.testing.assert_array_equal(few, labels[:600])


@pytest.mark.parametrize("target", TARGETS)
def test_tiles_change_no_label(field, target):
    network, image = fold(load_model(tiny_weights(target))), field.images["fluorescence"]
    whole = segment_image(network, image).labels
    tiled = segment_image(network, image, tile=16).labels
    np.testing.assert_array_equal(tiled, whole)
    assert whole.max() >= connected_components(whole > 0).max() > 0


def test_nuclei_of_another_size_are_magnified_to_the_one_that_the_network_knows(field):
    network = fold(load_model(tiny_weights("distance", diameter=24)))
    image = field.images["fluorescence"].astype(np.float32)
    large = rescale(image, 3, order=1)
    truth = np.kron(field.instances, np.ones((3, 3), int))
    usual, found, told, as_it_is = (
        (pixel_scores(reference > 0, labels > 0)["F1"], abs(int(labels.max()) - int(field.instances.max())))
        for reference, labels in (
            (field.instances, segment_image(network, image).labels),
            (truth, segment_image(network, large).labels),
            (truth, segment_image(network, large, diameter=72).labels),
            (truth, segment_image(network, large, diameter=None).labels),
        )
    )
    assert found[0] > usual[0] - 0.05 and told[0] > usual[0] - 0.05
    assert found[1] <= usual[1] + 2 < as_it_is[1] and told[1] <= usual[1] + 2


def test_a_whole_image_is_predicted_once_whatever_its_size_turns_out_to_be(field, monkeypatch):
    network = fold(load_model(tiny_weights("distance", diameter=24)))
    seen = []
    original = segmentation.predict_mosaic

    def predict(*arguments, magnification, **more):
        seen.append(magnification)
        return original(*arguments, magnification=magnification, **more)

    monkeypatch.setattr(segmentation, "predict_mosaic", predict)
    image = field.images["fluorescence"].astype(np.float32)
    assert segment_image(network, image).magnification == 1
    large = segment_image(network, rescale(image, 3, order=1))
    assert 1 / 4 < large.magnification < 1 / 2 and large.estimate is not None and not large.estimate.at_limit
    empty = segment_image(network, np.zeros((64, 64), np.uint8))  # no nucleus tells a size
    assert np.isnan(empty.diameter) and empty.estimate is not None and np.isnan(empty.estimate.diameter)
    assert seen == [1, large.magnification, 1] and empty.magnification == 1
    assert segment_image(network, image, diameter=24).estimate is None


def test_a_diameter_needs_a_model_with_one(tmp_path, weights, field):
    tifffile.imwrite(tmp_path / "a.tif", field.images["fluorescence"])
    failed = run("--model", weights, "--diameter", 30, tmp_path, tmp_path / "out")
    assert failed.returncode == 1 and "no preferred size" in failed.stderr and not (tmp_path / "out").exists()
    assert run("--diameter", "wide", tmp_path, tmp_path / "out").returncode == 2


def test_overlays_of_odd_images():
    labels = np.zeros((20, 20), np.int32)
    labels[5:10, 5:10] = 1
    for image in (np.zeros((20, 20), np.uint8), np.full((20, 20), 1e30, np.float32)):
        picture = draw_overlay(image, labels)
        assert picture.dtype == np.uint8 and (picture[5, 5] == (255, 80, 0)).all() and not picture[7, 7].any()


def test_segmenting_writes_nothing_before_its_checks(tmp_path, weights):
    with pytest.raises(InputError):
        segment_folder(str(weights), tmp_path / "nowhere", tmp_path / "out", models=tmp_path)
    assert not (tmp_path / "out").exists()


def test_an_inverted_image_is_flagged_and_can_be_inverted_back(tmp_path, field, caplog):
    image = field.images["fluorescence"]
    for name, pixels in (("plain", image), ("turned", np.iinfo(image.dtype).max - image)):
        (tmp_path / name).mkdir()
        tifffile.imwrite(tmp_path / name / "a.tif", pixels)
    tables = {}
    with caplog.at_level("INFO", "equinuclei"):
        for source, result, options in (("plain", "1", []), ("turned", "2", []), ("turned", "3", ["--invert"])):
            arguments = ["segment", *options, str(tmp_path / source), str(tmp_path / result), "--threads", "1"]
            assert main(arguments) == 0
            tables[result] = pd.read_csv(tmp_path / result / "images.tsv", sep="\t", keep_default_na=False)
    plain, turned, back = (table.iloc[0] for table in tables.values())
    assert plain["flags"] == "" and plain["nuclei"] > 0 and 0 < plain["mean_probability"] <= 1
    assert turned["flags"] == "inverted" and "run again with --invert" in turned["reasons"]
    assert "INVERTED: its nuclei are darker than the background" in caplog.text
    assert "1 of 1 images are flagged, it is a.tif (inverted)" in caplog.text
    assert back["flags"] == ""
    labels = [tifffile.imread(tmp_path / result / "labels" / "a.tif") for result in ("1", "3")]
    assert np.array_equal(*labels)
    assert {column.name for column in all_tables()["images/images.tsv"]} == set(tables["1"])


def test_a_failed_image_has_a_row_too(tmp_path, weights, field):
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "broken.tif").write_bytes(b"II*")
    assert main(["segment", "--model", str(weights), str(tmp_path / "in"), str(tmp_path / "out")]) == 1
    row = pd.read_csv(tmp_path / "out" / "images.tsv", sep="\t").iloc[0]
    assert (row["image"], row["flags"]) == ("broken.tif", "failed") and "broken.tif" in row["reasons"]
