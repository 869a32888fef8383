"""A real headless Chromium for tests: the page drawn by software WebGL, its console, its pictures.

The browser is the system's (Debian's package ``chromium``), or the one that the environment's TINYBRAIN_CHROMIUM names;
it is driven by playwright, which needs no browser of its own.
"""

from __future__ import annotations

import contextlib
import io
import os
import shutil
import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

SECONDS = 90  # for a page to draw: a renderer in software, on two cores, with other tests beside it
_NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
_FLAGS = (
    "--no-sandbox",  # tests may run as root
    "--disable-dev-shm-usage",
    "--use-angle=swiftshader",
    "--enable-unsafe-swiftshader",
    "--ignore-gpu-blocklist",
    "--disable-background-networking",
    "--no-proxy-server",
)


class Tab:
    """A page, and what it said in its console."""

    def __init__(self, page: Any) -> None:
        self.page = page
        self.said: list[str] = []
        page.on("console", lambda said: self._note(f"{said.type}: {said.text}", said.type in ("error", "warning")))
        page.on("pageerror", lambda error: self._note(f"exception: {error}", True))
        page.on("requestfailed", self._failed)
        page.on("response", lambda r: self._note(f"answer: {r.status} {r.url}", r.status >= 400))

    def _note(self, text: str, bad: bool) -> None:
        # Chromium itself tells of its renderer in software, and of pixels read back from it.
        if bad and "GPU stall due to ReadPixels" not in text and "SwiftShader" not in text:
            self.said.append(text)

    def _failed(self, request: Any) -> None:
        # What the page itself broke off counts as aborted, and so does the empty body of a HEAD.
        self._note(
            f"failed: {request.method} {request.url} {request.failure}", "ERR_ABORTED" not in str(request.failure)
        )

    def picture(self) -> npt.NDArray[np.uint8]:
        """Return what the tab shows, of shape (rows, columns, 3)."""
        from PIL import Image

        return np.asarray(Image.open(io.BytesIO(self.page.screenshot())).convert("RGB"))

    def until(self, condition: Callable[[npt.NDArray[np.uint8]], bool]) -> npt.NDArray[np.uint8]:
        """Wait until the picture fulfils a condition, and return it; after `SECONDS`, return it as it is."""
        end = time.monotonic() + SECONDS
        while True:
            picture = self.picture()
            if condition(picture) or time.monotonic() > end:
                return picture
            self.page.wait_for_timeout(300)


@contextlib.contextmanager
def tab(url: str, size: tuple[int, int] = (1100, 860)) -> Iterator[Tab]:
    """Open a page in a Chromium of its own. Skips the test where there is none."""
    path = os.environ.get("TINYBRAIN_CHROMIUM") or next(filter(None, map(shutil.which, _NAMES)), None)
    if path is None:
        pytest.skip("there is no Chromium: install the package chromium, or name one in TINYBRAIN_CHROMIUM")
    sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=list(_FLAGS), timeout=60_000)
        try:
            page = browser.new_page(viewport={"width": size[0], "height": size[1]})
            page.set_default_timeout(SECONDS * 1000)
            opened = Tab(page)
            page.goto(url)
            yield opened
        finally:
            browser.close()
