"""The graphs give the masks of the model they came from, in any company and from any thread."""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from segloop.backends.onnx import OnnxBackend
from segloop.backends.torch import TorchBackend
from segloop.data.transforms import prepare_input
from segloop.errors import InputError, WeightsError
from segloop.export.onnx import ExportReport
from segloop.export.parity import CASES, Case, draw_image, make_prompts
from segloop.geometry.frames import Frame
from segloop.model.sam import Sam

# Both runtimes compute in float32 and differ in the order of their sums only; the logits' size is about one.
TOLERANCE = 1e-4


@pytest.fixture(scope="module")
def backend(toy_export: ExportReport) -> OnnxBackend:
    return OnnxBackend(toy_export.folder, threads=1)


@pytest.fixture(scope="module")
def prepared(backend: OnnxBackend) -> np.ndarray:
    image = draw_image(64, np.random.default_rng(5))
    return prepare_input(image, Frame(image.shape[:2], 64, backend.spec.logit_size))


def test_sizes_come_from_the_description(backend: OnnxBackend, toy_model: Sam) -> None:
    spec, config = backend.spec, toy_model.config
    assert spec.name == "toy"
    assert (spec.input_size, spec.logit_size) == (config.input_size, config.logit_size)
    assert (spec.num_channels, spec.grid_size) == (config.width, config.grid_size)
    assert spec.text_width is None
    assert len(spec.identity) == 16


def test_features_are_those_of_pytorch(
    backend: OnnxBackend, toy_model: Sam, prepared: np.ndarray
) -> None:
    expected = TorchBackend(toy_model, "toy", "x").encode(prepared)
    features = backend.encode(prepared)
    assert features.shape == expected.shape == (32, 8, 8)
    np.testing.assert_allclose(features, expected, atol=TOLERANCE)


@pytest.mark.parametrize("case", CASES, ids=str)
def test_masks_are_those_of_pytorch(
    case: Case, backend: OnnxBackend, toy_model: Sam, prepared: np.ndarray
) -> None:
    torch_backend = TorchBackend(toy_model, "toy", "x")
    prompts = make_prompts(case, backend.spec, np.random.default_rng(1))
    features = backend.encode(prepared)
    logits, predicted_iou = backend.decode(features, prompts)
    expected_logits, expected_iou = torch_backend.decode(features, prompts)
    assert logits.shape == (4 * case.num_prompts, 32, 32)
    np.testing.assert_allclose(logits, expected_logits, atol=TOLERANCE)
    np.testing.assert_allclose(predicted_iou, expected_iou, atol=TOLERANCE)


def test_no_mask_at_all_is_as_an_ignored_mask_each(
    backend: OnnxBackend, prepared: np.ndarray
) -> None:
    random = np.random.default_rng(3)
    prompts = make_prompts(Case(4, (1, -1)), backend.spec, random)
    ignored = replace(prompts, mask_logits=random.normal(size=(4, 1, 32, 32)).astype(np.float32))
    features = backend.encode(prepared)
    for first, second in zip(
        backend.decode(features, prompts), backend.decode(features, ignored), strict=True
    ):
        np.testing.assert_allclose(first, second, atol=TOLERANCE)


def test_threads_do_not_disturb_each_other(backend: OnnxBackend) -> None:
    randoms = [np.random.default_rng(seed) for seed in range(6)]
    frame = Frame((48, 64), 64, 32)
    images = [prepare_input(draw_image(64, random), frame) for random in randoms]
    jobs = [
        (image, make_prompts(case, backend.spec, random))
        for image, case, random in zip(images, CASES, randoms, strict=False)
    ]

    def run(job: tuple) -> np.ndarray:
        image, prompts = job
        return backend.decode(backend.encode(image), prompts)[0]

    alone = [run(job) for job in jobs]
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(run, jobs * 4))
    for index, logits in enumerate(together):
        np.testing.assert_array_equal(logits, alone[index % len(jobs)])


def test_text_has_no_way_in(backend: OnnxBackend, prepared: np.ndarray) -> None:
    prompts = make_prompts(Case(1, (1, -1)), backend.spec, np.random.default_rng(0))
    with pytest.raises(InputError, match="takes no text"):
        backend.decode(
            backend.encode(prepared), replace(prompts, text=np.ones((1, 8), dtype=np.float32))
        )


def test_pytorch_is_not_needed(toy_export: ExportReport) -> None:
    program = (
        "import sys; from segloop.backends.onnx import OnnxBackend; "
        f"OnnxBackend({str(toy_export.folder)!r}); print('torch' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "False"


def truncate(folder: Path) -> None:
    path = folder / "encoder.onnx"
    path.write_bytes(path.read_bytes()[:-100])


def flip_a_bit(folder: Path) -> None:
    content = bytearray((folder / "decoder.onnx").read_bytes())
    content[len(content) // 2] ^= 1
    (folder / "decoder.onnx").write_bytes(content)


def write_nonsense(folder: Path) -> None:
    content = b"no graph, but as the description has it"
    (folder / "decoder.onnx").write_bytes(content)
    description = json.loads((folder / "model.json").read_text())
    description["files"]["decoder.onnx"]["sha256"] = hashlib.sha256(content).hexdigest()
    (folder / "model.json").write_text(json.dumps(description))


def age(folder: Path) -> None:
    description = json.loads((folder / "model.json").read_text())
    (folder / "model.json").write_text(json.dumps({**description, "format": 99}))


def misstate(folder: Path) -> None:
    description = json.loads((folder / "model.json").read_text())
    description["spec"]["input_size"] *= 2
    (folder / "model.json").write_text(json.dumps(description))


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (misstate, "model.json is damaged: it tells of sizes"),
        (truncate, "encoder.onnx is damaged"),
        (flip_a_bit, "decoder.onnx is damaged"),
        (write_nonsense, "decoder.onnx cannot be loaded by ONNX Runtime"),
        (age, "format 99"),
        (lambda folder: (folder / "decoder.onnx").unlink(), "decoder.onnx: no such file"),
        (lambda folder: (folder / "model.json").unlink(), "is not an exported model"),
        (lambda folder: (folder / "model.json").write_text("{"), "model.json is damaged"),
        (lambda folder: (folder / "model.json").write_text("[]"), "model.json is damaged"),
        (lambda folder: (folder / "model.json").write_bytes(b"\xff\xfe"), "model.json is damaged"),
        (
            lambda folder: (folder / "model.json").write_text('{"format": 3}'),
            "model.json is damaged",
        ),
    ],
)
def test_damage_is_named_in_one_line(
    damage: Callable[[Path], object], message: str, toy_export: ExportReport, tmp_path: Path
) -> None:
    folder = tmp_path / "model"
    shutil.copytree(toy_export.folder, folder)
    damage(folder)
    with pytest.raises(WeightsError, match=message) as caught:
        OnnxBackend(folder)
    assert "\n" not in str(caught.value)
