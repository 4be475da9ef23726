"""Automatic masks of a model that sharpens: drawn again along the image's edges, in whole images and in crops."""

from __future__ import annotations

from dataclasses import dataclass, replace

import cv2
import numpy as np
import pytest

from segloop.backends.base import DRAW_ALL, Backend, BackendSpec, drawn_outputs
from segloop.geometry.encoded import EncodedMasks
from segloop.geometry.frames import BoolArray, FloatArray
from segloop.geometry.masks import mask_boxes, mask_iou
from segloop.predict.automatic import AutomaticConfig, generate
from segloop.predict.predictor import Predictor
from segloop.prompts.prompt import PackedPrompts

HEIGHT, WIDTH = 240, 320


def disk(x: float, y: float, radius: float) -> BoolArray:
    rows, columns = np.ogrid[:HEIGHT, :WIDTH]
    return np.asarray((columns - x) ** 2 + (rows - y) ** 2 < radius**2)


def picture(*things: BoolArray) -> np.ndarray:
    pixels = np.full((HEIGHT, WIDTH, 3), (40, 160, 60), dtype=np.uint8)
    for thing in things:
        pixels[thing] = (200, 40, 40)
    return pixels


@dataclass
class Boxy(Backend):
    """Answers a point on something red with the square around all red, and says little of any other.

    spread: by so many logit pixels, more or less, the square is wider for points further right.
    """

    sharpens: bool = True
    spread: int = 0

    @property
    def spec(self) -> BackendSpec:
        return BackendSpec("boxy", "boxy", 128, 64, 1, 16, sharpens=self.sharpens, tidies=True)

    def encode(self, image_chw: FloatArray) -> FloatArray:
        return image_chw[:1].copy()

    def decode(
        self, features: FloatArray, prompts: PackedPrompts, floors: FloatArray = DRAW_ALL
    ) -> tuple[FloatArray, FloatArray]:
        red = cv2.resize(features[0], (64, 64), interpolation=cv2.INTER_AREA) > 1
        (ys, xs) = np.nonzero(red)
        at = prompts.coords[:, 0].astype(int).clip(0, 127)
        trust = np.where(features[0][at[:, 1], at[:, 0]] > 1, 0.95, 0.1).astype(np.float32)
        iou = np.repeat(trust[:, None], 4, axis=1) - np.array([0, 0, 0.01, 0.02], np.float32)
        rows, _ = drawn_outputs(iou, floors)
        logits = np.full((len(rows), 64, 64), -2.0, dtype=np.float32)
        for one, row in zip(logits, rows, strict=True):
            wider = round(self.spread * (at[row, 0] / 64 - 1))
            one[ys.min() : ys.max() + 1, xs.min() - wider : xs.max() + 1 + wider] = 2.0
            one[:] = cv2.GaussianBlur(one, (0, 0), 2)
        return logits, iou


def masks_of(
    pixels: np.ndarray, config: AutomaticConfig, backend: Boxy | None = None
) -> EncodedMasks:
    return generate(Predictor(backend or Boxy()), pixels, config).masks


CONFIG = AutomaticConfig(points_per_side=8, stability_threshold=0.5)


def test_automatic_masks_follow_the_edges_of_the_image() -> None:
    truth = disk(170, 120, 60)
    (rough,) = masks_of(picture(truth), CONFIG, Boxy(sharpens=False)).rles
    found = masks_of(picture(truth), CONFIG)
    assert len(found) == 1
    coarse, mask = masks_of(picture(truth), CONFIG, Boxy(sharpens=False)).mask(0), found.mask(0)
    assert rough != found.rles[0]
    assert float(mask_iou(coarse, truth)) < 0.85
    assert float(mask_iou(mask, truth)) > 0.97
    assert found.areas.tolist() == [mask.sum()]
    np.testing.assert_array_equal(found.boxes_xyxy, mask_boxes(mask[None]))


@pytest.mark.parametrize("batch_size", [1, None])
def test_so_do_those_of_a_part_of_it(batch_size: int | None) -> None:
    truth = disk(210, 100, 40)
    config = AutomaticConfig(
        points_per_side=8,
        stability_threshold=0.5,
        region_xyxy=(120, 30, 320, 180),
        batch_size=batch_size,
    )
    found = masks_of(picture(truth), config)
    assert len(found) == 1
    assert float(mask_iou(found.mask(0), truth)) > 0.96
    np.testing.assert_array_equal(found.boxes_xyxy, mask_boxes(found.mask(0)[None]))


def test_masks_that_sharpening_makes_alike_become_one() -> None:
    truth = disk(170, 120, 60)
    config = replace(CONFIG, box_nms_threshold=0.9)
    assert len(masks_of(picture(truth), config, Boxy(sharpens=False, spread=6))) > 1
    found = generate(Predictor(Boxy(spread=6)), picture(truth), config)
    assert len(found.masks) == 1
    (count,) = (one for one in found.counts if one.name == "duplicates once sharpened")
    assert count.before > count.after == 1


def test_crumbs_of_sharpened_masks_are_taken_away() -> None:
    truth, crumb = disk(150, 120, 50), disk(215, 120, 4)
    found = masks_of(picture(truth, crumb), CONFIG)
    assert len(found) == 1
    assert found.mask(0)[120, 150]
    assert not found.mask(0)[120, 215]
