"""The explorer's page for methods with attributes and for those without an encoder."""

import command
import explorable
import pytest
from explorable import changed, image, move, upload
from PIL import Image

from tests.browser import browser, opened

explorable.require_gradio()

# Both pages from one process: starting it is what takes the time.
SERVE = """
import contextlib, pathlib, sys, threading
from ivg.explore import explorer, server
with contextlib.ExitStack() as stack:
    stack.enter_context(server.scratch())
    sockets = [stack.enter_context(server.listen("127.0.0.1", 0)) for _ in sys.argv[1:]]
    threads = []
    for name, made in zip(sys.argv[1:], sockets):
        app = server.application(explorer.open_run(pathlib.Path(name)))
        threads.append(threading.Thread(target=server.serve, args=(app, made), daemon=True))
        threads[-1].start()
    print(" ".join(server.address(made, "127.0.0.1") for made in sockets), flush=True)
    threads[0].join()
"""


@pytest.fixture(scope="module")
def addresses():
    folder = command.scratch()
    runs = [
        explorable.make_run(folder / f"explored_{method}", method)
        for method in ("mmvae", "wgan_gp")
    ]
    uploads = folder / "explored_methods_uploads"
    with explorable.served("-c", SERVE, *map(str, runs), uploads=uploads) as (line, _):
        yield line


@pytest.fixture(scope="module")
def chromium():
    with browser() as running:
        yield running


def test_attributes_are_swapped_and_their_code_moved(chromium, addresses):
    with opened(chromium, addresses[0]) as seen:
        page = seen.page
        page.wait_for_selector("#picture img")
        changed(page, lambda: page.click("#examples button:nth-child(3)"))
        numbers = {f"c{i + 1}": f"#slider-c{i + 1} input[type=number]" for i in range(4)}

        def values():
            return [float(page.input_value(number)) for number in numbers.values()]

        encoded = values()
        changed(page, lambda: page.click("[id='with-Smile']"))
        drawn = values()
        assert drawn[:2] == encoded[:2] and drawn[2:] != encoded[2:]
        assert "Smile" in page.inner_text("#slider-c3") and "Hat" in page.inner_text("#slider-c2")
        changed(page, lambda: page.click("[id='without-Smile']"))
        assert sum(values()[2:]) < sum(drawn[2:])
        changed(page, lambda: move(page, "c1", 2.5))
        assert values()[0] == 2.5
        assert not seen.complaints and not seen.left


def test_an_upload_has_the_attributes_that_are_ticked(chromium, addresses, tmp_path):
    path = tmp_path / "grey.webp"
    Image.linear_gradient("L").save(path)
    with opened(chromium, addresses[0]) as seen:
        page = seen.page
        page.wait_for_selector("#picture img")
        changed(page, lambda: upload(page, path))
        plain = image(page)
        changed(page, lambda: page.click("#reset"))
        page.click("#has label:nth-child(1)")
        changed(page, lambda: upload(page, path))
        assert image(page) != plain  # c is inferred from the image and its attributes
        assert not seen.complaints and not seen.left


def test_without_an_encoder_only_new_images_are_offered(chromium, addresses):
    with opened(chromium, addresses[1]) as seen:
        page = seen.page
        page.wait_for_selector("#picture img")
        assert "wgan_gp has no encoder: images can be generated" in page.inner_text(".ivg-head")
        first = changed(page, lambda: page.click("#draw"))
        changed(page, lambda: page.click("#noise"))
        changed(page, lambda: page.click("#reset"))
        assert image(page) == first
        for absent in ("#examples", "#upload", "#traverse", "#from", "input[type=range]"):
            assert not page.query_selector(absent), absent
        assert not seen.complaints and not seen.left
