"""What can be had without a model: the floor a model must stand above, scored on the same masks.

The filled box and GrabCut answer the truth's box; the Felzenszwalb region answers the first click of the protocol.
"""

from __future__ import annotations

import time
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from segloop.data.image import ImageArray
from segloop.data.sample import Sample
from segloop.errors import InputError
from segloop.evaluate.metrics import Estimate, bootstrap_mean
from segloop.evaluate.run import Journal, ModelTask, score_images
from segloop.evaluate.truth import Counts, Progress, SampleSource, choose_images, usable_annotations
from segloop.geometry.frames import BoolArray, FloatArray
from segloop.geometry.masks import mask_iou
from segloop.prompts.simulate import center_click, truth_box

SCORING = 2
"""To be counted up with every change of what an image's scores are: a journal of another number is not gone on with."""
_GRABCUT_ROUNDS = 5
_NO_RECTANGLE = (0, 0, 0, 0)


@dataclass(frozen=True)
class BaselineScores:
    """IoU of each baseline on one mask."""

    image: str
    annotation_id: int
    filled_box_iou: float
    grabcut_iou: float
    felzenszwalb_iou: float


@dataclass(frozen=True)
class BaselinesResult:
    """The scores of every mask of one dataset, as PointsResult has them for a model."""

    name: str
    counts: Counts
    scores: tuple[BaselineScores, ...]
    seed: int
    seconds: float

    def estimate(self, column: str) -> Estimate:
        """Mean and interval of one column of BaselineScores, such as "grabcut_iou"."""
        values = [getattr(score, column) for score in self.scores]
        return bootstrap_mean(values, [score.image for score in self.scores], self.seed)


@dataclass(frozen=True)
class ImageBaselines:
    """The scores of one image's masks."""

    counts: Counts
    scores: tuple[BaselineScores, ...]
    seconds: float


def evaluate_baselines(
    dataset: SampleSource,
    *,
    name: str,
    limit: int | None = None,
    seed: int = 0,
    jobs: int = 1,
    journal: Journal | None = None,
    progress: Progress | None = None,
) -> BaselinesResult:
    """Score the three baselines on the masks that evaluate_points takes for the same limit and seed.

    progress is called with the images done and the images in all. Raises InputError where scikit-image is missing, and
    as score_images does.
    """
    chosen = choose_images(len(dataset), limit, seed)
    images = score_images(
        ModelTask(_no_model, dataset, score_baselines),
        chosen,
        ImageBaselines,
        jobs=jobs,
        journal=journal,
        progress=progress,
    )
    counts = sum((image.counts for image in images), Counts())
    scores = tuple(score for image in images for score in image.scores)
    return BaselinesResult(name, counts, scores, seed, sum(image.seconds for image in images))


def score_baselines(_: None, sample: Sample) -> ImageBaselines:
    """Score the three baselines on every mask of one image."""
    start = time.perf_counter()
    annotations, counts = usable_annotations(sample)
    regions = felzenszwalb_regions(sample.image) if annotations else None
    scores = []
    for annotation in annotations:
        truth = annotation.mask()
        box = truth_box(truth)
        x, y = center_click(truth)
        assert regions is not None
        scores.append(
            BaselineScores(
                sample.name,
                annotation.id,
                float(mask_iou(filled_box(box, truth.shape), truth)),
                float(mask_iou(grabcut(sample.image, box), truth)),
                float(mask_iou(regions == regions[y, x], truth)),
            )
        )
    return ImageBaselines(counts, tuple(scores), time.perf_counter() - start)


def _no_model() -> None:
    return None


def filled_box(box_xyxy: FloatArray, image_hw: tuple[int, ...]) -> BoolArray:
    """The box itself as a mask (H, W); x1 and y1 are the last pixel's."""
    x0, y0, x1, y1 = (int(side) for side in box_xyxy)
    mask = np.zeros(image_hw, dtype=np.bool_)
    mask[y0 : y1 + 1, x0 : x1 + 1] = True
    return mask


def grabcut(image: ImageArray, box_xyxy: FloatArray) -> BoolArray:
    """OpenCV's GrabCut started from the box: outside it is known background, inside it is to be found.

    The background is learnt within one box length on every side, which costs less than the whole image and scores no
    worse. The box filled is the answer where there is no background to learn, or GrabCut gives up or finds nothing.
    """
    inside = filled_box(box_xyxy, image.shape[:2])
    x0, y0, x1, y1 = (int(side) for side in box_xyxy)
    width, height = x1 - x0 + 1, y1 - y0 + 1
    rows = slice(max(0, y0 - height), y1 + 1 + height)
    columns = slice(max(0, x0 - width), x1 + 1 + width)
    labels = np.where(inside[rows, columns], cv2.GC_PR_FGD, cv2.GC_BGD).astype(np.uint8)
    if (labels != cv2.GC_BGD).all():
        return inside
    background, foreground = np.zeros((1, 65)), np.zeros((1, 65))
    nearby = np.ascontiguousarray(image[rows, columns])
    cv2.setRNGSeed(0)
    try:
        cv2.grabCut(
            nearby,
            labels,
            _NO_RECTANGLE,
            background,
            foreground,
            _GRABCUT_ROUNDS,
            cv2.GC_INIT_WITH_MASK,
        )
    except cv2.error:
        # A region of fewer pixels than the colour mixture has parts.
        return inside
    mask = np.zeros_like(inside)
    mask[rows, columns] = (labels == cv2.GC_FGD) | (labels == cv2.GC_PR_FGD)
    return mask if mask.any() else inside


def felzenszwalb_regions(image: ImageArray) -> npt.NDArray[np.int64]:
    """Region numbers (H, W) of Felzenszwalb and Huttenlocher's graph segmentation."""
    try:
        from skimage.segmentation import felzenszwalb
    except ImportError as error:
        raise InputError(
            "the baselines need scikit-image: pip install 'segloop[evaluate]'"
        ) from error
    return np.asarray(felzenszwalb(image, scale=300, sigma=0.8, min_size=50), dtype=np.int64)
