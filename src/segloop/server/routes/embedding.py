"""The embedding of an image, or of a part of it, packed for the way."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query
from fastapi.responses import Response
from starlette.exceptions import HTTPException
from starlette.requests import Request

from segloop.errors import InputError
from segloop.geometry.grids import CropBox
from segloop.predict.cache import cache_key
from segloop.server.caching import IMMUTABLE_PRIVATE, not_modified
from segloop.server.embeddings import check_region
from segloop.server.services import BINARY_SCHEMA, ImageDependency, ServicesDependency, errors

router = APIRouter()


@router.get(
    "/api/images/{id}/embedding",
    operation_id="get_embedding",
    response_class=Response,
    responses={
        **errors(404, 409, 422),
        200: {
            "description": "SGE1, header, scales, 8-bit features.",
            "content": {"application/octet-stream": BINARY_SCHEMA},
        },
        304: {"description": "The client has it."},
    },
)
async def get_embedding(
    request: Request,
    services: ServicesDependency,
    image: ImageDependency,
    model: Annotated[str, Query(description="Identity of the model that is to decode it.")],
    region: Annotated[
        str | None,
        Query(
            pattern=r"^\d{1,7},\d{1,7},\d{1,7},\d{1,7}$",
            description="A part of the image: x0,y0,x1,y1 in whole pixels, ends exclusive.",
        ),
    ] = None,
) -> Response:
    """Send an embedding, which is computed once for all clients."""
    identity = services.predictor.spec.identity
    if model != identity:
        raise HTTPException(409, "the server runs another model; ask get_model which")
    crop = parse_region(region)
    check_region(crop, image.image_hw)
    tag = cache_key(identity, image.id, crop)
    headers = {"etag": f'"{tag}"', "cache-control": IMMUTABLE_PRIVATE}
    unchanged = not_modified(request, headers)
    if unchanged is not None:
        return unchanged
    packed = await services.embeddings.packed(image, crop)
    return Response(packed, media_type="application/octet-stream", headers=headers)


def parse_region(text: str | None) -> CropBox | None:
    """Four whole numbers parted by commas; InputError for anything else."""
    if text is None:
        return None
    try:
        x0, y0, x1, y1 = (int(one) for one in text.split(","))
    except ValueError as error:
        raise InputError(f"region {text!r}: give x0,y0,x1,y1 in whole pixels") from error
    return x0, y0, x1, y1
