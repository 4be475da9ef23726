"""What a model answers is looked at before it is scored: the numbers of a damaged model would pass for bad masks."""

from __future__ import annotations

import numpy as np

from segloop.errors import InputError
from segloop.geometry.encoded import EncodedMasks
from segloop.geometry.masks import MaskBatch


def check_answer(answer: MaskBatch | EncodedMasks) -> None:
    """Raises InputError for a predicted IoU, a stability or a logit that is NaN or infinite; encoded masks lack logits."""
    columns = {"predicted IoU": answer.predicted_iou, "stability": answer.stability_score}
    if isinstance(answer, MaskBatch):
        columns["logit"] = answer.logits
    for name, numbers in columns.items():
        if not np.isfinite(numbers).all():
            raise InputError(f"a {name} is no number: the model's weights are damaged")
