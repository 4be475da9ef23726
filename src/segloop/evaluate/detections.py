"""Boxes to prompt with, and where they come from: the truth, a file of detections, or a detector run here (paper §7.4).

A source is a value that can be sent to another process; started there, it opens what it needs and gives an image's boxes.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from segloop.data.coco_instances import CocoInstances
from segloop.data.sample import Sample
from segloop.data.sets.outlines import read_json
from segloop.errors import InputError
from segloop.geometry.frames import FloatArray
from segloop.prompts.simulate import open_box, truth_box

BoxXyxy = tuple[float, float, float, float]


@dataclass(frozen=True)
class Detection:
    """A box in image pixels with the class and the score of what is in it.

    truth: the place among the image's annotations of the one whose box it is, None where a detector found it.
    """

    category: str | None
    score: float
    box_xyxy: BoxXyxy
    truth: int | None = None


@dataclass(frozen=True)
class ModelBoxes:
    """The boxes of an object detector that transformers can load, by its name there or the folder it lies in.

    categories: of the dataset; what the detector gives of other classes is left out, None keeps all. least_score: boxes of
    no higher score are left out. device: cpu, cuda, ...
    """

    detector: str
    categories: tuple[str, ...] | None = None
    least_score: float = 0.05
    device: str = "cpu"

    def start(self) -> Detect:
        """Load the detector; raises InputError where it cannot be had or knows none of the categories."""
        model, processor = _load_detector(self.detector, self.device)
        names = {int(number): str(name) for number, name in model.config.id2label.items()}
        wanted = set(names.values() if self.categories is None else self.categories)
        if wanted.isdisjoint(names.values()):
            raise InputError(
                f"detector {self.detector} knows none of the dataset's categories; it has {', '.join(names.values())}"
            )

        def detect(sample: Sample) -> tuple[Detection, ...]:
            found = _run_detector(model, processor, sample, self.least_score)
            named = [(names[label], score, box) for label, score, box in found]
            return tuple(Detection(*one) for one in named if one[0] in wanted)

        return detect


Detect = Callable[[Sample], tuple[Detection, ...]]


class Boxes(Protocol):
    """A source of boxes."""

    def start(self) -> Detect:
        """Open what is needed; the answer gives the boxes of an image."""
        ...


@dataclass(frozen=True)
class TruthBoxes:
    """The boxes of the true masks themselves, all with score 1."""

    def start(self) -> Detect:
        """Nothing to open."""
        return detect_truths


@dataclass(frozen=True)
class FileBoxes:
    """The boxes of a file of COCO results: a list of image_id, category_id, bbox (x, y, width, height) and score."""

    path: Path
    dataset: CocoInstances

    def start(self) -> Detect:
        """Read the file; raises InputError as read_detections does."""
        found = read_detections(self.path, self.dataset)
        return lambda sample: found.get(sample.id, ())


def detect_truths(sample: Sample) -> tuple[Detection, ...]:
    """The tight box of every true mask, crowds and masks without a pixel left out."""
    found = []
    for place, annotation in enumerate(sample.annotations):
        mask = annotation.mask()
        if not annotation.is_crowd and mask.any():
            x0, y0, x1, y1 = map(float, open_box(truth_box(mask)))
            found.append(Detection(annotation.category, 1.0, (x0, y0, x1, y1), place))
    return tuple(found)


def read_detections(
    path: Path, dataset: CocoInstances
) -> Mapping[int | None, tuple[Detection, ...]]:
    """The detections of a file of COCO results by the numbers of their images.

    Boxes are cut to their images. Raises InputError for a file that cannot be read, an image or a category that the dataset
    lacks, a score that is no number, and a box that is empty or outside its image.
    """
    content = read_json(path)
    if not isinstance(content, list):
        raise InputError(f"{path} is not COCO results: a list of detections is wanted")
    names = {category.id: category.name for category in dataset.categories}
    sizes_hw = dataset.sizes_hw
    found: dict[int | None, list[Detection]] = {}
    for number, item in enumerate(content, start=1):
        try:
            image = int(item["image_id"])
            detection = _detection(item, names, sizes_hw)
        except (KeyError, TypeError, ValueError) as error:
            reason = f"no {error.args[0]!r}" if isinstance(error, KeyError) else str(error)
            raise InputError(f"{path}, detection {number}: {reason}") from error
        found.setdefault(image, []).append(detection)
    return {image: tuple(detections) for image, detections in found.items()}


def clip_box(box_xyxy: BoxXyxy, image_hw: tuple[int, int]) -> BoxXyxy:
    """The part of a box in the image; InputError where there is none."""
    height, width = image_hw
    x0, y0, x1, y1 = box_xyxy
    clipped = max(x0, 0.0), max(y0, 0.0), min(x1, float(width)), min(y1, float(height))
    if not (clipped[0] < clipped[2] and clipped[1] < clipped[3]):
        raise InputError(
            f"box {x0:g},{y0:g},{x1:g},{y1:g} is empty or outside its image of {width} x {height} pixels"
        )
    return clipped


def jitter_boxes(
    boxes_xyxy: FloatArray, noise: float, draws: FloatArray, image_hw: tuple[int, int]
) -> FloatArray:
    """Boxes (N, 4) with every side moved by up to a share of the box's width or height, within the image.

    draws: (N, 4) from -1 to 1, what share of the noise each side is moved by. A box keeps one pixel of extent.
    """
    if not noise:
        return boxes_xyxy
    height, width = image_hw
    extent = np.tile(boxes_xyxy[:, 2:] - boxes_xyxy[:, :2], (1, 2))
    moved = boxes_xyxy + noise * draws * extent
    limits = np.array([width, height, width, height], dtype=np.float32)
    moved = np.clip(moved, 0, limits)
    low = np.minimum(np.minimum(moved[:, :2], moved[:, 2:]), limits[:2] - 1)
    high = np.maximum(np.maximum(moved[:, :2], moved[:, 2:]), low + 1)
    return np.concatenate([low, high], axis=1).astype(np.float32)


def _load_detector(name: str, device: str) -> tuple[Any, Any]:
    """Model and image processor; the processor that needs no torchvision."""
    try:
        import transformers

        library: Any = transformers
        processor = library.AutoImageProcessor.from_pretrained(name, backend="pil")
        model = library.AutoModelForObjectDetection.from_pretrained(name)
        return model.to(device).eval(), processor
    except ImportError as error:
        missing = error.name or str(error).strip().partition("\n")[0]
        raise InputError(
            f'detector {name} cannot be loaded ({missing}); it needs: pip install "segloop[torch,text]"'
        ) from error
    except (OSError, RuntimeError, ValueError) as error:
        reason = str(error).strip().partition("\n")[0]
        raise InputError(f"detector {name} cannot be loaded: {reason}") from error


def _run_detector(
    model: Any, processor: Any, sample: Sample, least_score: float
) -> list[tuple[int, float, BoxXyxy]]:
    """Label, score and box of what is found, cut to the image; a box wholly outside is none."""
    import torch

    image_hw = (int(sample.image.shape[0]), int(sample.image.shape[1]))
    with torch.inference_mode():
        inputs = processor(images=sample.image, return_tensors="pt").to(model.device)
        (found,) = processor.post_process_object_detection(
            model(**inputs), threshold=least_score, target_sizes=[image_hw]
        )
    boxes = np.asarray(found["boxes"].float().cpu(), dtype=np.float32).reshape(-1, 4)
    scores = np.asarray(found["scores"].float().cpu(), dtype=np.float32)
    if not (np.isfinite(boxes).all() and np.isfinite(scores).all()):
        raise InputError(f"{sample.name}: the detector gives numbers that are not finite")
    detections = []
    for label, score, box in zip(found["labels"].tolist(), scores.tolist(), boxes, strict=True):
        with suppress(InputError):
            x0, y0, x1, y1 = map(float, box)
            detections.append((int(label), score, clip_box((x0, y0, x1, y1), image_hw)))
    return detections


def _detection(
    item: Any, names: Mapping[int, str], sizes_hw: Mapping[int, tuple[int, int]]
) -> Detection:
    image, category = int(item["image_id"]), int(item["category_id"])
    if image not in sizes_hw:
        raise InputError(f"the annotations have no image {image}")
    if category not in names:
        raise InputError(f"the annotations have no category {category}")
    score = float(item["score"])
    x, y, width, height = map(float, item["bbox"])
    if not math.isfinite(score):
        raise InputError(f"its score is {score}")
    if not all(map(math.isfinite, (x, y, width, height))):
        raise InputError(f"its box is {item['bbox']}")
    box = clip_box((x, y, x + width, y + height), sizes_hw[image])
    return Detection(names[category], score, box)
