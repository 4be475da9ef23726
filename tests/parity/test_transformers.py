"""A full-size ViT-B of random weights answers as Hugging Face's SamModel does."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from segloop.model.config import MODELS
from segloop.model.sam import Sam
from segloop.weights.convert import infer_config, to_native

transformers = pytest.importorskip("transformers")

# Both run in float32 but sum in another order, in the decoder above all (its attentions are folded); measured: 5e-5.
TOLERANCE = 1e-4


@dataclass(frozen=True)
class Pair:
    theirs: Any
    ours: Sam
    their_features: Tensor
    our_features: Tensor


@pytest.fixture(scope="module")
def pair() -> Pair:
    """Both models with the same weights, and the embedding of one image by each.

    The library starts positions, biases and norms from zeros and ones, which would hide mistakes in them: all get noise.
    """
    torch.manual_seed(0)
    theirs = transformers.SamModel(transformers.SamConfig()).eval()
    with torch.no_grad():
        for parameter in theirs.parameters():
            parameter.add_(torch.randn_like(parameter), alpha=0.02)
    state = to_native(theirs.state_dict())
    with torch.device("meta"):
        ours = Sam(infer_config(state))
    ours.load_state_dict(state, assign=True)
    image = torch.randn(1, 3, 1024, 1024)
    image[:, :, 700:] = 0.0
    with torch.inference_mode():
        return Pair(theirs, ours.eval(), theirs.get_image_embeddings(image), ours.encode(image))


def compare(
    pair: Pair, points: list[Any], labels: list[int], box: list[float], mask: Tensor | None
) -> None:
    """One prompt in input pixels through both models from the same embedding: all four masks and their IoU."""
    coords, kinds = list(points), list(labels)
    if box:
        coords, kinds = [*coords, box[:2], box[2:]], [*kinds, 2, 3]
    elif points:
        coords, kinds = [*coords, [0.0, 0.0]], [*kinds, -1]
    for is_multi, outputs in ((False, slice(0, 1)), (True, slice(1, 4))):
        with torch.inference_mode():
            expected = pair.theirs(
                image_embeddings=pair.their_features,
                input_points=torch.tensor([[points]]) if points else None,
                input_labels=torch.tensor([[labels]]) if points else None,
                input_boxes=torch.tensor([[box]]) if box else None,
                input_masks=mask,
                multimask_output=is_multi,
            )
            logits, iou = pair.ours.decode(
                pair.their_features,
                torch.tensor([coords]).reshape(1, -1, 2),
                torch.tensor([kinds], dtype=torch.int64),
                mask,
            )
        np.testing.assert_allclose(
            logits[:, outputs], expected.pred_masks[0], rtol=TOLERANCE, atol=TOLERANCE
        )
        np.testing.assert_allclose(
            iou[:, outputs], expected.iou_scores[0], rtol=TOLERANCE, atol=TOLERANCE
        )


def test_sizes_are_read_off_the_tensors(pair: Pair) -> None:
    assert pair.ours.config == MODELS["vit_b"]


def test_embedding(pair: Pair) -> None:
    assert pair.their_features.std() > 0.5
    np.testing.assert_allclose(
        pair.our_features, pair.their_features, rtol=TOLERANCE, atol=TOLERANCE
    )


def test_points(pair: Pair) -> None:
    compare(pair, [[500.0, 375.0]], [1], [], None)
    compare(pair, [[500.0, 375.0], [1000.5, 20.25], [3.0, 690.0]], [1, 0, 1], [], None)


def test_box(pair: Pair) -> None:
    compare(pair, [], [], [100.0, 80.0, 900.0, 600.0], None)


def test_points_and_box(pair: Pair) -> None:
    compare(pair, [[500.0, 375.0], [120.0, 90.0]], [1, 0], [100.0, 80.0, 900.0, 600.0], None)


def test_mask_with_a_point(pair: Pair) -> None:
    mask = torch.randn(1, 1, 256, 256) * 4.0
    compare(pair, [[500.0, 375.0]], [1], [], mask)


def test_mask_with_a_box(pair: Pair) -> None:
    mask = torch.randn(1, 1, 256, 256) * 4.0
    compare(pair, [], [], [100.0, 80.0, 900.0, 600.0], mask)


def test_mask_alone(pair: Pair) -> None:
    compare(pair, [], [], [], torch.randn(1, 1, 256, 256) * 4.0)
