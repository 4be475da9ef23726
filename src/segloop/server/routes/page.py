"""The page: the built browser client, or one line that says how to get it."""

from __future__ import annotations

import os
from pathlib import Path, PurePosixPath

from starlette.exceptions import HTTPException
from starlette.responses import PlainTextResponse, Response
from starlette.staticfiles import StaticFiles
from starlette.types import Scope

from segloop.server.caching import IMMUTABLE_PUBLIC

MISSING = (
    "The page has not been built: run `npm ci && npm run build` in web/, or install a release wheel; "
    "the API under /api works without it.\n"
)
# Said here, for what a system believes of suffixes differs, and a browser that sniffs nothing takes no wrong one.
_MEDIA_TYPES = {
    ".css": "text/css",
    ".html": "text/html",
    ".jpg": "image/jpeg",
    ".js": "text/javascript",
    ".json": "application/json",
    ".map": "application/json",
    ".mjs": "text/javascript",
    ".onnx": "application/octet-stream",
    ".png": "image/png",
    ".svg": "image/svg+xml",
    ".txt": "text/plain",
    ".wasm": "application/wasm",
    ".webmanifest": "application/manifest+json",
    ".woff2": "font/woff2",
}
_TEXT = ("text/", "application/json", "application/manifest+json", "image/svg+xml")


class Page(StaticFiles):
    """The files of a folder; index.html for the root."""

    def __init__(self, folder: Path) -> None:
        super().__init__(directory=folder, html=True, check_dir=False)
        self._folder = folder

    async def check_config(self) -> None:
        """Let the folder be missing: it may be built while the server runs."""

    async def get_response(self, path: str, scope: Scope) -> Response:
        """One file, with how long a browser may keep it."""
        if path in (".", "index.html") and not (self._folder / "index.html").is_file():
            return PlainTextResponse(MISSING, 503, headers={"cache-control": "no-store"})
        try:
            return await super().get_response(path, scope)
        except HTTPException as error:
            if error.status_code == 404:
                raise HTTPException(404, "nothing there") from error
            raise

    def file_response(
        self,
        full_path: str | os.PathLike[str],
        stat_result: os.stat_result,
        scope: Scope,
        status_code: int = 200,
    ) -> Response:
        """The file with its type and its time."""
        response = super().file_response(full_path, stat_result, scope, status_code)
        # Files there carry a hash of their content in their names.
        is_hashed = scope["path"].startswith("/assets/")
        response.headers["cache-control"] = IMMUTABLE_PUBLIC if is_hashed else "no-cache"
        media_type = _MEDIA_TYPES.get(PurePosixPath(os.fspath(full_path)).suffix.lower())
        if media_type is not None and "content-type" in response.headers:
            charset = "; charset=utf-8" if media_type.startswith(_TEXT) else ""
            response.headers["content-type"] = media_type + charset
        return response
