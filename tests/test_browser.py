"""The browser that other tests look through sees errors and stops requests that leave the page."""

import pytest

from tests.browser import PHONE, browser, opened

PAGE = """<!doctype html><meta charset="utf-8"><title>t</title>
<button onclick="document.title = 'pressed'">press</button>
<p id="scheme"></p>
<script>
document.getElementById("scheme").textContent =
    matchMedia("(prefers-color-scheme: dark)").matches + " " + innerWidth;
%s
</script>"""


@pytest.fixture(scope="module")
def chromium():
    with browser() as running:
        yield running


def page(folder, script=""):
    path = folder / "page.html"
    path.write_text(PAGE % script)
    return path


def test_a_quiet_page_has_nothing_to_complain_of(chromium, tmp_path):
    with opened(chromium, page(tmp_path), viewport=PHONE, color_scheme="dark") as seen:
        seen.page.click("button")
        assert seen.page.title() == "pressed"
        assert seen.page.text_content("#scheme") == "true 390"
        assert not seen.complaints and not seen.left


@pytest.mark.parametrize("script", ["console.error('no')", "undefined_function()", "throw 'no'"])
def test_errors_are_seen(chromium, tmp_path, script):
    with opened(chromium, page(tmp_path, script)) as seen:
        seen.page.wait_for_timeout(50)
        assert seen.complaints


@pytest.mark.parametrize("address", ["http://127.0.0.1:1/x", "https://example.invalid/font.woff"])
def test_requests_that_leave_the_page_are_seen(chromium, tmp_path, address):
    with opened(chromium, page(tmp_path, f"fetch({address!r}).catch(() => 0)")) as seen:
        seen.page.wait_for_timeout(100)
        assert seen.left == [address]
