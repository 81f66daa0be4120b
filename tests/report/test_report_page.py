"""The page of a run in a real browser: sliders, buttons and starts change the image."""

import io
import json

import numpy as np
import pytest
import reported
from PIL import Image

from ivg import pictures
from ivg.report import compare, page, traversals
from tests.browser import PHONE, browser, opened


@pytest.fixture(scope="module")
def chromium():
    with browser() as running:
        yield running


@pytest.fixture(scope="module")
def digits():
    return reported.digits() / page.NAME


@pytest.fixture(scope="module")
def sprites():
    return reported.written("sprites", *reported.sprites_run())


@pytest.fixture(scope="module")
def faces():
    return reported.written("faces", *reported.faces_run())


def picture(seen) -> bytes:
    """The pixels of the large image."""
    return seen.page.locator(".now").screenshot()


def said(seen) -> str:
    return seen.page.inner_text(".said")


def assert_quiet(seen) -> None:
    assert not seen.complaints and not seen.left


def assert_fits(seen) -> None:
    wide, window = seen.page.evaluate("[document.documentElement.scrollWidth, innerWidth]")
    assert wide <= window


def set_slider(seen, selector: str, value: int) -> None:
    seen.page.locator(selector).evaluate(
        "(e, v) => { e.value = v; e.dispatchEvent(new Event('input', {bubbles: true})); }", value
    )


def click_at(element, across: float, down: float) -> None:
    """Clicks into an element, at shares of its width and height."""
    box = element.bounding_box()
    element.click(position={"x": across * box["width"], "y": down * box["height"]})


def test_digits_sliders_classes_and_starts(chromium, digits):
    with opened(chromium, digits) as seen:
        start = picture(seen)
        set_slider(seen, "#code0", 10)
        moved = picture(seen)
        assert moved != start and "c1 = +1.00" in said(seen)
        assert seen.page.inner_text("output[for=code0]") == "+1.00"
        assert seen.page.get_attribute("#code0", "aria-valuetext") == "+1.00"

        seen.page.locator("#code1").focus()
        seen.page.keyboard.press("Home")  # the keyboard moves it, and the other rests again
        assert "c2 = −1.00" in said(seen) and picture(seen) != moved
        assert seen.page.inner_text("output[for=code0]") != "+1.00"

        seen.page.click("#back")
        assert picture(seen) == start and said(seen).startswith("Start")
        classes = set()
        for i in range(10):
            seen.page.locator(".choice").nth(i).press("Enter")
            classes.add(picture(seen))
        assert len(classes) > 5
        assert seen.page.locator('.choice[aria-pressed="true"]').count() == 1
        assert "class d 9" in said(seen)

        seen.page.locator(".start").nth(4).click()
        assert picture(seen) != start and "test image" in said(seen)
        assert seen.page.locator(".start-rows [aria-pressed=true]").count() == 1
        seen.page.locator(".start").last.click()
        assert "all else at 0" in said(seen)
        assert_quiet(seen)


def test_a_click_into_the_strip_moves_the_slider(chromium, digits):
    with opened(chromium, digits) as seen:
        click_at(seen.page.locator(".strip").first, 0.99, 0.5)
        assert seen.page.input_value("#code0") == "10" and "c1 = +1.00" in said(seen)


def test_the_image_is_the_generator_s(chromium, sprites):
    """What the slider shows, pixel by pixel, is what the method generates there."""
    _, run = reported.sprites_run()
    points = traversals.starts(run.method, run.state, run.dataset, run.key, 20)
    kl = pictures.kl_per_code(run.method, run.state, run.dataset, run.key)
    axis = int(np.argmax(kl))
    codes = {name: value.copy() for name, value in points[0].codes.items()}
    codes["r"][:, axis] = 2.0
    wanted = traversals.drawn(run.method, run.state, codes)[0, :, :, 0]
    with opened(chromium, sprites) as seen:
        assert seen.page.inner_text(".track label").startswith(f"r{axis + 1}")
        set_slider(seen, "#code0", 10)
        shot = picture(seen)
    shown = np.asarray(Image.open(io.BytesIO(shot)).convert("L").resize(wanted.shape, Image.BOX))
    alike = np.corrcoef(shown.ravel(), wanted.ravel())[0, 1]
    assert alike > 0.95  # WebP of noise, and the rounded corners


def test_sprites_by_kl_and_by_keyboard(chromium, sprites):
    with opened(chromium, sprites) as seen:
        labels = seen.page.locator(".track label small").all_inner_texts()
        amounts = [float(text.split()[1]) for text in labels]
        assert len(amounts) == 3 and amounts == sorted(amounts, reverse=True)
        start = picture(seen)
        seen.page.locator("#code0").focus()
        before = int(seen.page.input_value("#code0"))
        key, step = ("ArrowLeft", -1) if before == 10 else ("ArrowRight", 1)
        seen.page.keyboard.press(key)
        assert int(seen.page.input_value("#code0")) == before + step
        assert picture(seen) != start
        assert seen.page.locator("#code0:focus-visible").count() == 1
        assert_quiet(seen)


def test_faces_attribute_on_and_off_and_its_plane(chromium, faces):
    with opened(chromium, faces) as seen:
        start, buttons = picture(seen), seen.page.locator(".choice")
        assert buttons.count() == 8
        buttons.first.click()
        without = picture(seen)
        assert "without glasses, draw 1" in said(seen)
        buttons.last.click()
        assert picture(seen) not in (start, without) and "with glasses, draw 4" in said(seen)
        set_slider(seen, "#plane0-0", 0)
        corner = picture(seen)
        assert "c2 = " in said(seen) and "c1 = " in said(seen)
        click_at(seen.page.locator(".plane"), 0.98, 0.98)
        assert picture(seen) != corner
        assert [seen.page.input_value(f"#plane0-{k}") for k in (0, 1)] == ["6", "6"]
        labels = seen.page.locator(".start").all_inner_texts()
        assert "no glasses" in labels and "glasses" in labels
        seen.page.locator(".start", has_text="middle").click()
        assert not seen.page.locator("#origin").is_visible()  # there is no real image
        assert_quiet(seen)


@pytest.mark.parametrize("name", ["digits", "sprites", "faces"])
def test_a_phone_has_no_sideways_scrolling(chromium, name, request):
    with opened(chromium, request.getfixturevalue(name), viewport=PHONE) as seen:
        for details in seen.page.locator("details").all():
            details.evaluate("e => { e.open = true; }")
        assert_fits(seen)
        start = picture(seen)
        moving = "#plane0-0" if name == "faces" else "#code0"
        at = int(seen.page.input_value(moving))
        set_slider(seen, moving, 0 if at > 3 else 6)
        assert picture(seen) != start
        assert_quiet(seen)


def test_dark_and_light(chromium, digits):
    tones = {}
    for scheme in ("dark", "light"):
        with opened(chromium, digits, color_scheme=scheme) as seen:
            tones[scheme] = [
                sum(map(int, seen.page.evaluate(
                    f"getComputedStyle(document.body).{what}.match(/\\d+/g).slice(0, 3)")))
                for what in ("color", "backgroundColor")
            ]  # fmt: skip
    assert tones["dark"][0] > 600 > 150 > tones["dark"][1]
    assert tones["light"][0] < 150 < 600 < tones["light"][1]


def test_without_script_pictures_and_tables_are_there(chromium, digits):
    with opened(chromium, digits, java_script_enabled=False) as seen:
        for selector in (".now", ".strip", ".still0", "table", ".chart svg", ".start .t"):
            assert seen.page.locator(selector).first.is_visible(), selector
        colours = seen.page.locator(".now").first.screenshot()
        assert len(set(colours)) > 50  # an image, not an empty box
        assert_quiet(seen)


def test_curves_say_value_and_step(chromium, digits):
    with opened(chromium, digits) as seen:
        chart = seen.page.locator(".chart").first
        last = chart.locator("output").inner_text()
        chart.locator("svg").hover()
        assert "at step" in chart.locator("output").inner_text()
        seen.page.mouse.move(0, 0)
        assert chart.locator("output").inner_text() == last
        chart.locator("svg").focus()
        seen.page.keyboard.press("Home")
        assert chart.locator("output").inner_text().endswith("at step 1")
        assert_quiet(seen)


def test_everything_of_the_run_is_on_the_page(digits):
    text = digits.read_text()
    results = json.loads((digits.parent / "results.json").read_text())
    for name in results["clustering"]:
        assert name.replace("_", " ") in text
    wanted = ("Ye &amp; Bors", "finished", "2 of 2", "k-means on pixels", "config.json")
    wanted += ("python -m ivg.main --mode=evaluate", "ivg.load(", "infovaegan.num_critic")
    assert [words for words in wanted if words not in text] == []
    assert "report.html.tmp" not in [path.name for path in digits.parent.iterdir()]


def test_buttons_sliders_and_images_have_names(chromium, faces):
    with opened(chromium, faces) as seen:
        nameless = seen.page.evaluate("""() => [...document.querySelectorAll(
            "button, input, [role=img], [role=region]")].filter(e => !(
            e.getAttribute("aria-label") || e.innerText || (e.labels && e.labels.length)))
            .map(e => e.outerHTML.slice(0, 80))""")
        assert not nameless


def test_a_real_directory_is_compared(digits, tmp_path):
    folders = compare.directories([digits.parent])
    text = compare.write_page(folders, tmp_path / "compare.html").read_text()
    assert "clustering: nmi" in text and "2 of 2" in text and text.count("<img ") >= 4
