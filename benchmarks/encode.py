"""The image encoder of official size against that of transformers, on the same weights and photograph."""

from __future__ import annotations

import os
from functools import partial

import numpy as np
import torch

from benchmarks.machine import Row, medians, write
from benchmarks.vit_b import in_onnx, same_weights
from segloop.data.image import load_image
from segloop.data.transforms import prepare_input
from segloop.geometry.frames import Frame

PHOTO = "examples/coffee.jpg"


def run(threads: int, times: int = 3) -> list[Row]:
    """One photograph by each, taking turns."""
    torch.set_num_threads(threads)
    theirs, predictor = same_weights()
    backends = {"PyTorch": predictor.backend, "ONNX Runtime": in_onnx(predictor, threads)}
    image = load_image(PHOTO)
    spec = predictor.spec
    frame = Frame((image.shape[0], image.shape[1]), spec.input_size, spec.logit_size)
    prepared = prepare_input(image, frame)

    def run_theirs() -> np.ndarray:
        with torch.inference_mode():
            return theirs.get_image_embeddings(torch.from_numpy(prepared)[None])[0].numpy()

    runs = {name: partial(backend.encode, prepared) for name, backend in backends.items()}
    seconds = medians({"transformers": run_theirs, **runs}, times)
    rows = [Row("transformers", seconds["transformers"])]
    expected = run_theirs()
    for name, run_one in runs.items():
        difference = float(np.abs(run_one() - expected).max())
        ratio = seconds["transformers"] / seconds[name]
        rows.append(Row(f"segloop in {name}", seconds[name], ratio, difference))
    return rows


if __name__ == "__main__":
    threads = os.cpu_count() or 1
    print(write("encode", run(threads), threads))
