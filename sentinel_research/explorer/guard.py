"""Who gets an answer: programs of this machine that know the token, and pages that we sent.

A page of another site can make a browser send requests to 127.0.0.1, and by DNS rebinding even read
the answers. So the name that was asked for has to be this machine's own [1], a request that changes
something has to come from a page of ours [2], and whoever does not know the token, which is a part
of every address, gets 404 for everything.

References:
    [1] OWASP, DNS rebinding; RFC 9110, section 7.4 (rejecting misdirected requests).
    [2] RFC 6454 (Origin); W3C Fetch Metadata, section 2.3 (Sec-Fetch-Site).
"""

import hmac
from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

OWN_NAMES = frozenset({"127.0.0.1", "localhost", "::1"})
POLICY = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "img-src 'self'",
        "connect-src 'self'",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
        # text can only become text
        "require-trusted-types-for 'script'",
        "trusted-types 'none'",
    )
)
"""Content-Security-Policy of every answer: only what this server sends, and no inline code."""
_HEADERS = {
    "content-security-policy": POLICY,
    "cache-control": "no-store",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "camera=(), geolocation=(), microphone=()",
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
}
_READING = ("GET", "HEAD")
MAX_BODY_BYTES = 1 << 20


class Guard:
    """ASGI middleware, see the module.

    Args:
        app: Gets the path behind the token.
        token: First part of every path.
    """

    def __init__(self, app: ASGIApp, token: str) -> None:
        self._app, self._token = app, token.encode()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer, or let the application answer."""
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        if scope["type"] != "http":
            await send({"type": "websocket.close", "code": 1008})
            return
        refused = self._refused(scope)

        async def guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                found = [(key.encode(), value.encode()) for key, value in _HEADERS.items()]
                message = {**message, "headers": [*message["headers"], *found]}
            await send(message)

        if refused is not None:
            await refused(scope, receive, guarded)
            return
        path = scope["path"].partition("/")[2].partition("/")[2]
        inner = {**scope, "path": f"/{path}", "raw_path": f"/{path}".encode()}
        await self._app(inner, receive, guarded)

    def _refused(self, scope: Scope) -> PlainTextResponse | None:
        headers = Headers(scope=scope)
        host = headers.get("host", "")
        if _name_of(f"//{host}") not in OWN_NAMES or len(headers.getlist("host")) != 1:
            return PlainTextResponse("Misdirected Request", 421)
        first, slash, _ = scope["path"].removeprefix("/").partition("/")
        if not hmac.compare_digest(first.encode(), self._token) or not slash:
            return PlainTextResponse("Not Found", 404)
        if scope["method"] in _READING:
            return None
        is_ours = headers.get("origin") == f"http://{host}"
        if not is_ours or headers.get("sec-fetch-site", "same-origin") != "same-origin":
            return PlainTextResponse("Forbidden", 403)
        length = headers.get("content-length", "")
        if not length.isdecimal() or int(length) > MAX_BODY_BYTES:
            return PlainTextResponse("Content Too Large", 413)
        return None


def _name_of(address: str) -> str | None:
    try:
        return urlsplit(address).hostname
    except ValueError:
        return None
