"""How far predicted IoU can be believed: its expected calibration error against true IoU.

Bins are kept as sums, so batches, steps and processes add up before anything is divided.
"""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from segloop.train.step import Mean

NUM_BINS = 10
CALIBRATION_NAME, OVERCONFIDENCE_NAME = "calibration", "overconfidence"
_PREFIX = "calibration/bin/"


def calibration_sums(predicted: Tensor, iou: Tensor, num_bins: int = NUM_BINS) -> dict[str, Mean]:
    """For predicted and true IoU (N,), what each bin of predicted IoU adds to the mean of their difference.

    Bins part 0 to 1 evenly; predictions beyond fall into the first or last. The metrics of a step; fold_calibration makes
    the error of their means.
    """
    predicted, iou = predicted.detach().float(), iou.detach().float()
    places = (predicted * num_bins).long().clamp(0, num_bins - 1)
    sums = predicted.new_zeros(num_bins).index_add(0, places, predicted - iou)
    return {f"{_PREFIX}{at:02d}": Mean(sums[at], len(predicted)) for at in range(num_bins)}


def fold_calibration(means: Mapping[str, float]) -> dict[str, float]:
    """The same numbers with those of calibration_sums made two.

    "calibration": the expected calibration error, in each bin the distance of mean predicted from mean true IoU, weighted by
    the bin's share. "overconfidence": how much higher predicted IoU is on average. Neither where nothing was counted.
    """
    gaps = [value for name, value in means.items() if name.startswith(_PREFIX)]
    rest = {name: value for name, value in means.items() if not name.startswith(_PREFIX)}
    if not gaps:
        return rest
    return {
        **rest,
        CALIBRATION_NAME: sum(abs(gap) for gap in gaps),
        OVERCONFIDENCE_NAME: sum(gaps),
    }
