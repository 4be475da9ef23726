"""What holds for every backend: prompts in any company give the same masks, and only the wanted ones are drawn."""

from __future__ import annotations

from dataclasses import replace
from itertools import islice

import numpy as np
import pytest

from segloop.backends.base import Backend, drawn_outputs, floors_for
from segloop.backends.onnx import OnnxBackend
from segloop.backends.torch import TorchBackend
from segloop.data.transforms import prepare_input
from segloop.errors import InputError
from segloop.export.onnx import ExportReport
from segloop.export.parity import CASES, Case, draw_image, make_prompts
from segloop.geometry.frames import FloatArray, Frame
from segloop.model.sam import Sam

TOLERANCE = 1e-4


@pytest.fixture(scope="module", params=["torch", "onnx", "onnx in 3 threads"])
def backend(request: pytest.FixtureRequest, toy_model: Sam, toy_export: ExportReport) -> Backend:
    if request.param == "torch":
        return TorchBackend(toy_model, "toy", "x")
    return OnnxBackend(toy_export.folder, threads=3 if "3" in request.param else 1)


@pytest.fixture(scope="module")
def features(backend: Backend) -> FloatArray:
    image = draw_image(64, np.random.default_rng(5))
    return backend.encode(prepare_input(image, Frame(image.shape[:2], 64, 32)))


@pytest.mark.parametrize("case", [case for case in CASES if case.num_prompts > 1], ids=str)
def test_many_prompts_in_one_call_are_as_one_by_one(
    case: Case, backend: Backend, features: FloatArray
) -> None:
    prompts = make_prompts(case, backend.spec, np.random.default_rng(2))
    logits, predicted_iou = backend.decode(features, prompts)
    for row, masks in enumerate(logits.reshape(case.num_prompts, 4, 32, 32)):
        one_logits, one_iou = backend.decode(features, prompts.slice(row, row + 1))
        np.testing.assert_allclose(masks, one_logits, atol=TOLERANCE)
        np.testing.assert_allclose(predicted_iou[row], one_iou[0], atol=TOLERANCE)


@pytest.mark.parametrize("case", CASES, ids=str)
def test_only_masks_above_their_floor_are_drawn(
    case: Case, backend: Backend, features: FloatArray
) -> None:
    prompts = make_prompts(case, backend.spec, np.random.default_rng(4))
    everything, expected_iou = backend.decode(features, prompts)
    floors = np.array([np.inf, *np.median(expected_iou[:, 1:], axis=0)], dtype=np.float32)
    rows, outputs = drawn_outputs(expected_iou, floors)
    logits, predicted_iou = backend.decode(features, prompts, floors)
    assert 0 not in outputs
    assert len(rows) == (expected_iou[:, 1:] > floors[1:]).sum() < 3 * case.num_prompts
    np.testing.assert_allclose(predicted_iou, expected_iou, atol=TOLERANCE)
    np.testing.assert_allclose(logits, everything[4 * rows + outputs], atol=TOLERANCE)


def test_with_every_floor_out_of_reach_nothing_is_drawn(
    backend: Backend, features: FloatArray
) -> None:
    prompts = make_prompts(Case(3, (1, -1)), backend.spec, np.random.default_rng(0))
    logits, predicted_iou = backend.decode(features, prompts, floors_for([]))
    assert logits.shape == (0, 32, 32)
    assert predicted_iou.shape == (3, 4)


@pytest.mark.parametrize("size", [1, 3, 20])
def test_batches_come_in_order_and_are_as_one_by_one(
    size: int, backend: Backend, features: FloatArray
) -> None:
    prompts = make_prompts(Case(20, (1, -1)), backend.spec, np.random.default_rng(6))
    batches = prompts.batches(size)
    assert [len(batch) for batch in batches] == {1: [1] * 20, 3: [3] * 6 + [2], 20: [20]}[size]
    floors = floors_for((1, 3), 0.0)
    for batch, (logits, predicted_iou) in zip(
        batches, backend.decode_batches(features, batches, floors), strict=True
    ):
        expected_logits, expected_iou = backend.decode(features, batch, floors)
        np.testing.assert_allclose(predicted_iou, expected_iou, atol=TOLERANCE)
        np.testing.assert_allclose(logits, expected_logits, atol=TOLERANCE)


def test_batches_are_the_same_to_the_bit_each_time(backend: Backend, features: FloatArray) -> None:
    prompts = make_prompts(Case(20, (1, -1)), backend.spec, np.random.default_rng(6))
    first, second = (
        [logits for logits, _ in backend.decode_batches(features, prompts.batches(3))]
        for _ in range(2)
    )
    np.testing.assert_array_equal(np.concatenate(first), np.concatenate(second))


def test_batches_may_be_left_half_read(backend: Backend, features: FloatArray) -> None:
    prompts = make_prompts(Case(20, (1, -1)), backend.spec, np.random.default_rng(6))
    reading = iter(backend.decode_batches(features, prompts.batches(1)))
    assert len(list(islice(reading, 2))) == 2
    del reading
    assert backend.decode(features, prompts)[0].shape == (80, 32, 32)


def test_an_error_in_a_batch_reaches_the_caller(backend: Backend, features: FloatArray) -> None:
    prompts = make_prompts(Case(4, (1, -1)), backend.spec, np.random.default_rng(6))
    broken = replace(prompts, text=np.ones((4, 8), dtype=np.float32))
    error = ValueError if isinstance(backend, TorchBackend) else InputError
    with pytest.raises(error, match="text"):
        list(backend.decode_batches(features, [prompts, prompts, broken, prompts]))
