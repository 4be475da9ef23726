"""What every test may lean on: the data folder beside the repository, the golden outputs, and the rule about skips.

A test may skip where a tool or the data is missing on someone's own machine. Under SEGLOOP_CI=1 such a skip is a
failure, so that nothing goes untested unnoticed; only tests marked `gpu` may be skipped there.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Generator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import settings

if TYPE_CHECKING:  # so that a test of light things does not wait for PyTorch
    from segloop.export.onnx import ExportReport
    from segloop.geometry.encoded import EncodedMasks
    from segloop.geometry.frames import BoolArray
    from segloop.model.sam import Sam

# Toy models are too small to share: on a busy machine threads only wait for one another.
os.environ.setdefault("OMP_NUM_THREADS", "1")

# A job in the background starts with interrupts ignored, and so would the children that tests interrupt.
signal.signal(signal.SIGINT, signal.default_int_handler)

# No deadline: nothing is timed in tests. The same examples at every run of continuous integration.
settings.register_profile("segloop", deadline=None, derandomize=os.environ.get("SEGLOOP_CI") == "1")
settings.load_profile("segloop")

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="session")
def shared_dir() -> Path:
    """The folder of public data: SEGLOOP_SHARED, or `shared` beside the repository."""
    folder = Path(os.environ.get("SEGLOOP_SHARED") or ROOT.parent / "shared")
    if not folder.is_dir():
        pytest.skip(f"no data folder at {folder}; name one with SEGLOOP_SHARED")
    return folder


@pytest.fixture(scope="session")
def golden_dir() -> Path:
    """Outputs of the official code on a tiny seeded model, kept in the repository."""
    return ROOT / "tests" / "golden"


@pytest.fixture(scope="session")
def toy_model() -> Sam:
    """The smallest model of the table with random weights; not to be changed."""
    import torch

    from segloop.model.config import MODELS
    from segloop.model.sam import Sam

    with torch.random.fork_rng():
        torch.manual_seed(0)
        return Sam(MODELS["toy"]).eval()


@pytest.fixture(scope="session")
def toy_export(toy_model: Sam, tmp_path_factory: pytest.TempPathFactory) -> ExportReport:
    """The toy model as ONNX graphs in float32; not to be changed."""
    from segloop.export.onnx import export_onnx

    folder = tmp_path_factory.mktemp("export") / "toy"
    return export_onnx(toy_model, folder, name="toy", source="random weights")


@pytest.fixture(scope="session")
def encode_masks() -> Callable[[BoolArray], EncodedMasks]:
    """Turns masks (N, H, W) into run lengths whose scores and points tell the rows apart."""
    import numpy as np

    from segloop.geometry.encoded import EncodedMasks

    def encode(masks: BoolArray) -> EncodedMasks:
        numbers = np.arange(len(masks))
        scores = (1 - numbers / 100).astype(np.float32)
        return EncodedMasks.encode(
            masks,
            predicted_iou=scores,
            stability_score=scores - np.float32(0.01),
            points_xy=np.stack([numbers + 0.5, numbers + 0.25], axis=1).astype(np.float32),
            output_index=1 + numbers % 3,
        )

    return encode


@pytest.fixture(scope="session")
def draw_png() -> Callable[[tuple[int, int], int], bytes]:
    """Makes a PNG of this height and width of smooth random colours."""
    import io

    import numpy as np
    from PIL import Image

    def draw(image_hw: tuple[int, int], seed: int) -> bytes:
        coarse = np.random.default_rng(seed).integers(0, 255, (4, 6, 3), dtype=np.uint8)
        stream = io.BytesIO()
        size = (image_hw[1], image_hw[0])
        Image.fromarray(coarse).resize(size, Image.Resampling.BICUBIC).save(stream, "PNG")
        return stream.getvalue()

    return draw


@pytest.fixture
def photos(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    draw_png: Callable[[tuple[int, int], int], bytes],
) -> Path:
    """Three photographs at two depths; the current folder is the one above."""
    folder = tmp_path / "photos"
    (folder / "trip").mkdir(parents=True)
    for number, (name, image_hw) in enumerate(
        {"a.png": (60, 90), "b.png": (80, 50), "trip/a.png": (40, 40)}.items()
    ):
        (folder / name).write_bytes(draw_png(image_hw, number))
    monkeypatch.chdir(tmp_path)
    return folder


@pytest.fixture(scope="session")
def files_below() -> Callable[[Path], dict[str, bytes]]:
    """Reads every file below a folder."""

    def read(folder: Path) -> dict[str, bytes]:
        files = (path for path in folder.rglob("*") if path.is_file())
        return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}

    return read


def pytest_runtest_setup(item: pytest.Item) -> None:
    if item.get_closest_marker("gpu") is not None:
        torch = pytest.importorskip("torch")
        if not torch.cuda.is_available():
            pytest.skip("no accelerator")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    is_expected_failure = hasattr(report, "wasxfail")
    if report.skipped and not is_expected_failure and item.get_closest_marker("gpu") is None:
        _forbid_skip(report)
    return report


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report(
    collector: pytest.Collector,
) -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    report = yield
    if report.skipped:
        _forbid_skip(report)
    return report


def _forbid_skip(report: pytest.TestReport | pytest.CollectReport) -> None:
    if os.environ.get("SEGLOOP_CI") != "1":
        return
    reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else report.longrepr
    report.outcome = "failed"
    report.longrepr = f"SEGLOOP_CI=1 allows no skip but for want of an accelerator. {reason}"
