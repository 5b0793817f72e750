"""Wells and fields at full size, with mouse and keyboard in a real browser, from a folder that was moved."""

import shutil
import zipfile

import imageio.v3 as iio
import numpy as np
import pandas as pd
import pytest

from equinuclei.plates import page_images
from support.browser import HOSTILE
from support.plate_page import make_page, make_plate, value


@pytest.fixture(scope="module")
def plate(tmp_path_factory):
    """A plate whose page has files of single fields, in a folder that is not where it was made."""
    folder = tmp_path_factory.mktemp("plate")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(page_images, "WELL_EDGE", 600)
        page = make_page(folder, make_plate(folder, channels=("DAPI", HOSTILE)), plate=f"=P {HOSTILE}")
    moved = tmp_path_factory.mktemp("elsewhere") / "mailed #1, 100% & so"
    moved.mkdir()
    shutil.move(page, moved)
    shutil.move(page.with_name("report_files"), moved)
    return moved / "report.html"


def loaded(name):
    return f"document.getElementById('{name}').classList.contains('loaded')"


def colour_in_the_middle(browser, tmp_path):
    """What the screen shows a tenth of the way from the image's corner to its middle."""
    browser.run("new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))")
    browser.screenshot(tmp_path / "seen.png")
    x, y = browser.run(
        "(r => [r.x + r.width * 0.2, r.y + r.height * 0.2])(document.getElementById('scene').getBoundingClientRect())"
    )
    return iio.imread(tmp_path / "seen.png")[int(y), int(x), :3].tolist()


def test_from_the_well_to_a_field_and_its_channels(browser, plate, tmp_path):
    browser.open(plate)
    browser.click("[data-well=B02]")
    browser.until(loaded("base"))
    assert browser.run("viewer.view.well") == "B02" and browser.run("byId('note').textContent").endswith(
        "1/2 of the resolution"
    )
    browser.click("[data-field='2']")
    browser.until(f"{loaded('fine')} && {loaded('fine-lines')}")
    assert browser.run("[fine.naturalWidth, fine.naturalHeight]".replace("fine", "byId('fine')")) == [600, 600]
    assert browser.run("byId('note').textContent") == "DAPI, full resolution"
    # Black at 0 and white at twice the value of the field: it is in the middle between them.
    browser.run(f"(displayed => viewer.display(displayed))({{low: 0, high: {2 * value(1, 0, 2)}}})")
    assert colour_in_the_middle(browser, tmp_path) == pytest.approx([128] * 3, abs=8)
    browser.press("2")
    browser.until(f"{loaded('fine')} && byId('fine').src.includes('t0_f2_c1.jpg')")
    browser.press("o")
    assert browser.run("[byId('base-lines').hidden, byId('fine-lines').hidden]") == [True, True]
    browser.press("PageDown", "PageDown")  # to the fourth field, which has no image in this channel
    assert "Field 4 has no image in" in browser.run("byId('note').textContent")
    browser.press("Escape")
    assert browser.run("viewer.view.field") is None and browser.run("byId('viewer').open")
    browser.press("Escape")
    assert not browser.run("byId('viewer').open") and browser.run("document.activeElement.dataset.well") == "B02"
    assert browser.failures == [] and all(one.startswith(plate.parent.as_uri()) for one in browser.requests.values())
    assert browser.run("document.title") != "hacked"


def test_contrast_is_set_by_hand_from_the_image_or_alike_for_all_wells(browser, plate):
    browser.open(plate, "#A01/3")
    browser.until(loaded("fine"))
    shown = "[...byId('contrast').querySelectorAll('output')].map(one => one.textContent)"
    alike = browser.run(shown)
    browser.press("a")
    assert browser.run(shown)[0] == "3,000" and browser.run("byId('automatic').getAttribute('aria-pressed')") == "true"
    browser.run("byId('white').focus()")
    browser.press("ArrowRight")
    assert browser.run("byId('automatic').getAttribute('aria-pressed')") == "false"
    browser.press("PageDown")
    browser.click("#of-plate")
    assert browser.run(shown) == alike and browser.failures == []


def test_the_image_is_moved_and_zoomed(browser, plate):
    browser.open(plate, "#A01/")
    browser.until(loaded("base"))
    view = "(v => [v.scale, v.left, v.top])(viewer.view)"
    scale, left, top = browser.run(view)
    browser.press("ArrowRight", "ArrowDown")
    assert browser.run(view) == pytest.approx([scale, left - 60, top - 60])
    browser.press("+")
    assert browser.run(view)[0] == pytest.approx(1.25 * scale)
    browser.press("-", "0")
    assert browser.run(view) == pytest.approx([scale, left, top])
    # The wheel zooms about the pointer: what lies under it stays there.
    x, y = browser.run("(r => [r.x + 200, r.y + 150])(byId('stage').getBoundingClientRect())")
    browser.mouse("mouseWheel", x, y, deltaX=0, deltaY=-300)
    browser.until(f"viewer.view.scale > {1.3 * scale}")
    after, moved, _ = browser.run(view)
    assert (200 - moved) / after == pytest.approx((200 - left) / scale)
    # Dragged over a field: moved, and no field was opened.
    browser.mouse("mousePressed", x, y, button="left", buttons=1, clickCount=1)
    for step in (20, 50):
        browser.mouse("mouseMoved", x + step, y, button="left", buttons=1)
    browser.mouse("mouseReleased", x + 50, y, button="left", clickCount=1)
    assert browser.run(view)[1] == pytest.approx(moved + 50) and browser.run("viewer.view.field") is None
    browser.press("1")
    assert browser.failures == []


def test_wells_are_reached_by_keys_alone(browser, plate):
    browser.open(plate)
    assert browser.run("[...document.querySelectorAll('#plate [tabindex=\"0\"]')].map(one => one.dataset.well)") == [
        "A01"
    ]
    browser.run("buttons.get('A01').focus()")
    browser.press("ArrowRight")  # no other well was imaged in this row
    assert browser.run("document.activeElement.dataset.well") == "A01"
    browser.run("buttons.get('B02').focus()")
    browser.press("Enter")
    browser.until(loaded("base"))
    assert browser.run("document.activeElement.id") == "stage" and browser.run("viewer.view.well") == "B02"
    browser.press("PageUp")
    assert browser.run("viewer.view.well") == "A01" and browser.run("byId('previous').disabled")
    browser.press("Escape")
    assert browser.run("document.activeElement.dataset.well") == "A01"
    assert browser.run("getComputedStyle(document.activeElement).outlineStyle") == "solid" and browser.failures == []


def test_arrows_go_from_well_to_well(browser, tmp_path):
    browser.open(make_page(tmp_path, make_plate(tmp_path, ("A01", "A03", "C01", "C03")), budget=0))
    browser.run("buttons.get('A01').focus()")
    seen = []
    for key in ("ArrowRight", "ArrowDown", "ArrowLeft", "ArrowUp", "End", "Home"):
        browser.press(key)
        seen.append(browser.run("document.activeElement.dataset.well"))
    assert (
        seen == ["A03", "C03", "C01", "A01", "A03", "A01"]
        and browser.run("byId('well-name').textContent") == "Well A01"
    )


def test_tables_are_downloaded(browser, plate):
    browser.open(plate)
    browser.click(".downloads a")
    # Chromium replaces what a name of a file cannot hold.
    saved = waited(browser, "*wells.csv")
    assert len(pd.read_csv(saved)) == 2
    browser.click(".downloads a:nth-of-type(3)")
    with zipfile.ZipFile(waited(browser, "*nuclei.zip")) as archive:
        assert len(pd.read_csv(archive.open("nuclei.csv"))) == 8
    assert browser.failures == []


def waited(browser, pattern):
    """A file that was downloaded, once it is whole."""
    for _ in range(600):
        found = [path for path in browser.downloads.glob(pattern) if not path.name.endswith(".crdownload")]
        if found:
            return found[0]
        browser.run("new Promise(done => setTimeout(done, 50))")
    raise AssertionError(f"no {pattern} in {list(browser.downloads.glob('*'))}")


def test_nothing_is_loaded_but_the_images(browser, plate):
    browser.open(plate)
    blocked = browser.run("""new Promise(done => {
        const blocked = [];
        addEventListener("securitypolicyviolation", event => {
            blocked.push(event.violatedDirective);
            if (blocked.length === 4) done(blocked.sort());
        });
        fetch("https://example.org/").catch(() => {});
        new Image().src = "https://example.org/a.png";
        document.head.append(Object.assign(document.createElement("script"), {src: "report_files/a.js"}));
        document.body.append(Object.assign(document.createElement("iframe"), {src: "https://example.org/"}));
    })""")
    assert blocked == ["connect-src", "frame-src", "img-src", "script-src-elem"]
    assert not [one for one in browser.requests.values() if not one.startswith("file:")]


def test_a_page_without_its_folder_says_so(browser, plate, tmp_path):
    shutil.copy(plate, tmp_path)
    browser.open(tmp_path / "report.html", "#A01/")
    browser.until("byId('note').textContent")
    assert "has to lie beside this page" in browser.run("byId('note').textContent")


def test_a_page_without_images_shows_the_small_ones(browser, tmp_path):
    small = iio.imwrite("<bytes>", np.zeros((8, 8), np.uint8), extension=".jpg")
    browser.open(make_page(tmp_path, make_plate(tmp_path), budget=0, images={"A01": small}), "#A01/")
    browser.until(loaded("base"))
    assert browser.run("byId('contrast').hidden") and "without images" in browser.run("byId('note').textContent")
    browser.press("1", "a", "o", "PageDown", "Escape")
    assert browser.failures == []
