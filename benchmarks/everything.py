"""Everything in a photograph by transformers' pipeline and by segloop, on the same random ViT-B, and by the default model.

Random weights pass no fixed threshold, so the thresholds are quantiles: 30% of the masks pass predicted IoU, half of those
stability. The boxes of such masks are all the image's, of which suppression leaves one: it is timed with, compared without.
The default model runs in a process of its own.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image
from pycocotools import mask as coco_mask
from torch import Tensor
from transformers import MaskGenerationPipeline
from transformers.models.sam import image_processing_pil_sam as their_images

import segloop
from benchmarks.machine import Row, median_of, write
from benchmarks.vit_b import in_onnx, same_weights
from segloop.geometry.encoded import EncodedMasks
from segloop.geometry.masks import mask_iou
from segloop.geometry.suppression import suppress_boxes
from segloop.predict.automatic import AutomaticConfig, generate
from segloop.predict.memory import peak_bytes, resident_bytes
from segloop.predict.predictor import Predictor

EXAMPLES = Path(__file__).resolve().parent.parent / "examples"
LONG_SIDE_PX = 1024
PREDICTED_IOU_PASSES, STABILITY_PASSES = 0.3, 0.5
SAME_IOU = 0.999
MATCHED_POINTS_PER_SIDE = 16


@dataclass(frozen=True)
class Measure:
    """One run: what it made, seconds, and how far resident memory rose above the start."""

    made: Any
    seconds: float
    rise_bytes: int


class Processor(their_images.SamImageProcessorPil):  # type: ignore[misc]
    """Their image processor, which would ask for all of torchvision where it needs one function."""

    def post_process_for_mask_generation(
        self, all_masks: Any, all_scores: Tensor, all_boxes: Tensor, crops_nms_thresh: float
    ) -> Any:
        """Their box suppression."""
        return their_images._post_process_for_mask_generation(
            all_masks, all_scores, all_boxes, crops_nms_thresh
        )


def run(threads: int, points_per_side: int = 32, times: int = 1) -> list[Row]:
    """Both on one photograph, taking turns, at thresholds that let the same share of masks through."""
    rows = [default_in_child(threads)]
    torch.set_num_threads(threads)
    stand_in_for_torchvision()
    theirs, in_torch = same_weights()
    ours = Predictor(in_onnx(in_torch, threads))
    photo = photograph(EXAMPLES / "coffee.jpg")
    pipeline = MaskGenerationPipeline(model=theirs, image_processor=Processor(), device="cpu")

    # Memory is that of the first run of either: what it gets it keeps for the next.
    our_first = measure(
        lambda: quantile_thresholds(ours, np.asarray(photo), MATCHED_POINTS_PER_SIDE)
    )
    apart = replace(our_first.made, box_nms_threshold=1.0)
    their_first = measure(lambda: run_theirs(pipeline, photo, apart))
    expected = their_first.made
    found = generate(ours, photo, apart).masks
    same = same_share(expected, found)

    config = quantile_thresholds(ours, np.asarray(photo), points_per_side)
    both = [
        (
            measure(lambda: run_theirs(pipeline, photo, config)),
            measure(lambda: generate(ours, photo, config).masks),
        )
        for _ in range(times)
    ]
    their_runs, our_runs = zip(*both, strict=True)
    their_seconds = median_of(one.seconds for one in their_runs)
    our_seconds = median_of(one.seconds for one in our_runs)
    what = f"ViT-B, {photo.width} x {photo.height}, {points_per_side} x {points_per_side} points"
    return [
        *rows,
        Row(
            f"{what}, transformers' pipeline",
            their_seconds,
            memory_bytes=their_first.rise_bytes,
        ),
        Row(
            f"{what}, segloop in ONNX Runtime; without suppression of boxes {len(expected)} masks of theirs and "
            f"{len(found)} of ours at {MATCHED_POINTS_PER_SIDE} x {MATCHED_POINTS_PER_SIDE} points, {100 * same:.1f}% "
            f"of theirs with IoU {SAME_IOU} among ours",
            our_seconds,
            their_seconds / our_seconds,
            memory_bytes=our_first.rise_bytes,
        ),
    ]


def run_theirs(
    pipeline: MaskGenerationPipeline, photo: Image.Image, config: AutomaticConfig
) -> list[Any]:
    """Run lengths of their masks."""
    answer = pipeline(
        photo,
        points_per_crop=config.points_per_side,
        points_per_batch=64,
        pred_iou_thresh=config.predicted_iou_threshold,
        stability_score_thresh=config.stability_threshold,
        crops_nms_thresh=config.box_nms_threshold,
        output_rle_mask=True,
    )
    return list(answer["rle_mask"])


def quantile_thresholds(
    predictor: Predictor, pixels: npt.NDArray[np.uint8], points_per_side: int
) -> AutomaticConfig:
    """Settings at which 30% of the masks pass predicted IoU and half of those stability."""
    everything = AutomaticConfig(
        points_per_side=points_per_side,
        predicted_iou_threshold=0.0,
        stability_threshold=0.0,
        box_nms_threshold=1.0,
    )
    masks = generate(predictor, pixels, everything).masks
    predicted = between(masks.predicted_iou, PREDICTED_IOU_PASSES)
    passing = masks.select(masks.predicted_iou > predicted)
    stability = between(passing.stability_score, STABILITY_PASSES)
    return AutomaticConfig(
        points_per_side=points_per_side,
        predicted_iou_threshold=predicted,
        stability_threshold=stability,
    )


def between(values: npt.NDArray[np.float32], passes: float) -> float:
    """A threshold that about this share of values passes, in the widest gap near there: sums round differently."""
    falling = np.sort(values.astype(np.float64))[::-1]
    middle, reach = int(passes * len(falling)), max(1, len(falling) // 100)
    low, high = max(0, middle - reach), min(len(falling) - 1, middle + reach)
    gaps = falling[low:high] - falling[low + 1 : high + 1]
    at = low + int(np.argmax(gaps))
    return float((falling[at] + falling[at + 1]) / 2)


def same_share(theirs: list[Any], ours: EncodedMasks) -> float:
    """Share of their masks that have one in ours of IoU at least .999."""
    if not theirs or not len(ours):
        return float(len(theirs) == len(ours))
    height, width = ours.image_hw
    num_same = 0
    for one in theirs:
        packed = coco_mask.frPyObjects(one, height, width)
        mask, area = coco_mask.decode(packed).astype(np.bool_), int(coco_mask.area(packed))
        close = np.flatnonzero(
            np.minimum(ours.areas, area) >= SAME_IOU * np.maximum(ours.areas, area)
        )
        num_same += any(mask_iou(ours.mask(row), mask) >= SAME_IOU for row in close)
    return num_same / len(theirs)


def stand_in_for_torchvision() -> None:
    """The one function their pipeline needs of torchvision."""

    def batched_nms(boxes: Tensor, scores: Tensor, idxs: Tensor, iou_threshold: float) -> Tensor:
        assert not idxs.any()
        return torch.from_numpy(suppress_boxes(boxes.numpy(), scores.numpy(), iou_threshold))

    for name in ("torchvision", "torchvision.ops", "torchvision.ops.boxes"):
        sys.modules[name] = ModuleType(name)
    sys.modules["torchvision.ops.boxes"].batched_nms = batched_nms  # type: ignore[attr-defined]


def default_in_child(threads: int) -> Row:
    """The default model in a process that holds nothing else."""
    command = [sys.executable, "-m", "benchmarks.everything", "default", str(threads)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return Row(**json.loads(done.stdout))


def measure_default(threads: int, times: int = 5) -> dict[str, Any]:
    """The fields of a row on the default model, in this process."""
    predictor = segloop.load(threads=threads)
    photo = photograph(EXAMPLES / "coffee.jpg")
    runs = [measure(lambda: generate(predictor, photo).masks) for _ in range(times)]
    return {
        "what": f"default model, {photo.width} x {photo.height}, 32 x 32 points, {len(runs[0].made)} masks "
        "(memory: all the process ever held)",
        "seconds": median_of(one.seconds for one in runs),
        "memory_bytes": peak_bytes(),
    }


def photograph(path: Path) -> Image.Image:
    """A photograph with a long side of 1024 pixels."""
    with Image.open(path) as opened:
        photo = opened.convert("RGB")
    scale = LONG_SIDE_PX / max(photo.size)
    return photo.resize((round(photo.width * scale), round(photo.height * scale)))


def measure(run: Callable[[], Any]) -> Measure:
    """What a run made, and what it took."""
    before = peak = resident_bytes()
    done = threading.Event()

    def watch() -> None:
        nonlocal peak
        while not done.wait(0.02):
            peak = max(peak, resident_bytes())

    watching = threading.Thread(target=watch, daemon=True)
    watching.start()
    start = time.perf_counter()
    made = run()
    seconds = time.perf_counter() - start
    done.set()
    watching.join()
    return Measure(made, seconds, peak - before)


if __name__ == "__main__":
    if sys.argv[1:2] == ["default"]:
        print(json.dumps(measure_default(int(sys.argv[2]))))
    else:
        cores = os.cpu_count() or 1
        print(write("everything", run(cores), cores))
