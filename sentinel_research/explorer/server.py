"""The page's requests, answered from a session.

Starlette and not NiceGUI, which runs what its server sends through `eval`, keeps scripts and styles
inline, and takes websockets from any origin: its pages need `unsafe-inline` and `unsafe-eval`, and
this one shows what a language model wrote. Nor Dash, whose renderer needs inline scripts. The page
is four files of our own, and every answer carries the policy of `guard`.

Reading: `/` and the files of `page/`, `facts`, `state`, `scores?scorer=&kind=&seed=`, `plan.yaml`,
and `events`, a stream that names every new revision. Changing, with a JSON object: `toggle`,
`show`, `choose`, `restore`, `undo`, `redo`, `write`; each is answered with the new state.
"""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, Response, StreamingResponse
from starlette.routing import Route
from starlette.types import ASGIApp

from sentinel_research.errors import SentinelError
from sentinel_research.explorer.guard import Guard
from sentinel_research.explorer.scorebook import Asked
from sentinel_research.explorer.session import Session
from sentinel_research.explorer.writing import MAX_NEW_TOKENS, Prompt

_PAGE = Path(__file__).with_name("page")
FILES = {
    "": ("index.html", "text/html; charset=utf-8"),
    "explore.css": ("explore.css", "text/css; charset=utf-8"),
    "main.js": ("main.js", "text/javascript; charset=utf-8"),
    "map.js": ("map.js", "text/javascript; charset=utf-8"),
    "panels.js": ("panels.js", "text/javascript; charset=utf-8"),
    "text.js": ("text.js", "text/javascript; charset=utf-8"),
    "icon.svg": ("icon.svg", "image/svg+xml"),
}
"""All files that are served, by path behind the token."""
_HEARTBEAT_SECONDS = 10.0


class _Body(BaseModel):
    """What a page may send."""

    model_config = ConfigDict(extra="forbid", strict=True)


class _Units(_Body):
    units: list[str] = Field(max_length=100_000)


class _Choice(_Body):
    scorer: str
    kind: str
    fraction: float = Field(ge=0, le=1, allow_inf_nan=False)
    scope: str = "global"
    seed: int = Field(default=0, ge=0, lt=2**32)


class _Number(_Body):
    number: int


class _Prompt(_Body):
    text: str = Field(max_length=10_000)
    temperature: float = Field(default=0.0, ge=0, le=10, allow_inf_nan=False)
    seed: int = Field(default=0, ge=0, lt=2**32)
    num_tokens: int = Field(default=MAX_NEW_TOKENS, gt=0, le=1024)


class _Nothing(_Body):
    pass


class Explorer:
    """One session behind an application.

    Args:
        session: What the page shows.
    """

    def __init__(self, session: Session) -> None:
        self.session = session
        self._loop: asyncio.AbstractEventLoop | None = None
        self._streams: set[asyncio.Event] = set()
        self.is_closing = False
        session.changed = self._wake

    def application(self, token: str) -> ASGIApp:
        """What answers, to those who know the token alone."""
        session = self.session
        changes: dict[str, tuple[type[_Body], Callable[[Any], object]]] = {
            "toggle": (_Units, lambda body: session.toggle(body.units)),
            "show": (_Units, lambda body: session.show(body.units)),
            "choose": (_Choice, lambda body: session.choose(Asked(**body.model_dump()))),
            "restore": (_Number, lambda body: session.restore(body.number)),
            "undo": (_Nothing, lambda _: session.undo()),
            "redo": (_Nothing, lambda _: session.redo()),
            "write": (_Prompt, lambda body: session.write(Prompt(**body.model_dump()))),
        }
        routes = [
            *(Route(f"/{path}", _file(*file)) for path, file in FILES.items()),
            Route("/facts", self._facts),
            Route("/state", self._state),
            Route("/scores", self._scores),
            Route("/plan.yaml", self._plan),
            Route("/events", self._events),
            *(
                Route(f"/{name}", self._changing(body, work), methods=["POST"])
                for name, (body, work) in changes.items()
            ),
        ]
        inner = Starlette(routes=routes)
        # an address that is nearly right is wrong
        inner.router.redirect_slashes = False
        return Guard(inner, token)

    def close(self) -> None:
        """End all streams, so that the server can end."""
        self.is_closing = True
        self._wake()

    async def _facts(self, _: Request) -> Response:
        return JSONResponse(self.session.facts())

    async def _state(self, _: Request) -> Response:
        return JSONResponse(await run_in_threadpool(self.session.state))

    async def _scores(self, request: Request) -> Response:
        asked = request.query_params
        seed = asked.get("seed", "0")

        def work() -> object:
            number = int(seed) if seed.isdecimal() else 0
            return self.session.scores(asked.get("scorer", ""), asked.get("kind", ""), number)

        return await _answered(work)

    async def _plan(self, _: Request) -> Response:
        try:
            name, text = await run_in_threadpool(self.session.export)
        except SentinelError as error:
            return JSONResponse({"problem": str(error)}, 400)
        return Response(
            text,
            media_type="application/yaml",
            headers={"content-disposition": f'attachment; filename="{name}"'},
        )

    def _changing(
        self, body: type[_Body], work: Callable[[Any], object]
    ) -> Callable[[Request], Awaitable[Response]]:
        async def answer(request: Request) -> Response:
            try:
                given = body.model_validate_json(await request.body())
            except ValidationError as error:
                first = error.errors()[0]
                where = ".".join(map(str, first["loc"]))
                problem = f"{where or 'the request'}: {first['msg']}"
                return JSONResponse({"problem": problem}, 400)

            def change() -> object:
                work(given)
                return self.session.state()

            return await _answered(change)

        return answer

    async def _events(self, _: Request) -> Response:
        self._loop = asyncio.get_running_loop()
        return StreamingResponse(self._revisions(), media_type="text/event-stream")

    async def _revisions(self) -> AsyncIterator[str]:
        event, shown = asyncio.Event(), -1
        self._streams.add(event)
        try:
            while not self.is_closing:
                event.clear()
                if self.session.revision != shown:
                    shown = self.session.revision
                    yield f"data: {json.dumps({'revision': shown})}\n\n"
                try:
                    await asyncio.wait_for(event.wait(), _HEARTBEAT_SECONDS)
                except asyncio.TimeoutError:
                    yield ": still here\n\n"
        finally:
            self._streams.discard(event)

    def _wake(self) -> None:
        """Tell every stream that something is new; from any thread."""
        loop = self._loop
        if loop is not None and not loop.is_closed():
            loop.call_soon_threadsafe(self._set_all)

    def _set_all(self) -> None:
        for event in self._streams:
            event.set()


def _file(name: str, media_type: str) -> Callable[[Request], Awaitable[Response]]:
    async def answer(_: Request) -> Response:
        return FileResponse(_PAGE / name, media_type=media_type)

    return answer


async def _answered(work: Callable[[], object]) -> Response:
    """What work returns, or what was wrong with what was asked."""
    try:
        return JSONResponse(await run_in_threadpool(work))
    except SentinelError as error:
        return JSONResponse({"problem": str(error)}, 400)
