"""The model: what a client must know of it, and the decoder graph for those that decode themselves."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query
from fastapi.responses import Response
from starlette.exceptions import HTTPException
from starlette.requests import Request

import segloop
from segloop.prompts.prompt import BOX_MAGNITUDE, MASK_MAGNITUDE
from segloop.server.caching import IMMUTABLE_PUBLIC, not_modified
from segloop.server.schemas import Decoder, Health, Model
from segloop.server.services import BINARY_SCHEMA, Services, ServicesDependency, errors

router = APIRouter()


@router.get("/api/health", operation_id="get_health", responses=errors())
def get_health() -> Health:
    """Say that the server is there."""
    return Health(status="ok", version=segloop.__version__)


@router.get("/api/model", operation_id="get_model", responses=errors())
def get_model(services: ServicesDependency) -> Model:
    """Describe the model that the server runs."""
    return describe(services)


@router.get(
    "/api/decoder",
    operation_id="get_decoder",
    response_class=Response,
    responses={
        **errors(404, 422),
        200: {
            "description": "The decoder as an ONNX file.",
            "content": {"application/octet-stream": BINARY_SCHEMA},
        },
        304: {"description": "The client has it."},
    },
)
def get_decoder(
    request: Request,
    services: ServicesDependency,
    v: Annotated[
        str | None, Query(description="SHA-256 of the graph, as get_model has it.")
    ] = None,
) -> Response:
    """Send the decoder graph; behind an address with its hash it never changes."""
    decoder = services.decoder
    if decoder is None:
        raise HTTPException(404, "this model has no decoder graph; ask segment_image for masks")
    if v not in (None, decoder.sha256):
        raise HTTPException(404, "the server has another decoder by now; ask get_model which")
    headers = {"etag": f'"{decoder.sha256}"', "cache-control": IMMUTABLE_PUBLIC}
    if v is None:
        headers["cache-control"] = "no-cache"
    return not_modified(request, headers) or Response(
        decoder.content, media_type="application/octet-stream", headers=headers
    )


def describe(services: Services) -> Model:
    """The model as clients see it."""
    spec, decoder = services.predictor.spec, services.decoder
    return Model(
        name=spec.name,
        identity=spec.identity,
        input_size=spec.input_size,
        logit_size=spec.logit_size,
        num_channels=spec.num_channels,
        grid_size=spec.grid_size,
        fills_boxes=spec.fills_boxes,
        tidies=spec.tidies,
        sharpens=spec.sharpens,
        takes_text=spec.text_width is not None,
        mask_magnitude=MASK_MAGNITUDE,
        box_magnitude=BOX_MAGNITUDE,
        automatic_thresholds=spec.automatic_thresholds,
        decoder=None
        if decoder is None
        else Decoder(
            url=f"/api/decoder?v={decoder.sha256}",
            sha256=decoder.sha256,
            num_bytes=len(decoder.content),
        ),
        version=segloop.__version__,
    )
