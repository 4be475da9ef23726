"""What the routes work with, made once for a server and closed with it."""

from __future__ import annotations

import hashlib
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from typing import Annotated, Final

from fastapi import Depends, Path, Request
from starlette.exceptions import HTTPException

from segloop.predict.cache import EmbeddingCache, default_folder
from segloop.predict.predictor import Predictor
from segloop.server.embeddings import MAX_PARALLEL, EmbeddingService
from segloop.server.images import ImageStore, StoredImage
from segloop.server.jobs import Jobs
from segloop.server.schemas import Error
from segloop.server.settings import ServerSettings

_DECODER_THREADS = 2


@dataclass(frozen=True)
class DecoderGraph:
    """The decoder as clients take it."""

    content: bytes

    @cached_property
    def sha256(self) -> str:
        """Hash of the content, by which clients keep it."""
        return hashlib.sha256(self.content).hexdigest()


@dataclass(frozen=True)
class Services:
    """The parts of one server.

    decoder: None where the model has no graph to send. files: threads that read and check pictures. decoding: threads that
    decode prompts.
    """

    predictor: Predictor
    settings: ServerSettings
    images: ImageStore
    embeddings: EmbeddingService
    jobs: Jobs
    decoder: DecoderGraph | None
    files: ThreadPoolExecutor
    decoding: ThreadPoolExecutor

    @staticmethod
    def open(predictor: Predictor, settings: ServerSettings) -> Services:
        """Start what a server needs; the folder's images are read once."""
        images = ImageStore(settings)
        cache = EmbeddingCache(
            settings.cache_folder or default_folder(),
            max_memory_bytes=settings.max_memory_bytes,
            max_disk_bytes=settings.max_disk_bytes,
            max_parallel=MAX_PARALLEL,
        )
        graph = predictor.backend.decoder_graph
        return Services(
            predictor=predictor,
            settings=settings,
            images=images,
            embeddings=EmbeddingService(predictor, cache, images, settings),
            jobs=Jobs(settings.max_jobs),
            decoder=None if graph is None else DecoderGraph(graph),
            files=ThreadPoolExecutor(2, "files"),
            decoding=ThreadPoolExecutor(_DECODER_THREADS, "decode"),
        )

    def close(self) -> None:
        """Stop the work and remove the uploads."""
        self.jobs.close()
        self.embeddings.close()
        for pool in (self.files, self.decoding):
            pool.shutdown(wait=False, cancel_futures=True)
        self.images.close()


def _services(request: Request) -> Services:
    services = request.app.state.services
    assert isinstance(services, Services)
    return services


ServicesDependency = Annotated[Services, Depends(_services)]
ImageId = Annotated[
    str,
    Path(
        alias="id",
        pattern="^[0-9a-f]{32}$",
        description="First 32 hex digits of the SHA-256 of the file.",
    ),
]


def _image(services: ServicesDependency, image_id: ImageId) -> StoredImage:
    image = services.images.find(image_id)
    if image is None:
        raise HTTPException(404, "no such image here: send it, or list the images again")
    return image


ImageDependency = Annotated[StoredImage, Depends(_image)]

_ERRORS = {
    400: "The body broke off or is no text.",
    401: "The token is missing.",
    403: "A page of another origin asked.",
    404: "No such image.",
    409: "The server runs another model.",
    413: "Too many bytes.",
    421: "The server does not answer to that name.",
    422: "Something in the request cannot be used.",
    429: "Too much is being worked on.",
}

BINARY_SCHEMA: Final = {"schema": {"type": "string", "format": "binary"}}
"""What the documentation calls a body of bytes."""


def errors(*statuses: int) -> dict[int | str, dict[str, object]]:
    """The documentation of errors, with those that any request may meet."""
    schema = {"$ref": f"#/components/schemas/{Error.__name__}"}
    return {
        status: {
            "description": _ERRORS[status],
            "content": {"application/json": {"schema": schema}},
        }
        for status in sorted({*statuses, 401, 403, 421})
    }
