"""A server as a child, a real Chromium, and one of its tabs in the words of a user."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from segloop.geometry.frames import BoolArray
from segloop.geometry.rle import Rle, decode_rle

EXAMPLES = Path(__file__).resolve().parent.parent.parent / "examples"


@dataclass
class Server:
    """`segloop serve` on a port that stays, so that it can come back after it was killed."""

    folder: Path
    cache: Path
    port: int
    model: str = "default"
    process: subprocess.Popen[bytes] | None = field(default=None, repr=False)

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.port}/"

    def start(self) -> None:
        command = [sys.executable, "-m", "segloop", "serve", str(self.folder)]
        command += ["--port", str(self.port), "--threads", "1", "--no-prefetch"]
        command += ["--model", self.model]
        environment = {**os.environ, "SEGLOOP_CACHE": str(self.cache)}
        self.process = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL)
        while True:
            assert self.process.poll() is None
            try:
                urllib.request.urlopen(f"{self.address}api/health").close()
                return
            except OSError:
                time.sleep(0.1)

    def kill(self) -> None:
        assert self.process is not None
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def chromium_program() -> str:
    program = shutil.which("chromium") or shutil.which("chromium-browser")
    if program is None:
        pytest.skip("no Chromium here: apt-get install chromium")
    return program


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("photos")
    for photo in (EXAMPLES / "cat.jpg", EXAMPLES / "coffee.jpg"):
        shutil.copyfile(photo, folder / photo.name)
    running = Server(folder, tmp_path_factory.mktemp("cache"), free_port())
    running.start()
    yield running
    running.kill()


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    program = chromium_program()
    with playwright.sync_playwright() as running:
        chromium = running.chromium.launch(executable_path=program, args=["--no-sandbox"])
        yield chromium
        chromium.close()


@pytest.fixture
def context(browser: Any, server: Server) -> Iterator[Any]:
    """A fresh profile: nothing stored."""
    made = browser.new_context(viewport={"width": 1200, "height": 800}, accept_downloads=True)
    made.set_default_timeout(60_000)
    yield made
    made.close()


@dataclass
class Client:
    """One tab, in the words of a user."""

    page: Any
    requests: list[str] = field(default_factory=list)
    mistakes: list[str] = field(default_factory=list)

    def open(self, address: str) -> Client:
        self.page.on("request", lambda request: self.requests.append(request.url))
        self.page.on("pageerror", lambda error: self.mistakes.append(str(error)))
        self.page.goto(address)
        self.wait()
        return self

    def wait(self) -> None:
        self.until("window.segloop !== undefined")
        self.page.evaluate("window.segloop.ready")

    def until(self, condition: str) -> None:
        """Wait for it by asking: the page's own policy lets nothing in it evaluate text."""
        deadline = time.monotonic() + 120
        while not self.page.evaluate(condition):
            assert time.monotonic() < deadline, f"{condition} never came true"
            time.sleep(0.05)

    def reload(self) -> None:
        """As a person would who takes a breath first: the page keeps its work a moment after each change."""
        self.until("window.segloop.state().saved")
        self.requests.clear()
        self.page.reload()
        self.wait()

    @property
    def state(self) -> dict[str, Any]:
        found: dict[str, Any] = self.page.evaluate("window.segloop.state()")
        return found

    def on_screen(self, xy: tuple[float, float]) -> tuple[float, float]:
        view, canvas = self.state["view"], self.page.locator("#canvas").bounding_box()
        return (
            canvas["x"] + view["x"] + (xy[0] + 0.5) * view["scale"],
            canvas["y"] + view["y"] + (xy[1] + 0.5) * view["scale"],
        )

    def click(self, xy: tuple[float, float], button: str = "left") -> None:
        self.page.mouse.click(*self.on_screen(xy), button=button)
        self.settle()

    def drag(self, box_xyxy: tuple[float, float, float, float]) -> None:
        self.page.mouse.move(*self.on_screen(box_xyxy[:2]))
        self.page.mouse.down()
        self.page.mouse.move(*self.on_screen(box_xyxy[2:]), steps=4)
        self.page.mouse.up()
        self.settle()

    def press(self, keys: str) -> None:
        self.page.keyboard.press(keys)
        self.settle()

    def settle(self) -> None:
        self.page.evaluate("window.segloop.settled()")

    def mask(self, index: int | None = None) -> BoolArray | None:
        asked = "" if index is None else str(index)
        found = self.page.evaluate(f"window.segloop.maskOf({asked})")
        return None if found is None else decode_rle(Rle.from_json(found))

    @property
    def embeddings_asked(self) -> int:
        return sum("/embedding" in url for url in self.requests)


@pytest.fixture
def client(context: Any, server: Server) -> Client:
    return Client(context.new_page()).open(server.address)


@pytest.fixture
def other(client: Client, context: Any, server: Server) -> Client:
    """A second tab of the same profile."""
    return Client(context.new_page()).open(server.address)
