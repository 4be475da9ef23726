"""What lets a client keep an answer: entity tags, and how long it may go without asking."""

from __future__ import annotations

from collections.abc import Mapping

from fastapi.responses import Response
from starlette.requests import Request

IMMUTABLE_PUBLIC = "public, max-age=31536000, immutable"
IMMUTABLE_PRIVATE = "private, max-age=31536000, immutable"


def not_modified(request: Request, headers: Mapping[str, str]) -> Response | None:
    """A 304 with these headers where the client shows their entity tag, else None."""
    shown = request.headers.get("if-none-match", "")
    tags = {tag.strip().removeprefix("W/") for tag in shown.split(",")}
    if headers["etag"] in tags or "*" in tags:
        return Response(status_code=304, headers=dict(headers))
    return None
