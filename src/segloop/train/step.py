"""What one training step is, whatever is trained: from a model and a batch to sums that the loop divides.

Losses and metrics are sums and not means, so that processes and accumulated batches can be added up before the division:
one process or eight, the curve is the same.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol, TypeVar

import torch
from torch import Tensor, nn


@dataclass(frozen=True, eq=False)
class Mean:
    """A mean in two parts, a scalar sum and what it is to be divided by; count is 0 where nothing counted."""

    total: Tensor
    count: Tensor | float


@dataclass(frozen=True, eq=False)
class StepOutput:
    """loss: the sum, a scalar, over all that batch.count counts. metrics: numbers to watch, in every step the same names."""

    loss: Tensor
    metrics: dict[str, Mean] = field(default_factory=dict)


BatchT = TypeVar("BatchT", bound="TrainBatch")
ModelT = TypeVar("ModelT", bound=nn.Module)


class TrainBatch(Protocol):
    """What the loop has to know of a batch."""

    @property
    def count(self) -> int:
        """What the loss is a sum over: objects, or images."""

    @property
    def num_images(self) -> int:
        """Images in it."""

    def to(self: BatchT, device: torch.device) -> BatchT:
        """The same with its tensors on a device."""


# The number is that of the step in the run, counted from 0: for choices that all processes must make alike.
Step = Callable[[ModelT, BatchT, int], StepOutput]
