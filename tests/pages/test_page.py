"""The page in a browser: what a visitor sees, with the mouse, with the keyboard, and with hostile files."""

import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import serialized
from tuning import pretrained_run

import fsfm_jax

driver_of = pytest.importorskip("playwright.sync_api", reason="playwright is needed: make test-pages")

ROOT = Path(fsfm_jax.__file__).parents[1]
SAMPLES = ROOT / "fsfm_jax" / "data" / "samples"
GROUP = SAMPLES / "mit_faceapi_group6.jpg"
PHOTO, CLIP = SAMPLES / "pd_nasa_astronaut.jpg", SAMPLES / "pd_nasa_astronaut_pan.mp4"
CHROMIUM = os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("chromium-browser")
ARGUMENTS = [
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync",
]  # fmt: skip
LONG_NAME = "pretraining_of_a_base_model_" * 4  # a word that no line can be broken in
PATIENCE = 60_000  # milliseconds; the first of each ratio is compiled


@pytest.fixture(scope="module")
def address(tmp_path_factory):
    """Where the real server runs, with a tiny detector and a tiny pretraining."""
    folder = tmp_path_factory.mktemp("runs")
    detector, pretraining = serialized.run(folder / "detector"), pretrained_run(folder / LONG_NAME)
    command = [
        sys.executable, "-m", "fsfm_jax.apps.serve", f"--checkpoint={detector}", f"--pretrained={pretraining}",
        "--port=0", "--detector=blazeface", "--frames=4", "--threshold=equal_error",
    ]  # fmt: skip
    server = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    line = server.stdout.readline()
    found = re.search(r"http://\S+", line)
    assert found, f"the server said {line!r}"
    yield found[0]
    server.send_signal(signal.SIGTERM)
    assert server.wait(30) == 0
    server.stdout.close()


@pytest.fixture(scope="module")
def browser():
    assert CHROMIUM, "there is no Chromium: apt-get install chromium, or CHROMIUM=/path/to/it"
    with driver_of.sync_playwright() as driver:
        opened = driver.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        yield opened
        opened.close()


@pytest.fixture
def page(browser, address):
    """The page, which may neither fail nor ask anybody else."""
    opened, wrong = browser.new_page(), []
    opened.on("pageerror", lambda error: wrong.append(str(error)))
    opened.on(
        "console",
        lambda said: wrong.append(said.text) if said.type == "error" and "the server responded with" not in said.text
        else None,
    )  # fmt: skip
    opened.on("request", lambda request: wrong.append(request.url) if not request.url.startswith(
        (address, "data:", "blob:")) else None)  # fmt: skip
    opened.set_default_timeout(PATIENCE)
    opened.goto(address)
    opened.wait_for_selector("body[data-ready]")
    yield opened
    opened.close()
    assert wrong == []


def shown(page, name):
    page.wait_for_selector(f"#result-{name}:not([hidden])")


def refused(page, file, text, field="#file-detect"):
    page.set_input_files(field, file)
    driver_of.expect(page.locator("#status.error")).to_contain_text(text, timeout=PATIENCE)
    assert page.is_hidden("#result-detect") and page.is_hidden("#result-mask")


def test_a_photo_is_looked_at(page):
    page.set_input_files("#file-detect", PHOTO)
    shown(page, "detect")
    assert page.inner_text("#verdict strong") in ("real", "forged") and "P(real) 0." in page.inner_text("#verdict")
    assert page.locator(".bar").count() == 2 and "equal error, chosen on val" in page.inner_text("#rule")
    face = page.locator("#faces img")
    assert face.count() == 1 and face.evaluate("image => image.naturalWidth") == 2 * serialized.SIDE + 4
    assert page.is_hidden("#timeline") and page.inner_text("#faces-title") == "One face"
    meters = page.get_by_role("meter")
    full, filled = (place.bounding_box()["width"] for place in (meters.last, meters.last.locator("div")))
    share = float(meters.last.get_attribute("aria-valuenow"))
    assert meters.count() == 2 and 0 < share < 1 and filled == pytest.approx(share * full, abs=1)


def test_a_video_has_a_timeline(page):
    page.set_input_files("#file-detect", CLIP)
    shown(page, "detect")
    assert page.is_visible("#timeline") and page.locator("#timeline").evaluate("image => image.naturalWidth") > 300
    assert page.inner_text("#faces-title") == "4 faces, in 4 of 4 frames" and "0.00 s" in page.inner_text("#faces")
    assert page.inner_text("#faces figure.decides").startswith("looks most forged: ") and page.is_hidden("#warnings")
    assert "paintings" in page.inner_text("#not-covered") and page.is_hidden("#withheld")


def test_all_faces_of_a_picture_are_judged_and_paths_are_not_told(page):
    page.set_input_files("#file-detect", GROUP)
    shown(page, "detect")
    assert page.inner_text("#faces-title") == "4 faces" and page.locator("#faces img").count() == 4
    assert page.locator("#faces figure").first.inner_text().startswith("decides: P(real) 0.")
    assert " decides" in page.inner_text("#notes")
    assert page.inner_text("#about") == f"Detector: detector · pretraining: {LONG_NAME}"


def test_masks_re_roll_and_are_reconstructed(page):
    page.click("#tab-mask")
    page.set_input_files("#file-mask", PHOTO)
    shown(page, "mask")
    pictures = page.locator("#mask-pictures img")
    assert pictures.count() == 4 and "147 of 196 patches are hidden. Covered:" in page.inner_text("#mask-text")

    def sources():
        return pictures.evaluate_all("images => images.map(image => image.src)")

    first = sources()
    page.click("#roll")
    driver_of.expect(pictures.nth(2)).not_to_have_attribute("src", first[2], timeout=PATIENCE)
    second = sources()
    assert second[:2] == first[:2] and second[3] != first[3]
    page.select_option("#strategy", "random")
    driver_of.expect(page.locator("#mask-text")).to_have_text("147 of 196 patches are hidden.", timeout=PATIENCE)
    assert "as in MAE" in page.inner_text("#strategy-note")
    page.locator("#ratio").focus()
    page.keyboard.press("Home")
    driver_of.expect(page.locator("#mask-text")).to_have_text("10 of 196 patches are hidden.", timeout=PATIENCE)


def test_hostile_files_give_a_sentence(page, tmp_path):
    bomb = bytearray(PHOTO.read_bytes())
    at = bomb.index(b"\xff\xc0")
    bomb[at + 5 : at + 9] = b"\xff\xff\xff\xff"  # 65,535 pixels a side
    refused(page, {"name": "bomb.jpg", "mimeType": "image/jpeg", "buffer": bytes(bomb)}, "Expected at most 100000000")
    refused(page, {"name": "a.png", "mimeType": "image/png", "buffer": bytes(500)}, "Neither a photo")
    html = b"<html><script>document.title = 'taken'</script></html>"
    refused(page, {"name": "page.jpg", "mimeType": "image/jpeg", "buffer": html}, "Neither a photo")
    refused(page, {"name": "<img src=x onerror=alert(1)>.jpg", "mimeType": "", "buffer": b"x"}, "Neither a photo")
    assert page.title() == "fsfm_jax"
    huge = tmp_path / "huge.mp4"
    with open(huge, "wb") as file:
        file.truncate(5 << 30)
    refused(page, huge, "larger than 200 MB")


def test_the_keyboard_is_enough(page):
    page.focus("#tab-detect")
    page.keyboard.press("ArrowRight")
    assert page.is_visible("#panel-mask") and page.is_hidden("#panel-detect")
    assert page.evaluate("document.activeElement.id") == "tab-mask"
    page.locator("#samples-mask button").last.focus()
    page.keyboard.press("Enter")
    shown(page, "mask")
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.id") == "strategy"
    assert page.locator("#samples-mask [aria-pressed=true]").count() == 1


def test_a_file_chosen_before_the_page_is_ready_is_not_lost(page, address):
    page.route("**/api/about", lambda route: (page.set_input_files("#file-detect", PHOTO), route.continue_()))
    page.goto(address, wait_until="commit")
    shown(page, "detect")
    assert page.locator("#faces img").count() == 1


@pytest.mark.parametrize("width", [380, 1400])
def test_nothing_is_wider_than_the_window(page, width):
    page.set_viewport_size({"width": width, "height": 800})
    page.set_input_files("#file-detect", CLIP)
    shown(page, "detect")
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    page.click("#tab-mask")
    page.set_input_files("#file-mask", PHOTO)
    shown(page, "mask")
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert page.evaluate("[...document.images].every(image => image.alt)")
