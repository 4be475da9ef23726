"""Everything in an image, as a stream of lines: progress, then masks with what they lie in, then the end."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, replace

from fastapi import APIRouter
from pydantic import BaseModel
from starlette.exceptions import HTTPException
from starlette.responses import StreamingResponse
from starlette.types import Receive, Scope, Send

from segloop.backends.base import BackendSpec
from segloop.errors import InputError
from segloop.geometry.encoded import EncodedMasks
from segloop.geometry.tree import Tree, build_tree
from segloop.predict.automatic import AutomaticConfig, generate, suited_config
from segloop.server.embeddings import check_region
from segloop.server.jobs import BusyError, Job, Report
from segloop.server.schemas import (
    EndLine,
    ErrorLine,
    EverythingLine,
    EverythingRequest,
    Level,
    MaskLine,
    ProgressLine,
    Rle,
)
from segloop.server.services import ImageDependency, ServicesDependency, errors

router = APIRouter()
_LEVELS: tuple[Level, ...] = ("whole", "part", "subpart")


class LinesResponse(StreamingResponse):
    """JSON objects, one a line, of a job that stops when the client goes away."""

    media_type = "application/x-ndjson"

    def __init__(self, job: Job[Found]) -> None:
        super().__init__(_lines(job), headers={"cache-control": "no-store"})
        self._job = job

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send what the job says until its end or the client's."""
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._job.stop()


@router.post(
    "/api/images/{id}/everything",
    operation_id="everything_in_image",
    status_code=200,
    response_class=LinesResponse,
    responses={
        **errors(400, 404, 413, 422, 429),
        200: {"description": "JSON objects, one a line, as they come.", "model": EverythingLine},
    },
)
async def everything_in_image(
    request: EverythingRequest, services: ServicesDependency, image: ImageDependency
) -> LinesResponse:
    """Find all masks of an image; the work stops when the client goes away."""
    check_region(request.region, image.image_hw)
    config = build_config(request, services.predictor.spec)
    max_pixels = services.settings.max_pixels

    def work(report: Report) -> Found:
        generation = generate(
            services.predictor, image.read(), config, max_pixels=max_pixels, progress=report
        )
        return Found(generation.masks, build_tree(generation.masks))

    try:
        job = services.jobs.start(image.id, work)
    except BusyError as error:
        raise HTTPException(429, str(error), headers={"retry-after": "5"}) from error
    return LinesResponse(job)


@dataclass(frozen=True)
class Found:
    """All masks of an image and what lies in what."""

    masks: EncodedMasks
    tree: Tree


def build_config(request: EverythingRequest, spec: BackendSpec) -> AutomaticConfig:
    """The settings that were asked for, else the preset's and the model's; InputError for what makes no sense."""
    given = request.model_dump(exclude={"preset", "region"}, exclude_none=True)
    config = replace(suited_config(spec, request.preset), region_xyxy=request.region)
    return replace(config, **given)


async def _lines(job: Job[Found]) -> AsyncIterator[bytes]:
    try:
        async for news in job.follow():
            if isinstance(news, Found):
                for line in found_lines(news):
                    yield _line(line)
                    await asyncio.sleep(0)  # thousands of lines must not keep others waiting
            else:
                done, total = news
                yield _line(ProgressLine(kind="progress", done=done, total=total))
    except InputError as error:
        yield _line(ErrorLine(kind="error", detail=str(error)))
    except Exception:  # the job has logged it
        yield _line(ErrorLine(kind="error", detail="the server made a mistake; its log says which"))


def found_lines(found: Found) -> Iterator[MaskLine | EndLine]:
    """A line for each mask and one for the end."""
    masks, tree = found.masks, found.tree
    for row, rle in enumerate(masks.rles):
        x0, y0, x1, y1 = masks.boxes_xyxy[row].astype(int).tolist()
        depth, parent = int(tree.depth[row]), int(tree.parent[row])
        yield MaskLine(
            kind="mask",
            rle=Rle(size=rle.size_hw, counts=rle.counts),
            box=(x0, y0, x1, y1),
            area=int(masks.areas[row]),
            predicted_iou=float(masks.predicted_iou[row]),
            stability_score=float(masks.stability_score[row]),
            prompt=int(masks.prompt_index[row]),
            output=int(masks.output_index[row]),
            parent=None if parent < 0 else parent,
            level=_LEVELS[depth] if depth < len(_LEVELS) else depth,
        )
    yield EndLine(kind="end", num_masks=len(masks))


def _line(model: BaseModel) -> bytes:
    return model.model_dump_json().encode() + b"\n"
