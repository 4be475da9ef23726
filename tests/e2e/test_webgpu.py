"""Decoding by WebGPU, on the processor that Chromium's own SwiftShader makes of a CPU."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
from tests.e2e.conftest import Client, Server, chromium_program, free_port

import segloop
from segloop.predict.wire import pack_embedding, unpack_embedding

if TYPE_CHECKING:
    from segloop.export.onnx import ExportReport

CAT = Path(__file__).resolve().parent.parent.parent / "examples" / "cat.jpg"
CAT_POINT = (200.0, 150.0)


@pytest.fixture
def toy_server(toy_export: ExportReport, tmp_path: Path) -> Iterator[Server]:
    """A small model: a CPU draws tens of seconds on a click of the default one."""
    photos = tmp_path / "photos"
    photos.mkdir()
    shutil.copyfile(CAT, photos / CAT.name)
    running = Server(photos, tmp_path / "cache", free_port(), model=str(toy_export.folder))
    running.start()
    yield running
    running.kill()


def test_masks_by_webgpu_are_those_of_the_predictor(
    toy_server: Server, toy_export: ExportReport
) -> None:
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    arguments = ["--no-sandbox", "--enable-unsafe-webgpu", "--use-webgpu-adapter=swiftshader"]
    with playwright.sync_playwright() as running:
        browser = running.chromium.launch(executable_path=chromium_program(), args=arguments)
        context = browser.new_context(viewport={"width": 1200, "height": 800})
        context.set_default_timeout(120_000)
        context.add_init_script("localStorage.setItem('segloop-webgpu', '1')")
        client = Client(context.new_page()).open(toy_server.address)
        # The page says so only after its probe has agreed with WebAssembly.
        assert "toy · WebGPU\n" in client.page.inner_text("body")
        client.click(CAT_POINT)
        (point,) = client.state["points"]
        mask, predicted_iou = client.mask(0), client.state["predictedIou"]
        assert not client.mistakes
        browser.close()
    predictor = segloop.load(toy_export.folder, threads=1)
    embedding = unpack_embedding(pack_embedding(predictor.encode(CAT)))
    prompt = segloop.Prompt(points_xy=[(point["x"], point["y"])])
    expected = predictor.segment(embedding, prompt, outputs="three")
    assert mask is not None
    assert (mask == expected.masks[0]).mean() > 0.999
    np.testing.assert_allclose(predicted_iou, expected.predicted_iou, atol=1e-3)
