"""The decoder's graph takes the form that suits its inputs, and draws only what is wanted."""

from __future__ import annotations

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from onnx import GraphProto

from segloop.export.onnx import ExportReport
from segloop.model.sam import Sam


@pytest.fixture(scope="module")
def graph(toy_export: ExportReport) -> GraphProto:
    return onnx.load(toy_export.folder / "decoder.onnx").graph


@pytest.fixture(scope="module")
def session(toy_export: ExportReport) -> onnxruntime.InferenceSession:
    return onnxruntime.InferenceSession(
        toy_export.folder / "decoder.onnx", providers=["CPUExecutionProvider"]
    )


@pytest.mark.parametrize("num_prompts", [1, 2, 3, 4, 20])
@pytest.mark.parametrize("has_masks", [False, True])
def test_every_form_gives_the_masks_of_pytorch(
    num_prompts: int, has_masks: bool, session: onnxruntime.InferenceSession, toy_model: Sam
) -> None:
    random = np.random.default_rng(num_prompts)
    num_masks = num_prompts if has_masks else 0
    inputs = {
        "features": random.normal(size=(1, 32, 8, 8)).astype(np.float32),
        "coords": random.uniform(0, 64, (num_prompts, 2, 2)).astype(np.float32),
        "labels": np.tile(np.array([1, -1]), (num_prompts, 1)),
        "mask_logits": random.normal(size=(num_masks, 1, 32, 32)).astype(np.float32),
        "has_mask": np.full(num_masks, has_masks, dtype=np.float32),
        "floors": np.array([np.inf, -np.inf, -np.inf, np.inf], dtype=np.float32),
    }
    logits, predicted_iou = session.run(None, inputs)
    with torch.inference_mode():
        given = {name: torch.from_numpy(value) for name, value in inputs.items() if len(value)}
        expected = toy_model.decode(**given)
    assert logits.shape == (2 * num_prompts, 32, 32)
    np.testing.assert_allclose(logits, expected[0], atol=1e-4)
    np.testing.assert_allclose(predicted_iou, expected[1], atol=1e-4)


def test_the_choice_is_between_three_forms(graph: GraphProto) -> None:
    (outer,) = (node for node in graph.node if node.op_type == "If")
    branches = {attribute.name: attribute.g for attribute in outer.attribute}
    assert [node.op_type for node in branches["else_branch"].node] == ["If"]
    assert len(branches["then_branch"].node) > 100


def test_drawing_stands_once_and_after_the_choice(graph: GraphProto) -> None:
    kinds = [node.op_type for node in graph.node]
    choice, selection = kinds.index("If"), kinds.index("NonZero")
    assert kinds.count("If") == 1
    assert selection > choice
    assert kinds.index("Gelu") > selection, "masks are upscaled only once it is known which"
