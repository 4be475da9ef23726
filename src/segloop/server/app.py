"""The server put together."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

import segloop
from segloop.errors import InputError
from segloop.predict.predictor import Predictor
from segloop.server.routes import embedding, everything, images, model, segment
from segloop.server.routes.page import Page
from segloop.server.schemas import Error
from segloop.server.security import Security
from segloop.server.services import Services
from segloop.server.settings import ServerSettings

_DESCRIPTION = (
    "Embed an image once, then decode masks at every mouse move. Coordinates are pixels of the image as a viewer shows it, "
    "points (x, y), sizes (height, width)."
)


def create_app(predictor: Predictor, settings: ServerSettings | None = None) -> FastAPI:
    """A server of one model, to be run by any ASGI server.

    The folder's images are read once for their hashes before this returns.
    """
    settings = settings or ServerSettings()
    app = build_api()
    app.state.services = Services.open(predictor, settings)
    app.add_middleware(Security, settings=settings)
    app.mount("/", Page(settings.page_folder), name="page")
    return app


def build_api() -> FastAPI:
    """The routes and their description, without anything behind them."""
    app = _Api(
        title="segloop",
        summary="Segment anything in a photograph.",
        description=_DESCRIPTION,
        version=segloop.__version__,
        license_info={"name": "Apache-2.0", "identifier": "Apache-2.0"},
        openapi_url="/api/openapi.json",
        # Their pages load scripts from elsewhere, and nothing here does.
        docs_url=None,
        redoc_url=None,
        lifespan=_lifespan,
    )
    for routes in (model, images, embedding, segment, everything):
        app.include_router(routes.router)
    app.add_exception_handler(InputError, _unusable)
    app.add_exception_handler(RequestValidationError, _invalid)
    return app


class _Api(FastAPI):
    """Completes the description where the framework leaves a gap."""

    def openapi(self) -> dict[str, Any]:
        """The OpenAPI description."""
        if self.openapi_schema is None:
            description = super().openapi()
            schemas = description["components"]["schemas"]
            schemas[Error.__name__] = Error.model_json_schema()
            lines = description["paths"]["/api/images/{id}/everything"]["post"]["responses"]["200"]
            # A line is an object; the framework takes whatever is not JSON as a whole for text.
            del lines["content"][everything.LinesResponse.media_type]["schema"]["type"]
        return super().openapi()


@asynccontextmanager
async def _lifespan(app: FastAPI) -> AsyncIterator[None]:
    try:
        yield
    finally:
        services: Services = app.state.services
        services.close()


def _unusable(_: Request, error: Exception) -> Response:
    return JSONResponse({"detail": " ".join(str(error).split())}, 422)


def _invalid(_: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    return JSONResponse({"detail": describe_invalid(error.errors())}, 422)


def describe_invalid(mistakes: Any) -> str:
    """The first mistake of a request in one sentence: where it is and what is wrong."""
    first = mistakes[0]
    place = ".".join(str(part) for part in first["loc"])
    return f"{place}: {first['msg']}" if place else str(first["msg"])
