"""`equinuclei plate`: what it says of a plate, and of a folder that is none."""

import tifffile

from equinuclei.cli.main import main
from support.plate_exports import random_image, write_harmony, write_images, write_metaxpress
from support.zarr_plates import random_pixels, write_zarr_plate

PATTERN = r"(?P<well>[A-P]\d+)_s(?P<field>\d+)_w(?P<channel>\d)\.tif"


def told(capsys, *words: str, status: int = 0) -> dict[str, str]:
    """What is said, by the words that lines begin with."""
    assert main(["plate", *words]) == status
    captured = capsys.readouterr()
    if status:
        return {"error": captured.err}
    return {line[:15].strip(): line[15:] for line in captured.out.splitlines()}


def test_of_an_instrument(tmp_path, capsys):
    write_harmony(tmp_path, planes=2)
    (tmp_path / "Images" / "r02c03f01p01-ch1sk1fk1fl1.tiff").unlink()
    tifffile.imwrite(tmp_path / "overview.tif", random_image(1))
    lines = told(capsys, str(tmp_path))
    assert lines["layout"] == "harmony" and lines["plate"] == "BAR 1"
    assert lines["wells"] == "2" and lines["fields"] == "3 per well" and lines["z planes"] == "2"
    assert lines["channels"] == "Brightfield, DAPI (456 nm)"
    assert lines["pixel size"] == "0.5 micrometres" and lines["image size"] == "16 x 20 pixels"
    assert lines["absent files"] == "1 are listed: r02c03f01p01-ch1sk1fk1fl1.tiff"
    assert lines["not matched"] == "1 images belong to no plane: overview.tif"


def test_of_a_pattern(tmp_path, capsys):
    names = [f"{well}_s{field}_w1.tif" for well in ("B02", "B10", "AA01") for field in (1, 2)]
    write_images(tmp_path, dict.fromkeys([*names[:-1], *(f"x{n}.tif" for n in range(7))], ()))
    assert main(["plate", str(tmp_path), "--pattern", PATTERN.replace("[A-P]", "[A-Z]+")]) == 0
    lines = capsys.readouterr().out
    assert "layout         pattern" in lines and "               B: 02 10\n               AA: 01" in lines
    assert "1 to 2 per well; not 2: AA01 1" in lines
    assert "7 images belong to no plane: x0.tif, x1.tif, x2.tif, x3.tif, x4.tif, and 2 more" in lines


def test_of_acquisitions(tmp_path, capsys):
    images = [
        {"name": name, "pixels": random_pixels(1), "labels": ("DAPI", "GFP"), "acquisition": number}
        for number, name in enumerate(("0", "1", "1_registered"))
    ]
    images[2]["acquisition"] = 1
    write_zarr_plate(tmp_path / "p.zarr", {"B/03": images})
    lines = told(capsys, str(tmp_path / "p.zarr"))
    assert lines["acquisitions"] == "2 (numbers 0, 1)"
    assert lines["set aside"].startswith("1: made from image '1'") and "not matched" not in lines


def test_of_projections(tmp_path, capsys):
    write_metaxpress(tmp_path, steps=(0, 1))
    assert told(capsys, str(tmp_path))["z planes"] == "1 and projections by the instrument"


def test_what_cannot_be_read_ends_with_1_and_the_message(tmp_path, capsys):
    write_images(tmp_path, {"B02_s1_w1.tif": ()})
    assert "what looks like wells (B02)" in told(capsys, str(tmp_path), status=1)["error"]
    assert "not a regular expression" in told(capsys, str(tmp_path), "--pattern", "(", status=1)["error"]
    assert "--pages needs --pattern" in told(capsys, str(tmp_path), "--pages", "z", status=1)["error"]
    assert "Did you mean 'harmony'" in told(capsys, str(tmp_path), "--layout", "harmon", status=1)["error"]
    assert told(capsys, str(tmp_path), "--layout", "folder")["layout"] == "folder"


def test_pages(tmp_path, capsys):
    stack = random_pixels(1, 3)
    tifffile.imwrite(tmp_path / "B02_s1_w1.tif", stack, photometric="minisblack")
    assert told(capsys, str(tmp_path), "--pattern", PATTERN, "--pages", "z")["z planes"] == "3"
