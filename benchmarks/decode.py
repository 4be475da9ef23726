"""The decoder of official size against transformers.SamModel, which decodes all prompts at once, on the same weights."""

from __future__ import annotations

import numpy as np
import torch

from benchmarks.everything import same_weights
from benchmarks.machine import Row, medians, write
from segloop.backends.base import floors_for
from segloop.geometry.frames import Frame
from segloop.prompts.prompt import Prompt, pack

NUM_PROMPTS = (1, 64)


def run(threads: int, times: int = 3) -> list[Row]:
    """Three masks for 1 and 64 single-point prompts, by both, taking turns."""
    torch.set_num_threads(threads)
    theirs, predictor = same_weights()
    ours = predictor.backend
    spec = ours.spec
    side = spec.input_size
    features = np.random.default_rng(0).normal(
        size=(spec.num_channels, spec.grid_size, spec.grid_size)
    )
    features = features.astype(np.float32)
    sent = torch.from_numpy(features)[None]
    frame = Frame((side, side), side, spec.logit_size)
    rows = []
    for count in NUM_PROMPTS:
        points = np.random.default_rng(1).uniform(0, side, (count, 2)).astype(np.float32)
        (packed,) = pack([Prompt(points_xy=[xy]) for xy in points], frame)
        their_points = torch.from_numpy(points)[None, :, None]
        their_labels = torch.ones(1, count, 1, dtype=torch.int64)

        def run_theirs(xy: torch.Tensor = their_points, kinds: torch.Tensor = their_labels):  # type: ignore[no-untyped-def]
            with torch.inference_mode():
                return theirs(
                    image_embeddings=sent,
                    input_points=xy,
                    input_labels=kinds,
                    multimask_output=True,
                )

        def run_ours(prompts=packed):  # type: ignore[no-untyped-def]
            return ours.decode(features, prompts, floors_for((1, 2, 3)))

        expected = run_theirs().pred_masks[0].numpy()
        logits, _ = run_ours()
        difference = float(np.abs(logits.reshape(expected.shape) - expected).max())
        seconds = medians({"theirs": run_theirs, "ours": run_ours}, times)
        ratio = seconds["theirs"] / seconds["ours"]
        rows.append(Row(f"{count} prompts, transformers", seconds["theirs"]))
        rows.append(Row(f"{count} prompts, segloop in PyTorch", seconds["ours"], ratio, difference))
    return rows


if __name__ == "__main__":
    print(write("decode", run(threads=1), threads=1))
