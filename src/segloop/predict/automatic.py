"""Everything in an image: a grid of points, three masks each, and a sequence of filters (paper appendix B).

With the default settings this is the released generator. Masks stream through: a batch of points is decoded, filtered and
run-length encoded before the next one, so memory does not grow with the grid.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial

import numpy as np

from segloop.backends.base import BackendSpec, floors_for
from segloop.data.image import MAX_PIXELS, ImageSource, load_image
from segloop.errors import InputError
from segloop.geometry.encoded import EncodedMasks
from segloop.geometry.frames import BoolArray, FloatArray
from segloop.geometry.grids import Crop, CropBox, crop_layers, point_grid
from segloop.geometry.masks import IntArray
from segloop.predict import filters
from segloop.predict.crop_view import CropView
from segloop.predict.predictor import THREE_OUTPUTS, Predictor

RELEASED_THRESHOLDS = (0.88, 0.95)
"""Of predicted IoU and stability, in the released generator."""

Keep = Callable[[EncodedMasks], "BoolArray | IntArray"]


@dataclass(frozen=True)
class AutomaticConfig:
    """Where to ask and what to keep; the defaults are those of the released generator, thresholds as suits the model.

    points_per_side: points of the grid along either side; crop layer i has crop_points_downscale ** i times fewer.
    points_xy: these points instead, image pixels. predicted_iou_threshold: a mask predicted no better goes; 0 or less keeps
    all. stability_threshold, stability_offset: a mask less stable when cut at -offset and +offset goes. For thresholds that
    are None see suited_to. box_nms_threshold, crop_nms_threshold: of boxes that overlap more one goes, by predicted IoU
    within a crop, by size of crop across crops.
    crop_layers: layer i adds 2^i x 2^i crops, each encoded on its own; neighbours share crop_overlap * 2 / 2^i of the short
    side. min_region_px: smaller holes are filled, smaller islands removed; of a mask of nothing else the largest island
    stays, or the mask goes with drops_small. max_coverage: a mask that covers this share of the image goes, if below 1.
    mask_nms_threshold: at last, of masks that overlap more the worse goes. region_xyxy: a part of the image, pixels, ends
    exclusive, that stands for the whole. batch_size: points decoded together; changes time and memory, not masks.
    Raises InputError for values that make no sense.
    """

    points_per_side: int = 32
    points_xy: tuple[tuple[float, float], ...] | None = None
    predicted_iou_threshold: float | None = None
    stability_threshold: float | None = None
    stability_offset: float = 1.0
    box_nms_threshold: float = 0.7
    crop_layers: int = 0
    crop_nms_threshold: float = 0.7
    crop_overlap: float = 512 / 1500
    crop_points_downscale: int = 1
    min_region_px: int = 0
    max_coverage: float = 1.0
    drops_small: bool = False
    mask_nms_threshold: float | None = None
    region_xyxy: tuple[float, float, float, float] | None = None
    batch_size: int | None = None

    def __post_init__(self) -> None:
        for name in ("points_per_side", "crop_points_downscale", "batch_size"):
            self._check(name, 1, np.inf)
        for name in ("crop_layers", "min_region_px", "stability_offset"):
            self._check(name, 0, np.inf)
        for name in ("box_nms_threshold", "crop_nms_threshold", "mask_nms_threshold"):
            self._check(name, 0, 1)
        for name in ("stability_threshold", "max_coverage", "crop_overlap"):
            self._check(name, 0, 1)
        if self.points_per_side < self.crop_points_downscale**self.crop_layers:
            raise InputError(
                f"{self.points_per_side} points per side leave none in crop layer "
                f"{self.crop_layers}: ask for more points or fewer layers"
            )

    def suited_to(self, spec: BackendSpec) -> AutomaticConfig:
        """With the thresholds that are None taken from the model, or from the released generator if it brings none."""
        predicted_iou, stability = spec.automatic_thresholds or RELEASED_THRESHOLDS
        if self.predicted_iou_threshold is not None:
            predicted_iou = self.predicted_iou_threshold
        if self.stability_threshold is not None:
            stability = self.stability_threshold
        return replace(self, predicted_iou_threshold=predicted_iou, stability_threshold=stability)

    def _check(self, name: str, low: float, high: float) -> None:
        value = getattr(self, name)
        if value is not None and not low <= value <= high:
            limits = f"at least {low}" if high == np.inf else f"from {low} to {high}"
            raise InputError(f"{name} is {limits}, got {value}")


PRESETS: dict[str, AutomaticConfig] = {
    "default": AutomaticConfig(),
    "sa1b": AutomaticConfig(
        crop_layers=2,
        crop_points_downscale=2,
        min_region_px=100,
        max_coverage=0.95,
        drops_small=True,
    ),
}


def suited_config(spec: BackendSpec, preset: str = "default") -> AutomaticConfig:
    """A preset with the thresholds that suit the model; InputError for an unknown one."""
    if preset not in PRESETS:
        raise InputError(f"no preset {preset!r}; there are {', '.join(PRESETS)}")
    return PRESETS[preset].suited_to(spec)


@dataclass(frozen=True)
class FilterCount:
    """Masks before and after one filter, over the whole image."""

    name: str
    before: int
    after: int


@dataclass(frozen=True, eq=False)
class Generation:
    """All masks of an image, by falling predicted IoU, and what each filter did to get there, in order."""

    masks: EncodedMasks
    counts: tuple[FilterCount, ...]


def generate(
    predictor: Predictor,
    image: ImageSource,
    config: AutomaticConfig = AutomaticConfig(),
    *,
    outputs: tuple[int, ...] = THREE_OUTPUTS,
    max_pixels: int = MAX_PIXELS,
    progress: Callable[[int, int], None] | None = None,
) -> Generation:
    """All masks of a path, encoded bytes, a PIL image or an (H, W, 3) uint8 RGB array.

    config: what it leaves open is as suits the model. outputs: of the decoder, the three or (0,) for the single-mask
    output. progress(done, total) counts points. Raises ImageError as Predictor.encode does, InputError for points or a
    region that lie outside the image, WeightsError for a model that answers with what is no number.
    """
    config = config.suited_to(predictor.spec)
    pixels = load_image(image, max_pixels)
    image_hw = (int(pixels.shape[0]), int(pixels.shape[1]))
    crops = crop_layers(_whole(config, image_hw), config.crop_layers, config.crop_overlap)
    points = [crop_points(crop, config, image_hw) for crop in crops]
    total, done = sum(map(len, points)), 0
    tally = _Tally()
    masks = EncodedMasks.none(image_hw)
    floors = _floors(config, outputs)
    for crop, points_xy in zip(crops, points, strict=True):
        if not len(points_xy):
            continue
        view = CropView.of(
            predictor,
            pixels,
            crop,
            floors,
            stability_offset=config.stability_offset,
            batch_size=config.batch_size,
        )
        batches = [EncodedMasks.none(image_hw)]
        for num_points, drawn in view.draw(points_xy):
            tally.note("predicted IoU", len(outputs) * num_points, len(drawn))
            drawn = replace(drawn, prompt_index=drawn.prompt_index + done)
            batches.append(tally.apply(mask_filters(config), drawn))
            done += num_points
            if progress is not None:
                progress(done, total)
        crop_masks = EncodedMasks.concatenate(batches)
        crop_masks = tally.apply(crop_filters(config), crop_masks)
        if predictor.sharpens:
            crop_masks = tally.apply(sharpened_filters(config), view.sharpened(crop_masks))
        masks = EncodedMasks.concatenate([masks, crop_masks])
    masks = tally.apply(image_filters(config, len(crops)), masks)
    masks = _clean(masks, config, tally)
    masks = tally.apply(final_filters(config), masks)
    masks = masks.select(np.argsort(-masks.predicted_iou, kind="stable"))
    return Generation(masks, tally.counts)


def mask_filters(config: AutomaticConfig) -> list[tuple[str, Keep]]:
    """The filters that look at one mask at a time, by name, after the decoder drew only those predicted well."""
    assert config.stability_threshold is not None
    chosen: list[tuple[str, Keep]] = [
        ("stability", partial(filters.stable, threshold=config.stability_threshold))
    ]
    if config.max_coverage < 1:
        chosen.append(("coverage", partial(filters.not_covering, share=config.max_coverage)))
    return [*chosen, ("crop edge", filters.whole)]


def crop_filters(config: AutomaticConfig) -> list[tuple[str, Keep]]:
    """The filters among the masks of one crop."""
    return [("duplicate boxes", _distinct_boxes(config))]


def sharpened_filters(config: AutomaticConfig) -> list[tuple[str, Keep]]:
    """The filters among the sharpened masks of one crop: those that end at the same edges may have become alike."""
    return [("duplicates once sharpened", _distinct_boxes(config))]


def _distinct_boxes(config: AutomaticConfig) -> Keep:
    return partial(filters.distinct_boxes, threshold=config.box_nms_threshold)


def image_filters(config: AutomaticConfig, num_crops: int) -> list[tuple[str, Keep]]:
    """The filters among the masks of all crops."""
    if num_crops == 1:
        return []
    keep = partial(filters.distinct_across_crops, threshold=config.crop_nms_threshold)
    return [("duplicates across crops", keep)]


def final_filters(config: AutomaticConfig) -> list[tuple[str, Keep]]:
    """The filters that the released generator does not have."""
    if config.mask_nms_threshold is None:
        return []
    keep = partial(filters.distinct_masks, threshold=config.mask_nms_threshold)
    return [("duplicate masks", keep)]


def crop_points(crop: Crop, config: AutomaticConfig, image_hw: tuple[int, int]) -> FloatArray:
    """The points (N, 2) to ask for in a crop, in the image frame."""
    if config.points_xy is not None:
        points = np.asarray(config.points_xy, dtype=np.float32).reshape(-1, 2)
        height, width = image_hw
        outside = ~Crop((0, 0, width, height), 0).holds(points)
        if outside.any():
            x, y = points[outside][0]
            raise InputError(
                f"point {x:g},{y:g} lies outside the image of {width} x {height} pixels"
            )
        return points[crop.holds(points)]
    height, width = crop.size_hw
    grid = point_grid(config.points_per_side // config.crop_points_downscale**crop.layer)
    return np.asarray(grid * _row(width, height) + _row(*crop.box_xyxy[:2]))


def _floors(config: AutomaticConfig, outputs: tuple[int, ...]) -> FloatArray:
    """Predicted IoU (4,) above which the wanted outputs are drawn."""
    threshold = config.predicted_iou_threshold
    assert threshold is not None
    return floors_for(outputs, threshold if threshold > 0 else -np.inf)


@dataclass
class _Tally:
    """Counts of masks, filter by filter, summed over batches and crops."""

    found: dict[str, tuple[int, int]] = field(default_factory=dict)

    @property
    def counts(self) -> tuple[FilterCount, ...]:
        return tuple(FilterCount(name, *both) for name, both in self.found.items())

    def note(self, name: str, before: int, after: int) -> None:
        earlier = self.found.get(name, (0, 0))
        self.found[name] = (earlier[0] + before, earlier[1] + after)

    def apply(self, chosen: list[tuple[str, Keep]], masks: EncodedMasks) -> EncodedMasks:
        for name, keep in chosen:
            kept = masks.select(keep(masks))
            self.note(name, len(masks), len(kept))
            masks = kept
        return masks


def _clean(masks: EncodedMasks, config: AutomaticConfig, tally: _Tally) -> EncodedMasks:
    """Without small holes and islands, and without the duplicates that this makes."""
    if not config.min_region_px:
        return masks
    cleaned, untouched = filters.clean_regions(
        masks, config.min_region_px, keeps_largest=not config.drops_small
    )
    left = cleaned.select(np.flatnonzero(cleaned.areas > 0))
    tally.note("small regions", len(masks), len(left))
    untouched = untouched[cleaned.areas > 0]
    threshold = max(config.box_nms_threshold, config.crop_nms_threshold)
    keep = partial(filters.preferring, preferred=untouched, threshold=threshold)
    return tally.apply([("duplicates of cleaned masks", keep)], left)


def _whole(config: AutomaticConfig, image_hw: tuple[int, int]) -> CropBox:
    """The box of the image, or of the region that stands for it, in whole pixels."""
    height, width = image_hw
    if config.region_xyxy is None:
        return 0, 0, width, height
    x0, y0, x1, y1 = config.region_xyxy
    region = (
        max(0, math.floor(x0)),
        max(0, math.floor(y0)),
        min(width, math.ceil(x1)),
        min(height, math.ceil(y1)),
    )
    if region[0] >= region[2] or region[1] >= region[3]:
        raise InputError(
            f"region {x0:g},{y0:g},{x1:g},{y1:g} holds nothing of the image of {width} x {height} pixels"
        )
    return region


def _row(*numbers: float) -> FloatArray:
    return np.array(numbers, dtype=np.float32)
