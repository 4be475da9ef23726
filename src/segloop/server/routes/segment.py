"""Masks for clients that do not decode themselves."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence

import numpy as np
from fastapi import APIRouter

from segloop.backends.base import Embedding
from segloop.errors import InputError
from segloop.geometry.frames import BoolArray
from segloop.geometry.grids import CropBox
from segloop.geometry.masks import MaskBatch
from segloop.geometry.rle import Rle, decode_rle_window, encode_rle_window
from segloop.predict.predictor import Outputs, Predictor
from segloop.prompts.prompt import Prompt
from segloop.server import schemas
from segloop.server.embeddings import check_region
from segloop.server.schemas import Mask, PromptRequest, SegmentRequest, SegmentResponse
from segloop.server.services import ImageDependency, ServicesDependency, errors

router = APIRouter()
_PIXELS_AT_ONCE = 1 << 26


@router.post(
    "/api/images/{id}/segment", operation_id="segment_image", responses=errors(400, 404, 413, 422)
)
async def segment_image(
    request: SegmentRequest, services: ServicesDependency, image: ImageDependency
) -> SegmentResponse:
    """Segment objects by points, boxes and rough masks."""
    check_region(request.region, image.image_hw)
    height, width = image.image_hw
    window = request.region or (0, 0, width, height)
    loop = asyncio.get_running_loop()
    prompts = await loop.run_in_executor(
        services.decoding, read_prompts, request.prompts, window, image.image_hw
    )
    embedding = await services.embeddings.embedding(image, request.region)
    masks = await loop.run_in_executor(
        services.decoding,
        _segment,
        services.predictor,
        embedding,
        prompts,
        request.outputs,
        window,
        image.image_hw,
    )
    return SegmentResponse(masks=masks)


def read_prompts(
    requests: Sequence[PromptRequest], window: CropBox, image_hw: tuple[int, int]
) -> list[Prompt]:
    """Prompts in the frame of a window of the image; InputError for one that does not lie there."""
    return [_read_prompt(request, window, image_hw) for request in requests]


def _read_prompt(request: PromptRequest, window: CropBox, image_hw: tuple[int, int]) -> Prompt:
    x0, y0, x1, y1 = window
    for x, y, _ in request.points:
        if not (x0 <= x <= x1 and y0 <= y <= y1):
            raise InputError(f"point {x:g},{y:g} lies outside {x0},{y0},{x1},{y1}")
    box = None
    if request.box is not None:
        left, top, right, bottom = request.box
        if right <= x0 or bottom <= y0 or left >= x1 or top >= y1:
            raise InputError(
                f"box {left:g},{top:g},{right:g},{bottom:g} lies outside {x0},{y0},{x1},{y1}"
            )
        box = (left - x0, top - y0, right - x0, bottom - y0)
    points = [(x - x0, y - y0) for x, y, _ in request.points]
    labels = [label for _, _, label in request.points]
    mask = None if request.mask is None else _read_mask(request.mask, window, image_hw)
    return Prompt(points_xy=points or None, labels=labels or None, box_xyxy=box, mask=mask)


def _read_mask(mask: schemas.Rle, window: CropBox, image_hw: tuple[int, int]) -> BoolArray:
    if mask.size != image_hw:
        raise InputError(f"the mask's size is {mask.size}, the image's {image_hw} (height, width)")
    return decode_rle_window(Rle(mask.size, mask.counts), window)


def _segment(
    predictor: Predictor,
    embedding: Embedding,
    prompts: Sequence[Prompt],
    outputs: Outputs,
    window: CropBox,
    image_hw: tuple[int, int],
) -> list[Mask]:
    """All masks; only a few are held as pixels at once."""
    height, width = embedding.frame.image_hw
    step = max(1, _PIXELS_AT_ONCE // (3 * height * width))
    masks: list[Mask] = []
    for start in range(0, len(prompts), step):
        batch = predictor.segment(embedding, prompts[start : start + step], outputs=outputs)
        masks.extend(_describe(batch, start, window, image_hw))
    return masks


def _describe(
    batch: MaskBatch, first_prompt: int, window: CropBox, image_hw: tuple[int, int]
) -> Iterator[Mask]:
    x, y = window[:2]
    boxes = batch.boxes_xyxy.astype(int) + np.array([x, y, x, y])
    for row, (pixels, area) in enumerate(zip(batch.masks, batch.areas, strict=True)):
        rle = encode_rle_window(pixels, (x, y), image_hw)
        x0, y0, x1, y1 = boxes[row].tolist() if area else (0, 0, 0, 0)
        yield Mask(
            rle=schemas.Rle(size=rle.size_hw, counts=rle.counts),
            box=(x0, y0, x1, y1),
            area=int(area),
            predicted_iou=float(batch.predicted_iou[row]),
            stability_score=float(batch.stability_score[row]),
            prompt=first_prompt + int(batch.prompt_index[row]),
            output=int(batch.output_index[row]),
        )
