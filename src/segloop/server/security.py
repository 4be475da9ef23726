"""Who may ask, and what every answer says to a browser: pure ASGI, around everything else.

A page of another origin must not reach the server through its visitor's browser: by a name that it made point here
(the Host check), by a form or script (the Origin check), or by a frame. Where others reach the server, a token stands.
"""

from __future__ import annotations

import hmac
import ipaddress
import logging
import socket
from http.cookies import CookieError, SimpleCookie
from urllib.parse import parse_qs, urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from segloop.server.settings import LOOPBACK_NAMES, ServerSettings

SAFE_METHODS = ("GET", "HEAD", "OPTIONS")
HEADERS = {
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-embedder-policy": "require-corp",
    "cross-origin-resource-policy": "same-origin",
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "content-security-policy": (
        "default-src 'self'; script-src 'self' 'wasm-unsafe-eval'; worker-src 'self' blob:; "
        "img-src 'self' blob: data:; style-src 'self'; connect-src 'self'; object-src 'none'; "
        "base-uri 'none'; frame-ancestors 'none'"
    ),
}
_log = logging.getLogger(__name__)


class Security:
    """Checks every request against the settings, and completes every answer, those to our own mistakes too."""

    def __init__(self, app: ASGIApp, settings: ServerSettings) -> None:
        self._app = app
        self._settings = settings
        self._names = allowed_names(settings)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started = False

        async def send_completed(message: Message) -> None:
            nonlocal started
            if message["type"] == "http.response.start":
                started = True
                MutableHeaders(scope=message).update(HEADERS)
            await send(message)

        refusal = self._refuse(scope)
        if refusal is not None:
            await refusal(scope, receive, send_completed)
            return
        try:
            await self._app(scope, self._limited(scope, receive), send_completed)
        except Exception:
            _log.exception("%s %s failed", scope["method"], scope["path"])
            if started:
                raise
            answer = _error(500, "the server made a mistake; its log says which")
            await answer(scope, receive, send_completed)

    def _refuse(self, scope: Scope) -> Response | None:
        headers = Headers(scope=scope)
        if not self._knows(headers.get("host", "")):
            return _error(421, "this server does not answer to that name")
        if scope["method"] not in SAFE_METHODS and not _is_same_origin(headers):
            return _error(403, "a page of another origin may not ask for this")
        if not self._content_fits(scope, headers):
            return _error(413, f"a request has at most {self._settings.max_body_bytes:,} bytes")
        return self._refuse_stranger(scope, headers)

    def _refuse_stranger(self, scope: Scope, headers: Headers) -> Response | None:
        token = self._settings.token
        if token is None:
            return None
        if scope["method"] == "GET" and scope["path"] == "/":
            shown = parse_qs(scope["query_string"].decode("latin-1")).get("token", [])
            if shown and _equal(shown[0], token):
                return self._welcome(token)
        scheme, _, bearer = headers.get("authorization", "").partition(" ")
        if scheme.lower() == "bearer" and _equal(bearer.strip(), token):
            return None
        if _equal(_cookie(headers, cookie_name(self._settings)), token):
            return None
        answer = _error(401, "open the address that the server printed, with its token")
        answer.headers["www-authenticate"] = "Bearer"
        return answer

    def _welcome(self, token: str) -> Response:
        """Move the token out of the address, where others would see it, into a cookie."""
        answer = RedirectResponse("/", status_code=303, headers={"cache-control": "no-store"})
        answer.set_cookie(
            cookie_name(self._settings),
            token,
            httponly=True,
            samesite="strict",
            secure=self._settings.is_secure,
        )
        return answer

    def _knows(self, host: str) -> bool:
        try:
            name = (urlsplit(f"//{host}").hostname or "").rstrip(".")
        except ValueError:
            return False
        if name in self._names:
            return True
        # A name made to point here is never an address, and only by its address do others reach us.
        return not self._settings.is_loopback and _is_address(name)

    def _content_fits(self, scope: Scope, headers: Headers) -> bool:
        length = headers.get("content-length", "0")
        limit = self._limit(scope)
        return limit is None or (length.isdigit() and int(length) <= limit)

    def _limit(self, scope: Scope) -> int | None:
        """Most bytes of the body; None for a picture, whose own limit its route keeps."""
        return None if scope["path"] == "/api/images" else self._settings.max_body_bytes

    def _limited(self, scope: Scope, receive: Receive) -> Receive:
        limit = self._limit(scope)
        if limit is None:
            return receive
        num_bytes = 0

        async def receive_limited() -> Message:
            nonlocal num_bytes
            message = await receive()
            num_bytes += len(message.get("body", b""))
            if num_bytes > limit:
                raise HTTPException(413, f"a request has at most {limit:,} bytes")
            return message

        return receive_limited


def allowed_names(settings: ServerSettings) -> frozenset[str]:
    """Names by which a client may call the server, lower case, without port and brackets."""
    names = {*LOOPBACK_NAMES, settings.host, *settings.allowed_hosts}
    if not settings.is_loopback:
        names.add(socket.gethostname())
    return frozenset(name.lower().strip("[]").rstrip(".") for name in names if name)


def cookie_name(settings: ServerSettings) -> str:
    """Its own for every port: browsers share cookies among the ports of a machine."""
    return f"segloop_{settings.port}"


def _is_same_origin(headers: Headers) -> bool:
    site, origin = headers.get("sec-fetch-site"), headers.get("origin")
    if site is not None and site not in ("same-origin", "none"):
        return False
    if origin is None:  # no browser
        return True
    try:
        return urlsplit(origin).netloc.lower() == headers.get("host", "").lower()
    except ValueError:
        return False


def _cookie(headers: Headers, name: str) -> str:
    try:
        found = SimpleCookie(headers.get("cookie", "")).get(name)
    except CookieError:
        return ""
    return found.value if found else ""


def _equal(shown: str, token: str) -> bool:
    return hmac.compare_digest(shown.encode("utf-8", "replace"), token.encode("utf-8"))


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


def _error(status: int, detail: str) -> Response:
    return JSONResponse({"detail": detail}, status)
