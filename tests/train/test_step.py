from __future__ import annotations

import numpy as np
import torch

from segloop.train.sam_step import Batch
from segloop.train.step import Mean, StepOutput, TrainBatch


def test_a_batch_says_what_the_loop_divides_by() -> None:
    batch: TrainBatch = Batch(
        torch.zeros(2, 3, 8, 8),
        np.zeros((5, 4, 4), np.bool_),
        torch.tensor([0, 0, 0, 1, 1]),
        np.arange(5),
    )
    assert (batch.count, batch.num_images) == (5, 2)


def test_a_step_without_metrics_shares_none_with_another() -> None:
    first, second = StepOutput(torch.tensor(1.0)), StepOutput(torch.tensor(1.0))
    first.metrics["seen"] = Mean(torch.tensor(1.0), 1)
    assert second.metrics == {}
