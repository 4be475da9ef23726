"""The page as a user has it, in headless Chromium: from opening it to the first mask, time a mouse move, bytes sent.

The server is a process of its own and has the embedding already. First visits are by a fresh profile each.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
import time
from typing import Any

import numpy as np
from playwright.sync_api import Browser, Page, sync_playwright

from benchmarks.machine import Row, median_of, write
from benchmarks.server import PHOTOS, embedding_path, free_port

VISITS = 5
MOVES = 60


def run() -> list[Row]:
    """Rows of times; the first one's text has the bytes."""
    port = free_port()
    with tempfile.TemporaryDirectory() as cache, sync_playwright() as playwright:
        command = [sys.executable, "-m", "segloop", "serve", str(PHOTOS), "--port", str(port)]
        environment = {"SEGLOOP_CACHE": cache, "PATH": "/usr/bin:/bin"}
        server = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL)
        browser = playwright.chromium.launch(
            executable_path=shutil.which("chromium"), args=["--no-sandbox"]
        )
        try:
            _, num_bytes, _ = embedding_path(port)
            address = f"http://127.0.0.1:{port}/"
            first, again = zip(*(visit_twice(browser, address) for _ in range(VISITS)), strict=True)
            moves, num_threads = move_about(browser, address)
        finally:
            browser.close()
            server.terminate()
            server.wait(timeout=30)
    slow = float(np.quantile(moves, 0.95))
    return [
        Row(
            f"from opening the page to the first mask, an embedding of {num_bytes:,} bytes sent",
            median_of(first),
        ),
        Row("the same on a second visit, nothing sent", median_of(again)),
        Row(
            f"a mouse move decoded, {num_threads} threads, {len(moves)} of them, 95th percentile {slow:.0f} ms",
            median_of(one / 1000 for one in moves),
        ),
    ]


def visit_twice(browser: Browser, address: str) -> tuple[float, float]:
    """Seconds from opening to a mask by a fresh profile, and by the same one again."""
    context = browser.new_context(viewport={"width": 1200, "height": 800})
    page = context.new_page()
    seconds = []
    for _ in range(2):
        start = time.perf_counter()
        page.goto(address)
        page.evaluate("window.segloop.ready")
        click(page)
        seconds.append(time.perf_counter() - start)
        page.evaluate("navigator.serviceWorker.ready.then(() => undefined)")
    context.close()
    return seconds[0], seconds[1]


def move_about(browser: Browser, address: str) -> tuple[list[float], int]:
    """Milliseconds of the decoder at each move of the mouse, and its threads."""
    page = browser.new_page(viewport={"width": 1200, "height": 800})
    page.goto(address)
    page.evaluate("window.segloop.ready")
    page.evaluate("navigator.serviceWorker.ready.then(() => undefined)")
    time.sleep(3)  # the service worker stores the page meanwhile
    x, y = middle(page)
    for move in range(MOVES):
        done: int = page.evaluate("window.segloop.decodeTimes.length")
        page.mouse.move(x - 100 + 3 * move, y + 40 * np.sin(move))
        while page.evaluate("window.segloop.decodeTimes.length") == done:
            time.sleep(0.005)
    milliseconds: list[float] = page.evaluate("window.segloop.decodeTimes")
    state: dict[str, Any] = page.evaluate("window.segloop.state()")
    page.close()
    return milliseconds[5:], state["numThreads"]


def click(page: Page) -> None:
    """Click in the middle and wait for the mask."""
    page.mouse.click(*middle(page))
    page.evaluate("window.segloop.settled()")
    assert page.evaluate("window.segloop.maskOf()") is not None


def middle(page: Page) -> tuple[float, float]:
    """The middle of the picture, on the screen."""
    box = page.locator("#canvas").bounding_box()
    assert box is not None
    return box["x"] + box["width"] / 2, box["y"] + box["height"] / 2


if __name__ == "__main__":
    print(write("page", run(), 2))
