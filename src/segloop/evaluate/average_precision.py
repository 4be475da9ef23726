"""Average precision of masks with classes: COCO's rules, and LVIS's for images searched for some classes only (paper §7.4).

pycocotools pairs the masks of an image with its true ones; the precision over all images is taken from that here, without
the small number COCO adds to every denominator, so that perfect masks score 1 and not a little less.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar, get_args

import numpy as np
import numpy.typing as npt
from pycocotools import mask as coco_mask
from pycocotools.cocoeval import COCOeval

from segloop.data.sample import Annotation, Frequency, Labelling
from segloop.errors import InputError
from segloop.evaluate.metrics import Estimate
from segloop.geometry.rle import Rle

AREAS = ("all", "small", "medium", "large")
IOU_THRESHOLDS = tuple(percent / 100 for percent in range(50, 100, 5))
COCO_MAX_DETECTIONS, LVIS_MAX_DETECTIONS = 100, 300
NO_CATEGORY = "object"

_AT_50, _AT_75 = IOU_THRESHOLDS.index(0.5), IOU_THRESHOLDS.index(0.75)
_RECALLS = np.linspace(0, 1, 101)
_TRUE, _FALSE, _IGNORED = "t", "f", "i"

FloatTable = npt.NDArray[np.float64]
IntTable = npt.NDArray[np.int64]


class Scored(Protocol):
    """What is ranked: a box or a mask that a model gives."""

    @property
    def category(self) -> str | None:
        """Its class."""
        ...

    @property
    def score(self) -> float:
        """The model's confidence."""
        ...


AnyScored = TypeVar("AnyScored", bound=Scored)


@dataclass(frozen=True)
class ScoredMask:
    """A mask that a model gives, of a category; masks are ranked by their scores."""

    category: str | None
    score: float
    rle: Rle


@dataclass(frozen=True)
class MaskOutcome:
    """What became of a mask. outcomes: for each of AREAS a letter for every IoU threshold, t true, f false, i ignored."""

    category: str
    score: float
    outcomes: tuple[str, ...]


@dataclass(frozen=True)
class TruthCount:
    """True masks of a category in an image, for each of AREAS."""

    category: str
    frequency: Frequency | None
    counts: tuple[int, ...]


@dataclass(frozen=True)
class ImageOutcomes:
    """What became of the masks of one image, those of a category by falling score."""

    masks: tuple[MaskOutcome, ...]
    truths: tuple[TruthCount, ...]


@dataclass(frozen=True)
class CategoryPrecision:
    """Average precision of one category over all IoU thresholds."""

    category: str
    frequency: Frequency | None
    num_truths: int
    ap: float


@dataclass(frozen=True)
class FrequencyPrecision:
    """Average precision of the categories that are as frequent (LVIS's APf, APc and APr)."""

    frequency: Frequency
    num_categories: int
    ap: float


@dataclass(frozen=True)
class PrecisionCurve:
    """Precision at recalls of 0, .01 ... 1, mean over the categories. iou: the threshold, None for the mean over all."""

    iou: float | None
    precision: tuple[float, ...]


@dataclass(frozen=True)
class PrecisionSummary:
    """Average precision over IoU .50 to .95, at .50 and .75, and by area; NaN where there is no true mask.

    Categories without a true mask do not count. frequencies: none where the dataset knows of none. curves: at .50, at .75,
    and the mean of all; none where there is no true mask.
    """

    ap: float
    ap50: float
    ap75: float
    small: float
    medium: float
    large: float
    num_truths: int
    num_masks: int
    categories: tuple[CategoryPrecision, ...]
    frequencies: tuple[FrequencyPrecision, ...]
    curves: tuple[PrecisionCurve, ...] = ()


def countable(
    scored: Sequence[AnyScored],
    annotations: Sequence[Annotation],
    labelling: Labelling | None = None,
    *,
    is_limited: bool = True,
) -> list[AnyScored]:
    """Those that count in an image, by falling score.

    Without a labelling COCO's rule: the best 100 of each category. With one LVIS's: the best 300 of the image, and of them
    those of a category that is annotated or was looked for. is_limited: else all of them, not the best 100 or 300. Raises
    InputError for a score that is no number.
    """
    for one in scored:
        if not math.isfinite(one.score):
            raise InputError(f"{one.category or NO_CATEGORY} is given with the score {one.score}")
    ranked = sorted(scored, key=lambda one: -one.score)
    if labelling is not None:
        known = labelling.absent | {one.category or NO_CATEGORY for one in annotations}
        best = ranked[:LVIS_MAX_DETECTIONS] if is_limited else ranked
        return [one for one in best if (one.category or NO_CATEGORY) in known]
    places = Counter[str]()
    kept = []
    for one in ranked:
        places[one.category or NO_CATEGORY] += 1
        if places[one.category or NO_CATEGORY] <= COCO_MAX_DETECTIONS or not is_limited:
            kept.append(one)
    return kept


def match_masks(
    annotations: Sequence[Annotation],
    masks: Sequence[ScoredMask],
    labelling: Labelling | None = None,
    *,
    is_limited: bool = True,
) -> ImageOutcomes:
    """Pair the masks of one image that are countable with its true ones, category by category.

    With COCO's rules those that lie in a crowd are ignored; with a labelling, LVIS's, those that find nothing where the
    category is annotated in part. Raises InputError for a score that is no number or a mask of another size.
    """
    sizes = {annotation.rle.size_hw for annotation in annotations} | {m.rle.size_hw for m in masks}
    if len(sizes) > 1:
        raise InputError(f"masks of one image differ in size (height, width): {sorted(sizes)}")
    truths: dict[str, list[Annotation]] = defaultdict(list)
    for annotation in annotations:
        truths[annotation.category or NO_CATEGORY].append(annotation)
    given: dict[str, list[ScoredMask]] = defaultdict(list)
    for mask in countable(masks, annotations, labelling, is_limited=is_limited):
        given[mask.category or NO_CATEGORY].append(mask)
    outcomes: list[MaskOutcome] = []
    counts: list[TruthCount] = []
    for category in sorted({*truths, *given}):
        is_incomplete = labelling is not None and category in labelling.incomplete
        best = given[category]
        letters, count = _match(truths[category], best, is_incomplete=is_incomplete)
        outcomes += [
            MaskOutcome(category, mask.score, outcome)
            for mask, outcome in zip(best, letters, strict=True)
        ]
        if truths[category]:
            counts.append(TruthCount(category, truths[category][0].frequency, count))
    return ImageOutcomes(tuple(outcomes), tuple(counts))


def summarise_precision(images: Sequence[ImageOutcomes]) -> PrecisionSummary:
    """Average precision over the images; of masks of one score those of an earlier image come first."""
    ranked = _rank(images)
    # Categories, areas, thresholds, recalls.
    table = np.full((len(ranked), len(AREAS), len(IOU_THRESHOLDS), len(_RECALLS)), np.nan)
    for row, one in enumerate(ranked):
        table[row] = [one.curves(area) for area in range(len(AREAS))]
    categories = tuple(
        CategoryPrecision(one.name, one.frequency, int(one.num_truths[:, 0].sum()), _mean(curves))
        for one, curves in zip(ranked, table[:, 0], strict=True)
    )
    by_area = dict(zip(AREAS, (_mean(table[:, area]) for area in range(len(AREAS))), strict=True))
    return PrecisionSummary(
        ap=by_area["all"],
        ap50=_mean(table[:, 0, _AT_50]),
        ap75=_mean(table[:, 0, _AT_75]),
        small=by_area["small"],
        medium=by_area["medium"],
        large=by_area["large"],
        num_truths=sum(one.num_truths for one in categories),
        num_masks=sum(len(one.image_of) for one in ranked),
        categories=categories,
        frequencies=_by_frequency(categories),
        curves=_curves(table[:, 0]),
    )


def bootstrap_precision(
    images: Sequence[ImageOutcomes], seed: int, num_draws: int = 200
) -> Estimate:
    """Average precision and its 95% interval from drawing the images anew, each with all its masks."""
    (ap, *_) = draw_precision(images, np.ones((1, len(images)), dtype=np.int64), 1)[0]
    if math.isnan(ap):
        return Estimate(math.nan, math.nan, math.nan)
    rng = np.random.default_rng(seed)
    draws = rng.multinomial(len(images), np.full(len(images), 1 / len(images)), size=num_draws)
    low, high = np.nanquantile(draw_precision(images, draws, 1)[:, 0], (0.025, 0.975))
    return Estimate(float(ap), float(low), float(high))


def draw_precision(
    images: Sequence[ImageOutcomes], draws: IntTable, num_areas: int = len(AREAS)
) -> FloatTable:
    """AP, AP50, AP75, AP by size (D, 6) of N images, each so often in each of D draws (D, N); NaN without a true mask."""
    ranked = _rank(images)
    values = np.full((len(draws), 2 + num_areas), np.nan)
    for row, draw in enumerate(draws if ranked else ()):
        areas = [np.array([one.curves(n, draw) for one in ranked]) for n in range(num_areas)]
        tables = [areas[0], areas[0][:, _AT_50], areas[0][:, _AT_75], *areas[1:]]
        values[row] = list(map(_mean, tables))
    return values


def precision_curves(is_true: IntTable, is_false: IntTable, num_truths: int) -> FloatTable:
    """Precision at 101 recalls from 0 to 1, (thresholds, 101), of N masks in the order of their rank.

    is_true, is_false: (thresholds, N), how often each mask counts as such. The precision at a recall is the best at that
    recall or a higher one, and 0 where it is never reached.
    """
    true, false = is_true.cumsum(axis=1), is_false.cumsum(axis=1)
    precision = true / np.maximum(true + false, 1)
    precision = np.maximum.accumulate(precision[:, ::-1], axis=1)[:, ::-1]
    curves = np.zeros((len(is_true), len(_RECALLS)))
    for curve, found, values in zip(curves, true / num_truths, precision, strict=True):
        places = np.searchsorted(found, _RECALLS, side="left")
        reached = places < len(values)
        curve[reached] = values[places[reached]]
    return curves


@dataclass(frozen=True, eq=False)
class _Ranked:
    """The N masks of a category by falling score. letters: (N, areas, thresholds). num_truths: (images, areas)."""

    name: str
    frequency: Frequency | None
    letters: npt.NDArray[np.str_]
    image_of: IntTable
    num_truths: IntTable

    def curves(self, area: int, draw: IntTable | None = None) -> FloatTable:
        """See precision_curves; NaN where there is no true mask. draw: how often each image counts, once by default."""
        num_truths = self.num_truths[:, area]
        weights = np.ones(len(self.image_of), dtype=np.int64)
        if draw is not None:
            num_truths, weights = num_truths * draw, draw[self.image_of]
        if not num_truths.any():
            return np.full((len(IOU_THRESHOLDS), len(_RECALLS)), np.nan)
        letters = self.letters[:, area].T
        is_true, is_false = (letters == _TRUE) * weights, (letters == _FALSE) * weights
        return precision_curves(is_true, is_false, int(num_truths.sum()))


def _rank(images: Sequence[ImageOutcomes]) -> list[_Ranked]:
    """The categories with a true mask, by name."""
    frequency_of = {one.category: one.frequency for image in images for one in image.truths}
    num_truths = {
        name: np.zeros((len(images), len(AREAS)), dtype=np.int64) for name in frequency_of
    }
    masks: dict[str, list[tuple[int, MaskOutcome]]] = {name: [] for name in frequency_of}
    for row, image in enumerate(images):
        for truth in image.truths:
            num_truths[truth.category][row] += truth.counts
        for mask in image.masks:
            if mask.category in masks:
                masks[mask.category].append((row, mask))
    ranked = []
    for name in sorted(frequency_of):
        best = sorted(masks[name], key=lambda pair: -pair[1].score)
        letters = [[list(letters) for letters in mask.outcomes] for _, mask in best]
        ranked.append(
            _Ranked(
                name,
                frequency_of[name],
                np.array(letters, dtype="<U1").reshape(-1, len(AREAS), len(IOU_THRESHOLDS)),
                np.array([row for row, _ in best], dtype=np.int64),
                num_truths[name],
            )
        )
    return ranked


def _curves(table: FloatTable) -> tuple[PrecisionCurve, ...]:
    """The curves of (categories, thresholds, recalls)."""
    known = table[~np.isnan(table).any(axis=(1, 2))]
    if not len(known):
        return ()
    mean = known.mean(axis=0)
    curves = ((0.5, mean[_AT_50]), (0.75, mean[_AT_75]), (None, mean.mean(axis=0)))
    return tuple(PrecisionCurve(iou, tuple(values.tolist())) for iou, values in curves)


def _by_frequency(categories: Iterable[CategoryPrecision]) -> tuple[FrequencyPrecision, ...]:
    groups: dict[Frequency, list[float]] = {name: [] for name in get_args(Frequency)}
    for one in categories:
        # A category may have true masks of no pixel count that any area takes, and then no precision.
        if one.frequency is not None and not math.isnan(one.ap):
            groups[one.frequency].append(one.ap)
    return tuple(
        FrequencyPrecision(name, len(values), float(np.mean(values)) if values else math.nan)
        for name, values in groups.items()
        if any(groups.values())
    )


def _match(
    truths: Sequence[Annotation], masks: Sequence[ScoredMask], *, is_incomplete: bool
) -> tuple[list[tuple[str, ...]], tuple[int, ...]]:
    """The outcomes of masks of one category by falling score, and the number of true masks for each of AREAS."""
    evaluation: Any = COCOeval(iouType="segm")
    evaluation.params.maxDets = [max(1, len(masks))]
    key = (0, 0)
    # Numbers from 1: to the library 0 is no match.
    evaluation._gts[key] = [
        {
            "id": number,
            "segmentation": _record(one.rle),
            "area": one.area,
            "iscrowd": int(one.is_crowd),
            "ignore": int(one.is_crowd),
        }
        for number, one in enumerate(truths, start=1)
    ]
    records = [_record(mask.rle) for mask in masks]
    areas = [float(coco_mask.area(record)) for record in records]
    evaluation._dts[key] = [
        {"id": number, "segmentation": record, "area": area, "score": mask.score}
        for number, (mask, record, area) in enumerate(zip(masks, records, areas, strict=True), 1)
    ]
    evaluation.ious = {key: evaluation.computeIoU(*key)}
    by_area = [
        evaluation.evaluateImg(*key, area, max(1, len(masks))) for area in evaluation.params.areaRng
    ]
    if by_area[0] is None:
        return [], (0,) * len(AREAS)
    letters = [_letters(one, is_incomplete=is_incomplete) for one in by_area]
    counts = tuple(int(np.count_nonzero(one["gtIgnore"] == 0)) for one in by_area)
    return list(zip(*letters, strict=True)), counts


def _letters(found: dict[str, Any], *, is_incomplete: bool) -> list[str]:
    """One letter for each threshold, mask by mask."""
    is_matched, is_ignored = found["dtMatches"] > 0, np.asarray(found["dtIgnore"], dtype=np.bool_)
    if is_incomplete:
        is_ignored = is_ignored | ~is_matched
    table = np.where(is_ignored, _IGNORED, np.where(is_matched, _TRUE, _FALSE))
    return ["".join(column) for column in table.T]


def _record(rle: Rle) -> Any:
    # The stubs know compressed runs as text only where the library wants bytes.
    return {"size": list(rle.size_hw), "counts": rle.counts.encode()}


def _mean(values: FloatTable) -> float:
    known = values[~np.isnan(values)]
    return float(known.mean()) if known.size else math.nan
