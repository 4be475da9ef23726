"""The toy model behind ONNX Runtime, and an image prepared for it."""

from __future__ import annotations

import numpy as np
import pytest

from segloop.backends.onnx import OnnxBackend
from segloop.data.transforms import prepare_input
from segloop.export.onnx import ExportReport
from segloop.export.parity import draw_image
from segloop.geometry.frames import Frame


@pytest.fixture(scope="session")
def onnx_backend(toy_export: ExportReport) -> OnnxBackend:
    return OnnxBackend(toy_export.folder, threads=1)


@pytest.fixture(scope="session")
def prepared(onnx_backend: OnnxBackend) -> np.ndarray:
    image = draw_image(64, np.random.default_rng(5))
    return prepare_input(image, Frame(image.shape[:2], 64, onnx_backend.spec.logit_size))
