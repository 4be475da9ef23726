"""The images: which there are, one more, and their pixels as a browser shows them."""

from __future__ import annotations

import asyncio
import io
import time
from pathlib import Path
from typing import Annotated

from fastapi import APIRouter, Query
from fastapi.responses import Response
from PIL import Image as PillowImage
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request

from segloop.data.image import load_image
from segloop.server.caching import IMMUTABLE_PRIVATE, not_modified
from segloop.server.images import StoredImage
from segloop.server.schemas import Image
from segloop.server.services import (
    BINARY_SCHEMA,
    ImageDependency,
    Services,
    ServicesDependency,
    errors,
)

router = APIRouter()
_PIXEL_TYPES = ("image/jpeg", "image/png", "image/webp")
_DRAIN_SECONDS = 10.0


@router.get("/api/images", operation_id="list_images", responses=errors())
async def list_images(services: ServicesDependency) -> list[Image]:
    """List the images: those of the folder by name, then those sent to the server."""
    loop = asyncio.get_running_loop()
    return [
        describe(image)
        for image in await loop.run_in_executor(services.files, services.images.list)
    ]


@router.post(
    "/api/images",
    operation_id="upload_image",
    status_code=201,
    responses={
        **errors(400, 413, 422),
        200: {"description": "It was there already.", "model": Image},
        201: {"description": "It is there now."},
    },
    openapi_extra={
        "requestBody": {
            "required": True,
            "description": "The bytes of an image file.",
            "content": {"application/octet-stream": BINARY_SCHEMA, "image/*": BINARY_SCHEMA},
        }
    },
)
async def upload_image(
    request: Request,
    response: Response,
    services: ServicesDependency,
    name: Annotated[
        str, Query(max_length=1000, description="What to show; it names no file.")
    ] = "image",
) -> Image:
    """Send an image; the server keeps it for a while."""
    loop = asyncio.get_running_loop()
    partial = services.images.new_upload()
    try:
        await _receive(request, partial, services)
        image, is_new = await loop.run_in_executor(
            services.files, services.images.add, partial, name
        )
    except ClientDisconnect as error:
        raise HTTPException(400, "the upload broke off") from error
    finally:
        partial.unlink(missing_ok=True)
    response.status_code = 201 if is_new else 200
    return describe(image)


@router.get("/api/images/{id}", operation_id="get_image", responses=errors(404, 422))
def get_image(image: ImageDependency) -> Image:
    """Describe one image."""
    return describe(image)


@router.get(
    "/api/images/{id}/pixels",
    operation_id="get_pixels",
    response_class=Response,
    responses={
        **errors(404, 422),
        200: {
            "description": "A JPEG, PNG or WebP file.",
            "content": dict.fromkeys(_PIXEL_TYPES, BINARY_SCHEMA),
        },
        304: {"description": "The client has it."},
    },
)
async def get_pixels(
    request: Request, services: ServicesDependency, image: ImageDependency
) -> Response:
    """Send the picture in a form that every browser shows, turned upright."""
    headers = {"etag": f'"{image.id}"', "cache-control": IMMUTABLE_PRIVATE}
    unchanged = not_modified(request, headers)
    if unchanged is not None:
        return unchanged
    loop = asyncio.get_running_loop()
    content, media_type = await loop.run_in_executor(
        services.files, _picture, image, services.settings.max_pixels
    )
    return Response(content, media_type=media_type, headers=headers)


def describe(image: StoredImage) -> Image:
    """The image as clients see it."""
    height, width = image.image_hw
    return Image(
        id=image.id,
        name=image.name,
        height=height,
        width=width,
        num_bytes=image.num_bytes,
        media_type=image.media_type,
    )


def _picture(image: StoredImage, max_pixels: int) -> tuple[bytes, str]:
    content = image.read()
    if image.is_shown_as_is:
        return content, image.media_type
    stream = io.BytesIO()
    PillowImage.fromarray(load_image(content, max_pixels)).save(stream, "PNG", compress_level=1)
    return stream.getvalue(), "image/png"


async def _receive(request: Request, target: Path, services: Services) -> None:
    """Write the body to a file; HTTPException 413 beyond the limit."""
    limit = services.settings.max_upload_bytes
    length = request.headers.get("content-length", "")
    num_bytes = int(length) if length.isdigit() else 0
    body = request.stream()
    if num_bytes <= limit:
        num_bytes = 0
        with target.open("wb") as stream:
            async for chunk in body:
                num_bytes += len(chunk)
                if num_bytes > limit:
                    break
                stream.write(chunk)
            else:
                return
    # Most clients look for an answer only when they have sent all they had, so a little more is read and thrown away.
    end = time.monotonic() + _DRAIN_SECONDS
    async for chunk in body:
        num_bytes += len(chunk)
        if num_bytes > 4 * limit or time.monotonic() > end:
            break
    raise HTTPException(413, f"the image has more than the {limit:,} bytes that the server takes")
