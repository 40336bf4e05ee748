"""The page in a browser: what a visitor sees, with the mouse, with the keyboard, and with hostile files."""

import hashlib
import json
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
PATIENCE = 60_000  # milliseconds; the first video is compiled for


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
    page.wait_for_selector(f"#result{name}:not([hidden])")


def checked(page, *files):
    """Waits until all files have an answer."""
    page.set_input_files("#file-detect", files)
    for row in range(1, len(files) + 1):
        page.wait_for_selector(f"#files li:nth-child({row}):not(.waiting):not(.working)")
    shown(page, "")


def refused(page, file, text):
    page.set_input_files("#file-detect", file)
    driver_of.expect(page.locator("#files li.failed").last).to_contain_text(f"No verdict. {text}", timeout=PATIENCE)
    page.locator("#files .open").last.click()
    assert page.inner_text("#result .verdict .says") == "No verdict." and text in page.inner_text("#result")


def test_a_photo_is_looked_at(page):
    checked(page, PHOTO)
    says = page.inner_text("#result .verdict")
    assert says.startswith(("The detector calls this forged.", "The detector found no evidence of forgery."))
    assert "13 of 100 forged faces" in says and "an unknown share of real" in says
    facts = page.inner_text("#result .head dl")
    for text in (hashlib.sha256(PHOTO.read_bytes()).hexdigest(), "512 × 512", fsfm_jax.__version__, "weights"):
        assert text in facts
    assert page.inner_text("#result h2 >> nth=0") == PHOTO.name
    box, image = (page.locator(f"#result {part}").bounding_box() for part in (".box", ".preview img"))
    assert 0.1 < box["width"] / image["width"] < 0.4 and image["x"] < box["x"] < image["x"] + image["width"]
    assert page.locator(".person").count() == 1 and page.locator(".timeline").count() == 0
    page.click(".person summary")
    assert page.locator(".heat img").evaluate("image => image.naturalWidth") == serialized.SIDE
    assert "scaled to their own largest value" in page.inner_text(".heat")
    assert "confidence" in page.inner_text(".person")
    page.click("#result > details summary")
    assert "equal error, chosen on val" in page.inner_text("#result > details")
    assert "paintings" in page.inner_text("#result > details")


def test_a_video_of_a_person_is_one_person_with_a_timeline(page):
    page.emulate_media(color_scheme="dark")
    checked(page, CLIP)
    assert page.locator(".person").count() == 1 and page.inner_text("#result h2 >> nth=1") == "One person"
    line = page.locator("svg.timeline")
    driver_of.expect(line).to_have_attribute("aria-label", re.compile("lowest 0.* at .* seconds; below .* of 4 frames"))
    assert line.locator("circle").count() == 4 and "2 s" in line.text_content()
    ink = line.locator("text").first.evaluate("text => getComputedStyle(text).fill")
    page.emulate_media(color_scheme="light")
    assert line.locator("text").first.evaluate("text => getComputedStyle(text).fill") != ink
    range_, picture = page.get_by_label("Place in the video"), page.locator(".preview img")
    range_.focus()
    page.keyboard.press("End")
    last = picture.get_attribute("src")
    assert page.inner_text(".slider output") == range_.get_attribute("aria-valuetext") == "2.93 s"
    line.click(position={"x": 32, "y": 50})
    assert page.inner_text(".slider output") == "0.00 s" and picture.get_attribute("src") != last


def test_several_files_are_a_list_and_each_face_has_a_number(page):
    wrong = {"name": "\u202egpj.<b>", "mimeType": "image/jpeg", "buffer": b"x"}
    page.set_input_files("#file-detect", [GROUP, CLIP, PHOTO])
    page.click("#files li:nth-child(3) .end")  # waits for the others still
    page.set_input_files("#file-detect", wrong)
    driver_of.expect(page.locator("#files li:nth-child(4)")).to_have_class("failed", timeout=PATIENCE)
    states = [row.inner_text() for row in page.locator("#files li").all()]
    assert "Cancelled" in states[2] and "\\u{202e}gpj.<b>" in states[3] and "Neither a photo" in states[3]
    page.click("#files li:nth-child(1) .open")
    assert page.locator("#files [aria-current]").count() == 1 and GROUP.name in page.inner_text("#result h2 >> nth=0")
    assert page.inner_text("#result h2 >> nth=1") == "4 faces" and page.locator(".person").count() == 4
    assert sorted(box.inner_text() for box in page.locator(".box").all()) == ["1", "2", "3", "4"]
    page.get_by_label("Go to face 3").click()
    assert page.evaluate("document.activeElement.id") == "person-3"
    assert "one more chance of a false alarm" in page.inner_text("#result .verdict")
    page.select_option("#faces", "largest")
    page.select_option("#threshold", "own")
    page.fill("#own", "1")
    page.get_by_text("Check again").click()
    driver_of.expect(page.locator("#result h2 >> nth=1")).to_have_text("1 of 4 faces that were found", timeout=PATIENCE)
    assert "at this threshold is not known" in page.inner_text("#result .verdict")
    for _ in range(4):
        page.locator("#files .end").first.click()
    assert page.is_hidden("#work") and page.evaluate("document.activeElement.id") == "file-detect"
    assert page.inner_text("#about") == f"Detector: detector · pretraining: {LONG_NAME}"


def test_a_file_at_work_is_cancelled(page):
    """Its request is held back; the connection is closed."""
    held = []
    page.route("**/api/detect*", lambda route: held.append(route))
    page.set_input_files("#file-detect", PHOTO)
    row = page.locator("#files li")
    driver_of.expect(row).to_have_class("working")
    row.get_by_label(f"Cancel {PHOTO.name}").click()
    driver_of.expect(row).to_have_class("cancelled")
    assert "The check was cancelled." in page.inner_text("#result") and len(held) == 1
    page.unroute_all()


def test_reports_can_be_taken_along(page, browser, tmp_path):
    """As JSON that holds what `fsfm predict` writes, and as a page that needs no script and nothing from anywhere."""
    checked(page, CLIP)
    found = {}
    for button, name in (("Save report", "report.html"), ("Save data (JSON)", "report.json")):
        with page.expect_download() as download:
            page.get_by_text(button).click()
        found[name] = tmp_path / name
        download.value.save_as(found[name])
    told = json.loads(found["report.json"].read_text())
    (file,) = told["files"]
    assert (file["file"], file["sha256"]) == (CLIP.name, hashlib.sha256(CLIP.read_bytes()).hexdigest())
    assert len(file["persons"]) == 1 and len(file["faces"]) == 4 and told["thresholds"]["video"]["meaning"]
    assert len(told["weights_sha256"]) == 64 and told["choice"]["frames"] == 4
    report = browser.new_page()
    asked = []
    report.on("request", lambda request: asked.append(request.url) if not request.url.startswith("data:") else None)
    report.goto(found["report.html"].as_uri())
    text = report.inner_text("body")
    assert asked == [found["report.html"].as_uri()] and report.locator("script").count() == 0
    for part in (CLIP.name, file["sha256"], told["weights_sha256"], "Person 1", "scaled to their own largest value"):
        assert part in text
    assert report.locator("svg.timeline circle").count() == 4 and report.locator(".box").count() == 1
    assert report.evaluate("[...document.images].every(image => image.naturalWidth)")
    report.close()


def test_masks_are_drawn_at_once_and_filled_in(page):
    page.click("#tab-mask")
    page.set_input_files("#file-mask", GROUP)
    shown(page, "-mask")
    pictures, text = page.locator("#mask-pictures img"), page.locator("#mask-text")
    assert pictures.count() == 5 and "the largest of 4 faces is taken" in page.inner_text("#mask-pictures")
    assert "147 of 196 patches are hidden. Covered region: " in text.inner_text()
    assert "contrast" not in page.inner_text("#mask-pictures")  # this run predicts pixels as they are

    def sources():
        return pictures.evaluate_all("images => images.map(image => image.src)")

    first = sources()
    page.click("#roll")
    driver_of.expect(pictures.nth(3)).not_to_have_attribute("src", first[3], timeout=PATIENCE)
    second = sources()
    assert second[:3] == first[:3] and second[4] != first[4]
    page.select_option("#strategy", "random")
    driver_of.expect(text).to_contain_text(re.compile("^147 of 196 patches are hidden. No region is covered"))
    assert "as in MAE" in page.inner_text("#strategy-note") and page.locator("#mask-regions tr").count() == 8
    page.locator("#ratio").focus()
    page.keyboard.press("Home")
    driver_of.expect(text).to_contain_text("10 of 196 patches are hidden.")


def test_hostile_files_give_a_sentence(page, tmp_path):
    bomb = bytearray(PHOTO.read_bytes())
    at = bomb.index(b"\xff\xc0")
    bomb[at + 5 : at + 9] = b"\xff\xff\xff\xff"  # 65,535 pixels a side
    refused(page, {"name": "bomb.jpg", "mimeType": "image/jpeg", "buffer": bytes(bomb)}, "Expected at most 100000000")
    html = b"<html><script>document.title = 'taken'</script></html>"
    refused(page, {"name": "page.jpg", "mimeType": "image/jpeg", "buffer": html}, "Neither a photo")
    refused(page, {"name": "<img src=x onerror=alert(1)>.jpg", "mimeType": "", "buffer": b"x"}, "Neither a photo")
    assert page.title() == "fsfm face check"
    huge = tmp_path / "huge.mp4"
    with open(huge, "wb") as file:
        file.truncate(5 << 30)
    refused(page, huge, "The file is larger than 200 MB")


def test_the_keyboard_is_enough(page):
    page.focus("#tab-detect")
    page.keyboard.press("ArrowRight")
    assert page.is_visible("#panel-mask") and page.is_hidden("#panel-detect")
    assert page.evaluate("document.activeElement.id") == "tab-mask"
    page.locator("#samples-mask button").last.focus()
    page.keyboard.press("Enter")
    shown(page, "-mask")
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.id") == "strategy"


def test_a_file_chosen_before_the_page_is_ready_is_not_lost(page, address):
    page.route("**/api/about", lambda route: (page.set_input_files("#file-detect", PHOTO), route.continue_()))
    page.goto(address, wait_until="commit")
    shown(page, "")
    assert page.locator(".person").count() == 1


@pytest.mark.parametrize("width", [380, 1400])
def test_nothing_is_wider_than_the_window(page, width):
    page.set_viewport_size({"width": width, "height": 800})
    long = {"name": f"{LONG_NAME}.mp4", "mimeType": "", "buffer": CLIP.read_bytes()}
    checked(page, long, {"name": "group.jpg", "mimeType": "", "buffer": GROUP.read_bytes()})
    for summary in page.locator("#result summary").all():
        summary.click()
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    page.click("#tab-mask")
    page.set_input_files("#file-mask", PHOTO)
    shown(page, "-mask")
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert page.evaluate("[...document.images].every(image => image.alt || image.className === 'thumbnail')")
