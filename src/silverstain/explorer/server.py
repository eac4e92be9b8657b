"""The server of the explorer: the page, the graphs of one folder, and the stories beside them.

What is let in is said in `access`: this machine alone, or whoever has the token.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles

from silverstain.errors import UsageError
from silverstain.explorer.access import HEADER, SAFE, LetIn
from silverstain.explorer.bundle import STATIC
from silverstain.explorer.examples import examples_of
from silverstain.explorer.exporting import exported_json
from silverstain.explorer.folder import NotInFolder, compared, document_of, graphs_in, inside, keep_story
from silverstain.explorer.jobs import Jobs
from silverstain.explorer.listing import listing_html
from silverstain.explorer.live import Live
from silverstain.explorer.openapi import openapi
from silverstain.explorer.pages import page_html
from silverstain.explorer.study_files import ALONE, studies_in, study_page
from silverstain.explorer.taking import take_graph
from silverstain.explorer.work import answered, json_of
from silverstain.printable import printable

LARGEST_STORY = 32 << 20


def application(folder: Path, live: Live | None = None, token: str | None = None) -> Starlette:
    """The server of one folder, and of the models that its page may run; with a `token`, for all who give it. Its
    `state.jobs` is the work that is done and waits."""
    folder, live, jobs = folder.resolve(), live or Live(), Jobs()

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        try:
            yield
        finally:
            await run_in_threadpool(jobs.close)

    def file_of(request: Request) -> Path:
        return inside(folder, request.query_params.get("graph", ""))

    async def start(_: Request) -> Response:
        listed = await run_in_threadpool(graphs_in, folder)
        asked = await run_in_threadpool(studies_in, folder)
        offers = live.offers
        return HTMLResponse(listing_html(folder, listed, offers, examples_of(offers), asked), headers=SAFE)

    async def work(request: Request) -> Response:
        return await answered(request, folder, live, jobs, SAFE, request.headers.get(HEADER, ""))

    async def models(_: Request) -> Response:
        return JSONResponse([asdict(offer) for offer in live.offers], headers=SAFE)

    async def view(_: Request) -> Response:
        return HTMLResponse((STATIC / "index.html").read_text(encoding="utf-8"), headers=SAFE)

    async def document(request: Request) -> Response:
        return JSONResponse(await run_in_threadpool(document_of, file_of(request)), headers=SAFE)

    async def page(request: Request) -> Response:
        file = file_of(request)
        text = await run_in_threadpool(lambda: page_html(document_of(file)))
        return HTMLResponse(text, headers=_attached(file.stem, "html") | {"x-content-type-options": "nosniff"})

    async def story(request: Request) -> Response:
        file = file_of(request)
        written = await json_of(request, LARGEST_STORY, "the story")
        beside = await run_in_threadpool(keep_story, file, written)
        return JSONResponse({"written": beside.name}, headers=SAFE)

    async def take(request: Request) -> Response:
        kept = await take_graph(folder, request.query_params.get("name", ""), request.stream())
        return JSONResponse({"graph": kept.name}, headers=SAFE)

    async def graph_json_of(request: Request) -> Response:
        file = file_of(request)
        text = await run_in_threadpool(exported_json, file)
        return Response(text, media_type="application/json", headers=SAFE | _attached(file.stem, "json"))

    async def graphs(_: Request) -> Response:
        listed = await run_in_threadpool(graphs_in, folder)
        return JSONResponse([asdict(one) for one in listed], headers=SAFE)

    async def studies(_: Request) -> Response:
        listed = await run_in_threadpool(studies_in, folder)
        return JSONResponse([asdict(one) for one in listed], headers=SAFE)

    async def study(request: Request) -> Response:
        text = await run_in_threadpool(study_page, folder, request.query_params.get("report", ""))
        return HTMLResponse(text, headers=SAFE | {"content-security-policy": ALONE})

    async def compare(request: Request) -> Response:
        files = [inside(folder, request.query_params.get(side, "")) for side in ("left", "right")]
        return JSONResponse(await run_in_threadpool(compared, *files), headers=SAFE)

    async def description(_: Request) -> Response:
        return JSONResponse(await run_in_threadpool(openapi), headers=SAFE)

    served = Starlette(
        routes=[
            Route("/", start),
            Route("/view", view),
            Route("/study", study),
            Route("/api/document", document),
            Route("/api/page", page),
            Route("/api/json", graph_json_of),
            Route("/api/graph", take, methods=["POST"]),
            Route("/api/story", story, methods=["PUT"]),
            Route("/api/work", work, methods=["POST"]),
            Route("/api/models", models),
            Route("/api/graphs", graphs),
            Route("/api/studies", studies),
            Route("/api/compare", compare),
            Route("/api/openapi.json", description),
            Mount("/static", _Static(directory=STATIC)),
        ],
        middleware=[Middleware(LetIn, token=token)],
        exception_handlers={UsageError: _mistake},
        lifespan=lifespan,
    )
    served.state.jobs = jobs
    return served


def _attached(stem: str, ending: str) -> dict[str, str]:
    """The header by which a browser keeps an answer as a file."""
    name = "".join(letter if letter.isascii() and (letter.isalnum() or letter in "._-") else "-" for letter in stem)
    return {"content-disposition": f'attachment; filename="{name}.{ending}"'}


class _Static(StaticFiles):
    """The page's modules, asked for again at each visit: they are small, and a new version must not meet an old one."""

    def file_response(self, *args: Any, **kwargs: Any) -> Response:
        response = super().file_response(*args, **kwargs)
        response.headers.update({"cache-control": "no-cache", "x-content-type-options": "nosniff"})
        return response


def _mistake(_: Request, error: Exception) -> Response:
    status = 404 if isinstance(error, NotInFolder) else 400
    return JSONResponse({"error": printable(str(error), 1000)}, status_code=status, headers=SAFE)
