"""One crop of an image as the automatic masks see it: encoded once, then drawn from, batch by batch of points."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from segloop.backends.base import Embedding, check_decoded, drawn_outputs
from segloop.data.image import ImageArray
from segloop.geometry.encoded import EncodedMasks
from segloop.geometry.frames import FloatArray
from segloop.geometry.grids import Crop
from segloop.geometry.masks import IntArray
from segloop.geometry.rle import Rle, encode_rle_window
from segloop.geometry.windows import WindowMask, cut_mask
from segloop.predict.predictor import MASK_THRESHOLD, Predictor
from segloop.predict.sharpen import Guide, guide_of, sharpen
from segloop.predict.tidy import tidy_answers, tidy_mask
from segloop.prompts.prompt import Prompt, pack


@dataclass(frozen=True)
class _Decoded:
    """Masks of a batch of points: which point and output each answers, what is predicted of it, and its logits (L, L)."""

    index: IntArray
    rows: IntArray
    output_index: IntArray
    predicted_iou: FloatArray
    logits: FloatArray


@dataclass(frozen=True, eq=False)
class CropView:
    """A crop of an image of size image_hw, and its embedding.

    floors: of predicted IoU (4,), see Backend.decode. stability_offset: see stability_score. batch_size: of points.
    """

    predictor: Predictor
    crop: Crop
    image_hw: tuple[int, int]
    pixels: ImageArray
    embedding: Embedding
    floors: FloatArray
    stability_offset: float
    batch_size: int

    @staticmethod
    def of(
        predictor: Predictor,
        pixels: ImageArray,
        crop: Crop,
        floors: FloatArray,
        *,
        stability_offset: float,
        batch_size: int | None,
    ) -> CropView:
        """Encode a crop of pixels (H, W, 3)."""
        height, width = int(pixels.shape[0]), int(pixels.shape[1])
        x0, y0, x1, y1 = crop.box_xyxy
        part = pixels[y0:y1, x0:x1]
        # As many pixels as there are: they were allowed, or they would not be here.
        embedding = predictor.encode(part, max_pixels=height * width, keep_pixels=False)
        at_once = batch_size or predictor.backend.batch_size
        return CropView(
            predictor, crop, (height, width), part, embedding, floors, stability_offset, at_once
        )

    def draw(self, points_xy: FloatArray) -> Iterator[tuple[int, EncodedMasks]]:
        """For each batch of points (N, 2) of the image their number and their masks predicted better than the floors.

        prompt_index counts in the batch.
        """
        for batch in self._decode(points_xy):
            drawn = [
                cut_mask(one, self.embedding.frame, MASK_THRESHOLD, self.stability_offset)
                for one in batch.logits
            ]
            yield len(batch.index), self._encode(drawn, batch, points_xy[batch.index[batch.rows]])

    def sharpened(self, masks: EncodedMasks) -> EncodedMasks:
        """Masks that draw gave, drawn again with the edges of the image, see segloop.predict.sharpen."""
        if not len(masks):
            return masks
        guide = guide_of(self.pixels, self.embedding.frame)
        points_xy, place = np.unique(masks.points_xy, axis=0, return_inverse=True)
        wanted = {
            pair: row
            for row, pair in enumerate(zip(place.ravel(), masks.output_index, strict=True))
        }
        rles, boxes, areas = list(masks.rles), masks.boxes_xyxy.copy(), masks.areas.copy()
        for batch in self._decode(points_xy):
            answers = zip(batch.index[batch.rows], batch.output_index, batch.logits, strict=True)
            for point, output, logits in answers:
                row = wanted.get((point, output))
                found = None if row is None else self._sharpen(logits, guide, points_xy[point])
                if row is not None and found is not None:
                    rles[row] = self._rle(found)
                    boxes[row] = self._box(found)
                    areas[row] = found.area
        return replace(masks, rles=tuple(rles), boxes_xyxy=boxes, areas=areas)

    def _sharpen(self, logits: FloatArray, guide: Guide, point_xy: FloatArray) -> WindowMask | None:
        found = sharpen(logits, guide)
        if found is None:
            return None
        window, pixels = found
        if self.predictor.tidies:
            pixels = tidy_mask(pixels, self._prompt(point_xy), window[:2])
        area = int(np.count_nonzero(pixels))
        return WindowMask(window, pixels, area, 0.0) if area else None

    def _decode(self, points_xy: FloatArray) -> Iterator[_Decoded]:
        predictor, frame = self.predictor, self.embedding.frame
        prompts = [self._prompt(point) for point in points_xy]
        (packed,) = pack(prompts, frame, fills_boxes=predictor.spec.fills_boxes)
        batches = packed.batches(self.batch_size)
        decoded = predictor.backend.decode_batches(self.embedding.features, batches, self.floors)
        for batch, (logits, predicted_iou) in zip(batches, decoded, strict=True):
            check_decoded(logits, predicted_iou, predictor.spec.name)
            rows, output_index = drawn_outputs(predicted_iou, self.floors)
            if predictor.tidies:
                logits = tidy_answers(logits, prompts, batch.index[rows], frame)
            yield _Decoded(
                batch.index, rows, output_index, predicted_iou[rows, output_index], logits
            )

    def _prompt(self, point_xy: FloatArray) -> Prompt:
        return Prompt(points_xy=[point_xy - self._corner])

    def _encode(
        self, drawn: Sequence[WindowMask], batch: _Decoded, points_xy: FloatArray
    ) -> EncodedMasks:
        """Masks cut out of the crop as masks of the image."""
        return EncodedMasks(
            image_hw=self.image_hw,
            rles=tuple(map(self._rle, drawn)),
            boxes_xyxy=np.array(list(map(self._box, drawn)), dtype=np.float32).reshape(-1, 4),
            areas=np.array([one.area for one in drawn], dtype=np.int64),
            predicted_iou=batch.predicted_iou,
            stability_score=np.array([one.stability_score for one in drawn], dtype=np.float32),
            points_xy=points_xy,
            crop_boxes_xyxy=np.tile(
                np.array(self.crop.box_xyxy, dtype=np.float32), (len(drawn), 1)
            ),
            prompt_index=batch.rows,
            output_index=batch.output_index,
        )

    def _rle(self, mask: WindowMask) -> Rle:
        x, y = self.crop.box_xyxy[:2]
        corner = mask.window_xyxy[0] + x, mask.window_xyxy[1] + y
        return encode_rle_window(mask.pixels, corner, self.image_hw)

    def _box(self, mask: WindowMask) -> FloatArray:
        box = np.array(mask.box_xyxy, dtype=np.float32)
        return np.asarray(box + np.tile(self._corner, 2))

    @property
    def _corner(self) -> FloatArray:
        return np.array(self.crop.box_xyxy[:2], dtype=np.float32)
