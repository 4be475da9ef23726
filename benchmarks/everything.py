"""Everything in a photograph by segloop and by transformers, on the same random ViT-B: `python -m benchmarks.everything`.

Random weights pass no fixed threshold, so the thresholds are quantiles: 30% of the masks pass predicted IoU, half of those
stability. A full grid takes minutes; --points-per-side 8 is for trying. The default model runs in a process of its own.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import resource
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from types import ModuleType, TracebackType
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image
from pycocotools import mask as coco_mask
from torch import Tensor
from transformers import MaskGenerationPipeline, SamModel
from transformers import __version__ as transformers_version
from transformers.models.sam import image_processing_pil_sam as their_images

import segloop
from benchmarks.vit_b import same_weights
from segloop.geometry.encoded import EncodedMasks
from segloop.geometry.suppression import suppress_boxes
from segloop.predict.automatic import AutomaticConfig, generate
from segloop.predict.predictor import Predictor

EXAMPLES = Path(__file__).resolve().parent.parent / "examples"
LONG_SIDE_PX = 1024
PREDICTED_IOU_PASSES, STABILITY_PASSES = 0.3, 0.5
SAME_IOU = 0.999


@dataclass(frozen=True)
class Measure:
    """One run: masks that survived, seconds, and how far resident memory rose above the start."""

    num_masks: int
    seconds: float
    rise_bytes: int


@dataclass(frozen=True)
class Comparison:
    """Both on one photograph, in median seconds; same_share of their masks have their like in ours."""

    photo: str
    image_hw: tuple[int, int]
    points_per_side: int
    num_theirs: int
    num_ours: int
    same_share: float
    their_seconds: float
    our_seconds: float
    their_encode_seconds: float
    our_encode_seconds: float
    their_rise_bytes: int
    our_rise_bytes: int

    @property
    def ratio(self) -> float:
        """How many times faster, end to end."""
        return self.their_seconds / self.our_seconds

    @property
    def decode_ratio(self) -> float:
        """How many times faster after the encoder, which a finer grid makes the whole."""
        theirs = self.their_seconds - self.their_encode_seconds
        return theirs / (self.our_seconds - self.our_encode_seconds)


class Processor(their_images.SamImageProcessorPil):  # type: ignore[misc]
    """Their image processor, which would ask for all of torchvision where it needs one function."""

    def post_process_for_mask_generation(
        self, all_masks: Any, all_scores: Tensor, all_boxes: Tensor, crops_nms_thresh: float
    ) -> Any:
        """Their box suppression."""
        return their_images._post_process_for_mask_generation(
            all_masks, all_scores, all_boxes, crops_nms_thresh
        )


class MemoryWatch:
    """Samples the resident memory of this process while it is open."""

    def __enter__(self) -> MemoryWatch:
        self._start = self._peak = resident_bytes()
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._sample, daemon=True)
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._done.set()
        self._thread.join()

    @property
    def rise_bytes(self) -> int:
        """Peak above the start."""
        return self._peak - self._start

    def _sample(self) -> None:
        while not self._done.wait(0.02):
            self._peak = max(self._peak, resident_bytes())


def main() -> None:
    """Print the comparison, and write it where -o says."""
    options = read_options()
    if options.default_only:
        print(json.dumps(measure_default(options)))
        return
    torch.set_num_threads(options.threads)
    print(
        f"{platform.machine()}, {options.threads} of {os.cpu_count()} cores, "
        f"Python {platform.python_version()}, torch {torch.__version__}, transformers {transformers_version}"
    )
    default = default_in_child(options)
    print(
        f"default model, {options.default_points_per_side} x {options.default_points_per_side} points: "
        f"{default['seconds']:.1f} s, {default['num_masks']} masks, "
        f"peak resident {default['peak_bytes'] / 1e9:.2f} GB"
    )
    stand_in_for_torchvision()
    theirs, ours = same_weights()
    comparisons = []
    for path in options.photos:
        one = compare(path, theirs, ours, options.points_per_side, options.runs)
        comparisons.append(one)
        print(describe(one))
    if options.out:
        report = {
            "machine": platform.platform(),
            "processors": os.cpu_count(),
            "threads": options.threads,
            "versions": {"torch": torch.__version__, "transformers": transformers_version},
            "default": default,
            "comparisons": [
                {**asdict(one), "ratio": one.ratio, "decode_ratio": one.decode_ratio}
                for one in comparisons
            ],
        }
        options.out.parent.mkdir(parents=True, exist_ok=True)
        options.out.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")


def read_options() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("photos", nargs="*", type=Path, default=[EXAMPLES / "coffee.jpg"])
    parser.add_argument("--points-per-side", type=int, default=32)
    parser.add_argument("--default-points-per-side", type=int, default=32)
    parser.add_argument("--runs", type=int, default=1, help="of either, taking turns")
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--default-only", action="store_true", help="as JSON, in this process")
    parser.add_argument("-o", "--out", type=Path, help="a JSON file")
    return parser.parse_args()


def compare(
    path: Path, theirs: SamModel, ours: Predictor, points_per_side: int, runs: int
) -> Comparison:
    """Both on one photograph at thresholds that let the same share of masks through."""
    photo = photograph(path)
    config = quantile_thresholds(ours, np.asarray(photo), points_per_side)
    pipeline = MaskGenerationPipeline(model=theirs, image_processor=Processor(), device="cpu")

    def run_theirs() -> list[Any]:
        answer = pipeline(
            photo,
            points_per_crop=points_per_side,
            points_per_batch=64,
            pred_iou_thresh=config.predicted_iou_threshold,
            stability_score_thresh=config.stability_threshold,
            output_rle_mask=True,
        )
        return list(answer["rle_mask"])

    def run_ours() -> EncodedMasks:
        return generate(ours, photo, config).masks

    pixels = torch.from_numpy(Processor()(images=photo)["pixel_values"][0])[None]
    their_runs, our_runs, their_encodes, our_encodes = [], [], [], []
    for _ in range(runs):
        their_masks, measured = measure(run_theirs)
        their_runs.append(measured)
        our_masks, measured = measure(run_ours)
        our_runs.append(measured)
        their_encodes.append(seconds_of(lambda: their_features(theirs, pixels)))
        our_encodes.append(seconds_of(lambda: ours.encode(photo)))
    return Comparison(
        photo=path.name,
        image_hw=(photo.height, photo.width),
        points_per_side=points_per_side,
        num_theirs=len(their_masks),
        num_ours=len(our_masks),
        same_share=same_share(their_masks, our_masks),
        their_seconds=statistics.median(run.seconds for run in their_runs),
        our_seconds=statistics.median(run.seconds for run in our_runs),
        their_encode_seconds=statistics.median(their_encodes),
        our_encode_seconds=statistics.median(our_encodes),
        their_rise_bytes=max(run.rise_bytes for run in their_runs),
        our_rise_bytes=max(run.rise_bytes for run in our_runs),
    )


def describe(one: Comparison) -> str:
    """A comparison as two lines of text."""
    height, width = one.image_hw
    return (
        f"{one.photo} {width} x {height}, {one.points_per_side} x {one.points_per_side} points: "
        f"transformers {one.their_seconds:.1f} s (encode {one.their_encode_seconds:.1f}), "
        f"segloop {one.our_seconds:.1f} s (encode {one.our_encode_seconds:.1f}), "
        f"{one.ratio:.1f} x, after the encoder {one.decode_ratio:.1f} x\n"
        f"  survivors {one.num_theirs} and {one.num_ours}, {100 * one.same_share:.1f}% the same; memory "
        f"+{one.their_rise_bytes / 1e9:.2f} and +{one.our_rise_bytes / 1e9:.2f} GB"
    )


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
    packed: list[Any] = [coco_mask.frPyObjects(one, height, width) for one in theirs]
    mine: list[Any] = [
        {"size": [height, width], "counts": one.counts.encode()} for one in ours.rles
    ]
    return float((coco_mask.iou(packed, mine, [0] * len(mine)).max(axis=1) >= SAME_IOU).mean())


def their_features(model: SamModel, pixels: Tensor) -> Tensor:
    """One embedding by their encoder."""
    with torch.inference_mode():
        features: Tensor = model.get_image_embeddings(pixels)
        return features


def stand_in_for_torchvision() -> None:
    """The one function their pipeline needs of torchvision."""

    def batched_nms(boxes: Tensor, scores: Tensor, idxs: Tensor, iou_threshold: float) -> Tensor:
        assert not idxs.any()
        return torch.from_numpy(suppress_boxes(boxes.numpy(), scores.numpy(), iou_threshold))

    for name in ("torchvision", "torchvision.ops", "torchvision.ops.boxes"):
        sys.modules[name] = ModuleType(name)
    sys.modules["torchvision.ops.boxes"].batched_nms = batched_nms  # type: ignore[attr-defined]


def default_in_child(options: argparse.Namespace) -> dict[str, float]:
    """measure_default in a process that has seen neither PyTorch's arenas nor the other model."""
    command = [sys.executable, "-m", "benchmarks.everything", "--default-only"]
    command += ["--threads", str(options.threads), "--runs", "3"]
    command += ["--default-points-per-side", str(options.default_points_per_side)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    answer: dict[str, float] = json.loads(done.stdout)
    return answer


def measure_default(options: argparse.Namespace) -> dict[str, float]:
    """The default model on the first photograph, in this process: masks, median seconds and peak resident memory."""
    predictor = segloop.load(threads=options.threads)
    config = AutomaticConfig(points_per_side=options.default_points_per_side)
    photo = photograph(EXAMPLES / "coffee.jpg")
    runs = [
        measure(lambda: generate(predictor, photo, config).masks)[1] for _ in range(options.runs)
    ]
    unit = 1 if sys.platform == "darwin" else 1024
    return {
        "num_masks": runs[0].num_masks,
        "seconds": statistics.median(run.seconds for run in runs),
        "peak_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit,
    }


def photograph(path: Path) -> Image.Image:
    """A photograph with a long side of 1024 pixels."""
    with Image.open(path) as opened:
        photo = opened.convert("RGB")
    scale = LONG_SIDE_PX / max(photo.size)
    return photo.resize((round(photo.width * scale), round(photo.height * scale)))


def measure(run: Callable[[], Any]) -> tuple[Any, Measure]:
    """What a run made, and what it took."""
    with MemoryWatch() as memory:
        start = time.perf_counter()
        made = run()
        seconds = time.perf_counter() - start
    return made, Measure(len(made), seconds, memory.rise_bytes)


def seconds_of(run: Callable[[], object]) -> float:
    """Seconds of one call."""
    start = time.perf_counter()
    run()
    return time.perf_counter() - start


def resident_bytes() -> int:
    """Resident memory now; 0 where the system does not say."""
    with suppress(OSError):
        pages = int(Path("/proc/self/statm").read_text().split()[1])
        return pages * resource.getpagesize()
    return 0


if __name__ == "__main__":
    main()
