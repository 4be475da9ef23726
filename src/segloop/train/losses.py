"""Focal and dice loss on mask logits, squared error on predicted IoU (paper appendix A).

Shapes: logits and truths (..., L, L); every loss keeps the leading axes, so that a caller can take a minimum over outputs.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

FOCAL_WEIGHT, DICE_WEIGHT, IOU_WEIGHT = 20.0, 1.0, 1.0
FOCAL_ALPHA, FOCAL_GAMMA = 0.25, 2.0


def focal_loss(logits: Tensor, truths: Tensor, alpha: float = FOCAL_ALPHA) -> Tensor:
    """Sigmoid focal loss, mean over pixels, gamma 2; alpha weighs the foreground, 1 - alpha the background."""
    cross_entropy = F.binary_cross_entropy_with_logits(logits, truths, reduction="none")
    probability = torch.sigmoid(logits)
    missed = probability + truths - 2.0 * probability * truths
    weight = alpha * truths + (1.0 - alpha) * (1.0 - truths)
    return (weight * missed**FOCAL_GAMMA * cross_entropy).mean(dim=(-2, -1))


def dice_loss(logits: Tensor, truths: Tensor) -> Tensor:
    """One minus the soft dice coefficient, smoothed by 1."""
    probability = torch.sigmoid(logits)
    overlap = (probability * truths).sum(dim=(-2, -1))
    total = probability.sum(dim=(-2, -1)) + truths.sum(dim=(-2, -1))
    return 1.0 - (2.0 * overlap + 1.0) / (total + 1.0)


def true_iou(logits: Tensor, truths: Tensor) -> Tensor:
    """IoU of the masks at logits > 0 with the truths, without gradient."""
    masks, truths = logits.detach() > 0, truths > 0.5
    intersection = (masks & truths).sum(dim=(-2, -1))
    union = (masks | truths).sum(dim=(-2, -1))
    return torch.where(
        union > 0, intersection / union.clamp(min=1), torch.ones_like(union, dtype=torch.float32)
    )
