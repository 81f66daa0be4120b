"""A real Chromium for the tests of pages: what a page logs, asks of the network and looks like.

Chromium comes from the system (`.ci/run` installs it where it may), Playwright drives it. Without a
browser such tests skip and say so, except where IVG_BROWSER=required.
"""

import contextlib
import dataclasses
import os
import pathlib
import shutil
from collections.abc import Iterator
from typing import Any

import pytest

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
# No sandbox: tests may run as root. No services of the browser's own, which ask the network.
FLAGS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
PHONE = {"width": 390, "height": 844}
DESKTOP = {"width": 1280, "height": 800}


@dataclasses.dataclass
class Opened:
    """A page and what it did since it was opened.

    page: Playwright's page.
    complaints: errors and warnings of its console, exceptions that nobody caught.
    left: requests to anywhere but the file or the server that was opened; none of them was let
        through.
    """

    page: Any
    complaints: list[str]
    left: list[str]


def executable() -> str:
    """Path of a Chromium; skips the test, or fails it where one is required."""
    path = os.environ.get("IVG_CHROMIUM") or next(filter(None, map(shutil.which, NAMES)), None)
    if path is None:
        where = "there is no Chromium on the PATH (IVG_CHROMIUM=/path/to/chromium names one)"
        if os.environ.get("IVG_BROWSER") == "required":
            pytest.fail(where)
        pytest.skip(where)
    return path


@contextlib.contextmanager
def browser() -> Iterator[Any]:
    """A headless Chromium; for a fixture of module scope, as starting it takes a second."""
    path = executable()
    api = pytest.importorskip(
        "playwright.sync_api", reason="needs Playwright: pip install '.[test]'"
    )
    with api.sync_playwright() as playwright:
        running = playwright.chromium.launch(executable_path=path, args=list(FLAGS))
        try:
            yield running
        finally:
            running.close()


@contextlib.contextmanager
def opened(running: Any, url: str | pathlib.Path, **options: Any) -> Iterator[Opened]:
    """A page of `browser()`, opened.

    Args:
        running: what `browser()` gave.
        url: an address on this machine, or a file.
        **options: of Playwright's `new_context`: viewport=PHONE, color_scheme="dark",
            java_script_enabled=False, ...
    """
    url = url.resolve().as_uri() if isinstance(url, pathlib.Path) else url
    own = url if url.startswith("file:") else "/".join(url.split("/", 3)[:3])
    context = running.new_context(**{"viewport": DESKTOP, **options})
    try:
        page = context.new_page()
        found = Opened(page, [], [])

        def pass_or_stop(route: Any) -> None:
            address = route.request.url
            if address.startswith((own, "data:", "blob:")):
                route.continue_()
            else:
                found.left.append(address)
                route.abort()

        def note(message: Any) -> None:
            if message.type in ("error", "warning"):
                found.complaints.append(f"{message.type}: {message.text}")

        context.route("**/*", pass_or_stop)
        page.on("console", note)
        page.on("pageerror", lambda error: found.complaints.append(f"exception: {error}"))
        page.goto(url)
        yield found
    finally:
        context.close()
