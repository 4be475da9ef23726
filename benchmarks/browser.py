"""Milliseconds a click in headless Chromium: the default decoder, and one of official size exported plainly, same WASM.

Plainly: no projection folded, all four masks drawn, float32, low-resolution output. Both run in a page of nothing but
onnxruntime-web, in a worker.
"""

from __future__ import annotations

import shutil
import tempfile
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any
from unittest.mock import patch

import numpy as np
import torch
from playwright.sync_api import Page, sync_playwright
from torch import Tensor, nn

from benchmarks.machine import Row, write
from segloop.export.trace import OPSET, quiet_exporter
from segloop.model import mask_decoder
from segloop.model.config import MODELS, ViTConfig
from segloop.model.sam import Sam
from segloop.weights.catalog import default_weights

HERE = Path(__file__).resolve().parent
RUNTIME = HERE.parent / "web" / "node_modules" / "onnxruntime-web" / "dist"
# The browser compiles WebAssembly anew, for speed, while it runs: a click costs twice as much at first as later.
EARLY, SETTLED, CLICKS = 25, 150, 300


def run() -> list[Row]:
    """Two rows for each decoder and number of threads: the first clicks, and those after the browser has compiled."""
    import segloop

    spec = segloop.load().spec
    decoders = {
        "official size, exported plainly": ("plain.onnx", 256, 64, 1024, False),
        "default model": ("default.onnx", spec.num_channels, spec.grid_size, spec.input_size, True),
    }
    rows: list[Row] = []
    with tempfile.TemporaryDirectory() as temporary, sync_playwright() as playwright:
        folder = Path(temporary)
        shutil.copyfile(HERE / "browser.html", folder / "index.html")
        shutil.copyfile(HERE / "browser.js", folder / "browser.js")
        (folder / "ort").symlink_to(RUNTIME)
        shutil.copyfile(default_weights().decoder, folder / "default.onnx")
        export_plainly(folder / "plain.onnx")
        server = ThreadingHTTPServer(("127.0.0.1", 0), partial(IsolatedFiles, directory=temporary))
        Thread(target=server.serve_forever, daemon=True).start()
        browser = playwright.chromium.launch(
            executable_path=shutil.which("chromium"), args=["--no-sandbox"]
        )
        for threads in (1, 2):
            plain: dict[str, float] = {}
            for name, (graph, channels, grid, input_size, has_floors) in decoders.items():
                page = browser.new_page()
                page.goto(f"http://127.0.0.1:{server.server_port}/")
                page.wait_for_function("window.isLoaded")
                asked = {
                    "graph": graph,
                    "threads": threads,
                    "channels": channels,
                    "grid": grid,
                    "inputSize": input_size,
                    "hasFloors": has_floors,
                    "times": CLICKS,
                }
                milliseconds = time_decoder(page, asked)
                page.close()
                phases = {
                    f"clicks 2 to {EARLY}": milliseconds[1:EARLY],
                    f"clicks {SETTLED} to {CLICKS}": milliseconds[SETTLED:],
                }
                for phase, some in phases.items():
                    median = float(np.median(some))
                    slow = float(np.quantile(some, 0.95))
                    ratio = plain[phase] / median if phase in plain else None
                    plain.setdefault(phase, median)
                    count = f"{threads} thread{'s' if threads > 1 else ''}"
                    what = f"{name}, {count}, {phase}, 95th percentile {slow:.0f} ms"
                    rows.append(Row(what, median / 1000, ratio))
        browser.close()
        server.shutdown()
    return rows


def time_decoder(page: Page, asked: dict[str, Any]) -> list[float]:
    """Milliseconds of each click."""
    found = page.evaluate("asked => window.timeDecoder(asked)", asked)
    assert found["isolated"]  # without it there is one thread only
    return [float(one) for one in found["milliseconds"]]


class IsolatedFiles(SimpleHTTPRequestHandler):
    """Files under the headers that let a page have threads."""

    def end_headers(self) -> None:
        """Add them."""
        self.send_header("Cross-Origin-Opener-Policy", "same-origin")
        self.send_header("Cross-Origin-Embedder-Policy", "require-corp")
        super().end_headers()

    def log_message(self, *args: object) -> None:
        """Say nothing."""


class Plain(nn.Module):
    """The decoder with the inputs of ours but the floors."""

    def __init__(self, model: Sam) -> None:
        super().__init__()
        self.model = model

    def forward(
        self,
        features: Tensor,
        coords: Tensor,
        labels: Tensor,
        mask_logits: Tensor,
        has_mask: Tensor,
    ) -> tuple[Tensor, Tensor]:
        """Four masks."""
        return self.model.decode(features, coords, labels, mask_logits, has_mask)


def export_plainly(path: Path) -> None:
    """Write a decoder of official size and random weights, one prompt of two tokens, as the exporter makes it."""
    torch.manual_seed(0)
    config = MODELS["vit_b"]
    shallow = Sam(type(config)(ViTConfig(16, 1, 1, ()), config.decoder)).eval()
    inputs = (
        torch.zeros(1, 256, 64, 64),
        torch.zeros(1, 2, 2),
        torch.ones(1, 2, dtype=torch.int64),
        torch.zeros(1, 1, 256, 256),
        torch.zeros(1),
    )
    names = ["features", "coords", "labels", "mask_logits", "has_mask"]
    with quiet_exporter(), patch.object(mask_decoder, "_folding_pays", lambda *_: False):
        torch.onnx.export(
            Plain(shallow),
            inputs,
            str(path),
            input_names=names,
            output_names=["logits", "predicted_iou"],
            opset_version=OPSET,
            dynamo=True,
            external_data=False,
            verbose=False,
        )


if __name__ == "__main__":
    print(write("browser", run(), 2))
