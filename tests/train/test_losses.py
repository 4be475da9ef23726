from __future__ import annotations

import math

import pytest
import torch

from segloop.train.losses import (
    dice_loss,
    focal_loss,
    true_iou,
)


def random_pair() -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    logits = 4 * torch.randn(3, 2, 8, 8, generator=generator)
    truths = (torch.rand(3, 2, 8, 8, generator=generator) > 0.6).float()
    return logits.double(), truths.double()


def test_focal_by_hand() -> None:
    """Probability 3/4: a foreground pixel misses a quarter, a background pixel three quarters."""
    logit = math.log(3.0)
    hit = focal_loss(torch.tensor([[logit]]), torch.tensor([[1.0]]))
    miss = focal_loss(torch.tensor([[logit]]), torch.tensor([[0.0]]))
    assert hit.item() == pytest.approx(0.25 * 0.25**2 * -math.log(0.75), rel=1e-5)
    assert miss.item() == pytest.approx(0.75 * 0.75**2 * -math.log(0.25), rel=1e-5)


def test_alpha_weighs_foreground_against_background() -> None:
    logits = torch.zeros(1, 1)
    for truth, weight in ((1.0, 0.4), (0.0, 0.6)):
        loss = focal_loss(logits, torch.tensor([[truth]]), alpha=0.4)
        assert loss.item() == pytest.approx(weight * 0.25 * math.log(2.0))
    truths = torch.ones(1, 1)
    more = 20 * (focal_loss(logits, truths, alpha=0.5) - focal_loss(logits, truths))
    assert more.item() == pytest.approx(20 * 0.25 * 0.25 * math.log(2.0))


def test_focal_is_a_mean_over_pixels_and_keeps_leading_axes() -> None:
    logits, truths = random_pair()
    p = torch.sigmoid(logits)
    right = torch.where(truths > 0, p, 1 - p)
    alpha = torch.where(truths > 0, 0.25, 0.75)
    expected = -(alpha * (1 - right) ** 2 * right.log()).flatten(2).mean(dim=2)
    assert expected.shape == (3, 2)
    torch.testing.assert_close(focal_loss(logits, truths), expected)


def test_focal_stays_finite_where_sigmoid_saturates() -> None:
    logits = torch.tensor([[200.0, -200.0]], requires_grad=True)
    loss = focal_loss(logits, torch.tensor([[0.0, 1.0]]))
    loss.backward()
    assert loss.item() == pytest.approx((0.75 * 200 + 0.25 * 200) / 2)
    assert logits.grad is not None
    assert torch.isfinite(logits.grad).all()


def test_dice_by_hand() -> None:
    """Four pixels of probability a half, one of them true: (2 * 0.5 + 1) / (2 + 1 + 1)."""
    truths = torch.tensor([[1.0, 0.0], [0.0, 0.0]])
    assert dice_loss(torch.zeros(2, 2), truths).item() == pytest.approx(1 - 2 / 4)


def test_dice_smoothing_makes_an_empty_agreement_free() -> None:
    sure = torch.full((4, 4), 60.0)
    assert dice_loss(-sure, torch.zeros(4, 4)).item() == pytest.approx(0.0, abs=1e-6)
    assert dice_loss(sure, torch.ones(4, 4)).item() == pytest.approx(0.0, abs=1e-6)
    assert dice_loss(sure, torch.zeros(4, 4)).item() == pytest.approx(1 - 1 / 17)


def test_true_iou_counts_pixels_above_zero() -> None:
    logits = torch.tensor([[1.0, 1.0, -1.0, 0.0]], requires_grad=True)
    truths = torch.tensor([[1.0, 0.0, 1.0, 1.0]])
    iou = true_iou(logits, truths)
    assert iou.item() == pytest.approx(1 / 4)
    assert not iou.requires_grad
    assert true_iou(-torch.ones(2, 2), torch.zeros(2, 2)).item() == 1.0
