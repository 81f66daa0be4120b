"""The explorer's page in a real browser: sliders, classes, images to encode, strips, files."""

import io
import signal
import urllib.error
import urllib.request

import command
import explorable
import numpy as np
import pytest
from explorable import changed, image, move, saved, sentence, upload
from PIL import Image

from tests.browser import PHONE, browser, opened

explorable.require_gradio()


@pytest.fixture(scope="module")
def chromium():
    with browser() as running:
        yield running


@pytest.fixture(scope="module")
def server():
    workdir = explorable.make_run(command.scratch() / "explored", "infovaegan")
    arguments = ("-m", "ivg.explore", f"--workdir={workdir}", "--port=0")
    uploads = workdir.with_name("explored_uploads")
    with explorable.served(*arguments, uploads=uploads) as ((address, *_), process):
        yield address, process
        assert list(uploads.glob("ivg_explore_*"))
        # Ctrl-C ends it quietly, with a page open or not, and removes what was uploaded.
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=30)
        assert process.returncode == 0 and not err.strip()
        assert not list(uploads.glob("ivg_explore_*"))


@pytest.fixture(scope="module")
def seen(chromium, server):
    with opened(chromium, server[0]) as found:
        found.page.wait_for_selector("#picture img")
        yield found


@pytest.fixture(autouse=True)
def quiet(request):
    """Whatever is done, nothing complains and nothing asks another server."""
    yield
    if "seen" in request.fixturenames:
        found = request.getfixturevalue("seen")
        assert not found.complaints and not found.left


def test_sliders_and_class_buttons_change_the_image(seen):
    page = seen.page
    begin = changed(page, lambda: move(page, "c1", 0.9))
    changed(page, lambda: move(page, "c2", -0.7))
    other = changed(page, lambda: page.click("#pick-d label:nth-child(4)"))
    changed(page, lambda: page.click("#pick-d label:nth-child(1)"))
    assert image(page) == other
    changed(page, lambda: page.click("#reset"))
    assert image(page) == begin
    assert page.input_value("#slider-c1 input[type=number]") == "0"


def test_random_images_and_new_noise_follow_the_seed(seen):
    page = seen.page
    changed(page, lambda: page.click("#draw"))
    value = page.input_value("#slider-c1 input[type=number]")
    first = changed(page, lambda: page.click("#noise"))
    assert page.input_value("#seed input") == "2" and value != "0"
    assert page.input_value("#slider-c1 input[type=number]") == value
    page.fill("#seed input", "1")
    changed(page, lambda: page.press("#seed input", "Enter"))
    assert image(page) == first  # the noise of seed 1 again, the other codes as they were


def shown(page):
    """Where the controls stand."""
    numbers = page.locator("#slider-c1 input[type=number], #slider-c2 input[type=number]")
    picked = page.locator("#pick-d input:checked").input_value()
    return picked, [number.input_value() for number in numbers.all()]


def test_a_test_image_sets_the_controls_and_can_be_moved(seen):
    page = seen.page
    changed(page, lambda: page.click("#examples button:nth-child(2)"))
    assert page.get_attribute("#examples button:nth-child(2)", "aria-pressed") == "true"
    first = shown(page)
    page.wait_for_selector("#source img")
    changed(page, lambda: page.click("#examples button:nth-child(5)"))
    assert shown(page) != first
    changed(page, lambda: move(page, "c1", 0.33))
    assert page.input_value("#slider-c1 input[type=number]") == "0.33"


def png(image):
    file = io.BytesIO()
    image.save(file, "PNG")
    return file.getvalue()


def test_an_upload_is_encoded(seen, tmp_path):
    page = seen.page
    pixels = np.zeros((90, 120, 4), np.uint8)
    pixels[:, 50:70] = 255
    (tmp_path / "mine.png").write_bytes(png(Image.fromarray(pixels)))
    before = page.get_attribute("#source img", "src")
    changed(page, lambda: upload(page, tmp_path / "mine.png"))
    assert page.get_attribute("#source img", "src") != before


@pytest.mark.parametrize(
    ("name", "data", "words"),
    [
        ("text.png", b"no image", "The file is damaged or no image"),
        ("notes.txt", b"no image", "Invalid file type"),
        ("huge.png", png(Image.new("1", (12000, 9000))), "12000 x 9000 pixels"),
        ("long.png", bytes(21_000_000), "exceed the maximum allowed size"),
    ],
    ids=["text", "kind", "huge", "long"],
)
def test_other_files_are_refused_in_one_sentence(seen, tmp_path, name, data, words):
    page = seen.page
    before = image(page)
    (tmp_path / name).write_bytes(data)
    upload(page, tmp_path / name)
    said = sentence(page)
    assert words in said and "\n" not in said and image(page) == before


def test_the_image_is_saved_enlarged(seen):
    name, found = saved(seen.page, "#picture a")
    assert name == "digits_infovaegan_1.png" and found.size == (512, 512)
    blocks = np.array(found).reshape(8, 64, 8, 64)
    assert (blocks == blocks[:, :1, :, :1]).all()


def test_a_traversal_is_shown_and_saved(seen):
    page = seen.page
    page.click("#traverse")
    page.wait_for_selector("#traversal .ivg-strip img")
    assert page.locator("#traversal .ivg-strip img").count() == 10
    name, found = saved(page, "#traversal a:nth-child(1)")
    assert name.endswith("_c1.png") and found.size == (10 * 100 - 4, 96)
    name, found = saved(page, "#traversal a:nth-child(2)")
    assert name.endswith("_c1.gif") and found.n_frames == 36


def test_two_test_images_are_interpolated(seen):
    page = seen.page
    page.click("text=Interpolate")
    page.wait_for_selector("#to button:nth-child(4)")
    # The second choice is made while the first is still on its way.
    page.evaluate("""{ const press = (name) => document.querySelector(name).click();
        press("#from button:nth-child(1)");
        setTimeout(() => press("#to button:nth-child(4)"), 20); }""")
    page.wait_for_selector("#interpolation .ivg-strip img")
    name, found = saved(page, "#interpolation a:nth-child(2)")
    assert name.endswith("_interpolation.gif") and found.format == "GIF" and found.n_frames == 36


def test_a_phone_in_the_dark_sees_all_of_it(chromium, server):
    with opened(chromium, server[0], viewport=PHONE, color_scheme="dark") as found:
        page = found.page
        page.wait_for_selector("#picture img")
        width = page.evaluate("document.documentElement.scrollWidth")
        paper = page.evaluate("getComputedStyle(document.body).backgroundColor")
        page.mouse.wheel(0, 400)
        page.wait_for_function("scrollY >= 300")
        # The image stays in sight while the sliders below it are moved.
        assert page.locator("#picture").bounding_box()["y"] >= -1
        assert width <= 390 and max(map(int, paper.strip("rgb()").split(","))) < 64
        assert not found.complaints and not found.left


def test_the_server_gives_no_files_and_answers_to_no_other_name(server, tmp_path):
    secret = tmp_path / "secret.txt"
    secret.write_text("secret")
    for path in (secret, command.REPOSITORY / "setup.cfg"):
        with pytest.raises(urllib.error.HTTPError) as found:
            urllib.request.urlopen(f"{server[0]}/gradio_api/file={path}", timeout=10)
        assert found.value.code in (403, 404)
        found.value.close()
    request = urllib.request.Request(server[0], headers={"Host": "elsewhere.example"})
    with pytest.raises(urllib.error.HTTPError) as found:
        urllib.request.urlopen(request, timeout=10)
    assert found.value.code == 421
    found.value.close()
