"""A server of the toy model on a folder of three small photographs."""

from __future__ import annotations

import io
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import numpy as np
import pytest
import uvicorn
from fastapi import FastAPI
from PIL import Image
from starlette.testclient import TestClient

from segloop.backends.onnx import OnnxBackend
from segloop.cli.serve import listen
from segloop.export.onnx import ExportReport
from segloop.geometry.frames import FloatArray
from segloop.predict.predictor import Predictor
from segloop.server.app import create_app
from segloop.server.settings import ServerSettings

HOST = "http://127.0.0.1:8000"


class CountingBackend(OnnxBackend):
    """The toy model, with a count of its encodings and a gate that they wait at."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder, threads=1)
        self.num_encoded = 0
        self.gate = threading.Event()
        self.gate.set()

    def encode(self, image_chw: FloatArray) -> FloatArray:
        self.num_encoded += 1
        assert self.gate.wait(60)
        return super().encode(image_chw)


@pytest.fixture
def backend(toy_export: ExportReport) -> CountingBackend:
    return CountingBackend(toy_export.folder)


@pytest.fixture
def predictor(backend: CountingBackend) -> Predictor:
    return Predictor(backend)


@pytest.fixture(scope="session")
def picture() -> Callable[..., bytes]:
    """Encodes a picture of this size in random colours."""

    def draw(
        image_hw: tuple[int, int], seed: int = 0, form: str = "PNG", **options: object
    ) -> bytes:
        pixels = np.random.default_rng(seed).integers(0, 255, (*image_hw, 3), dtype=np.uint8)
        stream = io.BytesIO()
        Image.fromarray(pixels).save(stream, form, **options)
        return stream.getvalue()

    return draw


@pytest.fixture
def folder(tmp_path: Path, picture: Callable[..., bytes]) -> Path:
    place = tmp_path / "pictures"
    (place / "trip").mkdir(parents=True)
    (place / "a.png").write_bytes(picture((60, 90), 1))
    (place / "b.jpg").write_bytes(picture((80, 50), 2, "JPEG"))
    (place / "trip" / "c.png").write_bytes(picture((40, 40), 3))
    (place / "notes.txt").write_text("no picture", encoding="utf-8")
    return place


@pytest.fixture
def settings(tmp_path: Path, folder: Path) -> ServerSettings:
    return ServerSettings(
        folder=folder,
        cache_folder=tmp_path / "cache",
        page_folder=tmp_path / "page",
        prefetch=False,
    )


@pytest.fixture
def app(predictor: Predictor, settings: ServerSettings) -> FastAPI:
    return create_app(predictor, settings)


@pytest.fixture
def client(app: FastAPI) -> Iterator[TestClient]:
    with TestClient(app, base_url=HOST) as client:
        yield client


@pytest.fixture
def image_ids(client: TestClient) -> list[str]:
    """Those of a.png, b.jpg and trip/c.png."""
    return [one["id"] for one in client.get("/api/images").json()]


Running = Callable[[FastAPI], AbstractContextManager[str]]


@pytest.fixture(scope="session")
def running() -> Running:
    """Runs an app on a free port of this machine and gives its address."""

    @contextmanager
    def run(app: FastAPI) -> Iterator[str]:
        with listen("127.0.0.1", 0) as listener:
            port = listener.getsockname()[1]
            server = uvicorn.Server(uvicorn.Config(app, log_level="error"))
            thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
            thread.start()
            try:
                while not server.started and thread.is_alive():
                    time.sleep(0.01)
                yield f"http://127.0.0.1:{port}"
            finally:
                server.should_exit = True
                thread.join()

    return run
