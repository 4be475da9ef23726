"""The decoder of official size against transformers.SamModel, which decodes all prompts at once, on the same weights."""

from __future__ import annotations

import os
from functools import partial

import numpy as np
import torch

from benchmarks.machine import Row, medians, write
from benchmarks.vit_b import in_onnx, same_weights
from segloop.backends.base import Backend, floors_for
from segloop.geometry.frames import FloatArray, Frame
from segloop.prompts.prompt import PackedPrompts, Prompt, pack

NUM_PROMPTS = (1, 64)


def run(threads: int, times: int = 3) -> list[Row]:
    """Three masks for 1 and 64 single-point prompts, by both, taking turns."""
    torch.set_num_threads(threads)
    theirs, predictor = same_weights()
    backends = {"PyTorch": predictor.backend, "ONNX Runtime": in_onnx(predictor, threads)}
    spec = predictor.spec
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

        def run_ours(backend: Backend, prompts: PackedPrompts = packed) -> list[FloatArray]:
            batches = prompts.batches(backend.batch_size)
            decoded = backend.decode_batches(features, batches, floors_for((1, 2, 3)))
            return [logits for logits, _ in decoded]

        expected = run_theirs().pred_masks[0].numpy()
        runs = {name: partial(run_ours, backend) for name, backend in backends.items()}
        seconds = medians({"transformers": run_theirs, **runs}, times)
        rows.append(Row(f"{count} prompts, transformers", seconds["transformers"]))
        for name, run_one in runs.items():
            difference = float(
                np.abs(np.concatenate(run_one()).reshape(expected.shape) - expected).max()
            )
            ratio = seconds["transformers"] / seconds[name]
            rows.append(
                Row(f"{count} prompts, segloop in {name}", seconds[name], ratio, difference)
            )
    return rows


if __name__ == "__main__":
    threads = os.cpu_count() or 1
    print(write("decode", run(threads), threads))
