"""Answer HTTP: the routes of the service; see README.md beside this file."""

from __future__ import annotations

import asyncio
import logging
import sqlite3
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote

import prometheus_client
import sqlalchemy as sa
from fastapi import APIRouter, FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.staticfiles import StaticFiles
from starlette.exceptions import HTTPException
from starlette.responses import FileResponse, HTMLResponse, PlainTextResponse, Response
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from recsys import __version__
from recsys.data.columns import take
from recsys.errors import ColdUserError, DataError, UnknownItemError, UnknownUserError
from recsys.recommendations import Recommendations
from recsys.serving import answers, forms
from recsys.serving.forms import answer, parameters, problem, read_id, read_query
from recsys.serving.gate import Gate, Metrics
from recsys.serving.live import Arm, Live, Served
from recsys.serving.store import Store, is_full

logger = logging.getLogger(__name__)

PAGE = Path(__file__).with_name("page")
FLUSH = 0.5  # seconds between writes of logged lists
MOST_LISTS = 10_000  # lists that wait to be logged
SHOWN_EVENTS = 100


@dataclass
class Service:
    """What the routes share in one worker."""

    live: Live
    store: Store
    metrics: Metrics = field(default_factory=Metrics)
    lists: list[dict[str, Any]] = field(default_factory=list)
    making_map: asyncio.Lock = field(default_factory=asyncio.Lock)

    async def read(self, function: Callable[..., Any], *given: Any) -> Any:
        """Ask the store: SQLite here, in microseconds; PostgreSQL in a thread."""
        if self.store.is_sqlite:
            return function(*given)
        return await asyncio.to_thread(function, *given)

    async def known(self, user: str) -> tuple[str, Served, answers.Known]:
        """Return a user's arm, its model, and what is known of them."""
        stored = await self.read(self.store.events_of, user)
        arm, served = self.live.of_user(user)
        return arm, served, answers.known_of(served, user, stored)

    def log_list(self, arm: str, served: Served, user: str, item_ids: Any) -> None:
        """Keep a list to be logged with the next ones."""
        if len(self.lists) >= MOST_LISTS:
            self.metrics.lists_lost.inc()
            return
        self.lists.append({
            "time": int(time.time()), "experiment": self.live.experiment, "arm": arm,
            "model": served.run, "user_id": user, "items": [str(one) for one in item_ids],
        })  # fmt: skip

    async def flush(self) -> None:
        """Write the lists that wait, in a thread."""
        lists, self.lists = self.lists, []
        if not lists:
            return
        try:
            await asyncio.to_thread(self.store.add_lists, lists)
        except sa.exc.SQLAlchemyError as error:
            self.metrics.lists_lost.inc(len(lists))
            logger.warning("%d lists are not logged: %s", len(lists), _cause(error))

    async def map_of(self, served: Served) -> bytes:
        """Return the map of a model as JSON; the first time it is made, in a thread."""
        async with self.making_map:
            return await asyncio.to_thread(lambda: served.catalogue.map_json)

    async def flush_again_and_again(self) -> None:
        """Write logged lists every now and then."""
        while True:
            await asyncio.sleep(FLUSH)
            await self.flush()


# ---- routes

PROBLEM: dict[str, Any] = {
    "description": "What was wrong, and what to do",
    "content": {"application/problem+json": {"schema": forms.Problem.model_json_schema()}},
}
ROUTES = APIRouter()


def _service(request: Request) -> Service:
    """Find the service; as a dependency of FastAPI it would take a tenth of the time of a list."""
    service: Service = request.app.state.service
    return service


class _Direct(Route):
    """A route without what FastAPI does for arguments, which takes a fifth of a list's time."""

    async def handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer, and let it be counted."""
        scope["route"] = self
        await super().handle(scope, receive, send)


def _listed(served: Served, user: Any, found: Recommendations) -> dict[str, Any]:
    items = [row._asdict() for row in found]
    return {"user_id": user, "model": served.run, "items": items}


@ROUTES.get(
    "/v1/users/{id}/recommendations", response_model=forms.List,
    openapi_extra=parameters(forms.UserWanted, path=True),
)  # fmt: skip
async def recommend(request: Request) -> Response:
    """Recommend items to a user; their stored events count at once."""
    service = _service(request)
    user, wanted = read_id(request), read_query(forms.UserWanted, request)
    arm, served, known = await service.known(user)
    found = answers.recommend(served, user, known, wanted)
    is_trial = request.headers.get("referer", "").endswith("/docs")
    if not is_trial if wanted.log is None else wanted.log:
        service.log_list(arm, served, user, found.item_ids.tolist())
    return answer(_listed(served, served.user(user), found))


@ROUTES.post("/v1/recommendations", response_model=forms.List)
async def recommend_for(asked: forms.Asked, request: Request) -> Response:
    """Recommend to a visitor by their history, or by what they like and dislike.

    `point` asks for their place on the map: the mean of the places of these items, weighted as in
    the user vector. `explain` splits the score of an item.
    """
    service = _service(request)
    served = service.live.first
    taste = answers.taste_of(served, asked)
    found = _listed(served, None, answers.recommend_for(served, taste, asked))
    if asked.point:
        await service.map_of(served)
        found["point"] = answers.place_of(served, taste)
    if asked.explain is not None:
        found["explanation"] = await asyncio.to_thread(
            answers.explain, served, taste, asked.explain
        )
    return answer(found)


@ROUTES.get("/v1/items", response_model=forms.Items, openapi_extra=parameters(forms.Search))
async def search(request: Request) -> Response:
    """Search items by the beginnings of words, most watched first; without words, all."""
    service = _service(request)
    asked = read_query(forms.Search, request)
    return answer({"items": service.live.first.catalogue.search(asked.search, asked.k)})


@ROUTES.get("/v1/items/{id}", response_model=forms.Item, openapi_extra=parameters(path=True))
async def item(request: Request) -> Response:
    """Tell what is known of an item."""
    service = _service(request)
    served = service.live.first
    row = served.model.tables.item_row(served.item(read_id(request)))
    return answer(served.catalogue.item(row))


@ROUTES.get(
    "/v1/items/{id}/similar", response_model=forms.List,
    openapi_extra=parameters(forms.Length, path=True),
)  # fmt: skip
async def similar(request: Request) -> Response:
    """List the items that could replace one."""
    service = _service(request)
    served, asked = service.live.first, read_query(forms.Length, request)
    item = served.item(read_id(request))
    served.model.tables.item_row(item)  # a title is no id
    found = await asyncio.to_thread(served.model.similar_items, item, asked.k, None)
    return answer(_listed(served, None, found))


@ROUTES.get("/v1/users/{id}", response_model=forms.User, openapi_extra=parameters(path=True))
async def user(request: Request) -> Response:
    """Tell what is known of a user."""
    service = _service(request)
    user = read_id(request)
    stored = await service.read(service.store.events_of, user)
    arm, served = service.live.of_user(user)
    row, known = served.user_row(user), answers.known_of(served, user, stored)
    if row is None and not stored:
        raise UnknownUserError(f"unknown user {user!r}: no model and no stored event has them")
    events = []
    newest = [*zip(stored, known.learned, strict=True)][: -SHOWN_EVENTS - 1 : -1]
    for (item, moment, rating, kind), learned in newest:
        item_row = served.item_row(item)
        title = None if item_row is None else served.catalogue.title(item_row)
        events.append({
            "item_id": served.item(item), "title": title, "timestamp": moment,
            "rating": rating, "kind": kind, "learned": learned,
        })  # fmt: skip
    return answer({
        "user_id": served.user(user), "model": served.run, "arm": arm, "in_model": row is not None,
        "n_in_model": answers.n_learned(served, user), "n_stored": len(stored), "events": events,
    })  # fmt: skip


@ROUTES.delete(
    "/v1/users/{id}", response_model=forms.Forgotten, openapi_extra=parameters(path=True)
)
async def forget(request: Request) -> Response:
    """Forget a user in the store; a model keeps what it has learned until it is trained again."""
    service = _service(request)
    user = read_id(request)
    await asyncio.sleep(2 * FLUSH)  # until every worker has written the lists that wait
    gone = await asyncio.to_thread(service.store.forget_user, user)
    remains = {s.run: answers.n_learned(s, user) for s in service.live.served.values()}
    note = "nothing of this user is left"
    if any(remains.values()):
        note = "models keep these events until they are trained again (recsys train) without them"
    return answer(
        {"user_id": service.live.first.user(user), **gone, "remains": remains, "note": note}
    )


@ROUTES.post("/v1/events", response_model=forms.Stored)
async def events(posted: forms.Event | forms.Events, request: Request) -> Response:
    """Store one event or many; the answer comes when they are on the disk.

    Sending an `event_id` again changes nothing. `stored` counts those that are new.
    """
    service = _service(request)
    rows = [one.as_row() for one in (posted if isinstance(posted, list) else [posted])]
    stored = await asyncio.to_thread(service.store.add_events, rows) if rows else 0
    service.metrics.events.inc(stored)
    return answer({"stored": stored})


@ROUTES.get("/v1/about", response_model=forms.About)
async def about(request: Request) -> Response:
    """Tell what the items of the model have: genres, years, columns to filter by."""
    service = _service(request)
    return answer(service.live.first.catalogue.about)


@ROUTES.get("/v1/map", response_model=forms.Map)
async def map(request: Request) -> Response:
    """Return a map of the most watched items: the two directions of largest variance."""
    service = _service(request)
    served = service.live.first
    headers = {"ETag": f'"{served.run}"', "Cache-Control": "private, no-cache"}
    if request.headers.get("if-none-match") == headers["ETag"]:
        return Response(status_code=304, headers=headers)
    return Response(await service.map_of(served), 200, headers, "application/json")


@ROUTES.get("/livez", response_model=forms.Health)
async def livez() -> Response:
    """Tell that the process answers."""
    return answer({"status": "alive"})


@ROUTES.get("/readyz", response_model=forms.Health)
async def readyz(request: Request) -> Response:
    """Tell that there is a model, and that the store answers."""
    service = _service(request)
    await service.read(service.store.ping)
    return answer({"status": "ready"})


@ROUTES.get("/metrics", response_class=PlainTextResponse)
async def metrics(request: Request) -> Response:
    """Count requests, their time, events, and models, for Prometheus."""
    service = _service(request)
    counts = await service.read(service.store.count_updates)
    text = service.metrics.expose(service.live, counts)
    return Response(text, media_type=prometheus_client.CONTENT_TYPE_LATEST)


@ROUTES.get("/", include_in_schema=False)
async def page() -> Response:
    """Show the page."""
    return FileResponse(PAGE / "index.html")


@ROUTES.get("/docs", include_in_schema=False)
async def docs(request: Request) -> Response:
    """Describe the routes for people."""
    service = _service(request)
    served = service.live.first
    tables = served.model.tables
    first = [quote(str(take(ids[:1])[0]), safe="") for ids in (tables.user_ids, tables.item_ids)]
    examples = {
        path: path.replace("{id}", first["items" in path])
        for path in request.app.openapi()["paths"]
    }
    return HTMLResponse(forms.describe(request.app.openapi(), examples))


@ROUTES.get("/favicon.ico", include_in_schema=False)
async def favicon() -> Response:
    """Show the picture of the page, wherever a browser asks for one."""
    return FileResponse(PAGE / "favicon.svg", media_type="image/svg+xml")


# ---- errors


def _handle_errors(app: FastAPI) -> None:
    """Answer every error as application/problem+json."""

    async def on_http(_: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)
        headers = dict(error.headers or {})
        return problem(error.status_code, str(error.detail), headers)

    async def on_invalid(_: Request, error: Exception) -> Response:
        assert isinstance(error, RequestValidationError)
        return problem(422, _what_is_wrong(error))

    async def on_unknown(_: Request, error: Exception) -> Response:
        return problem(404, str(error))

    async def on_value(_: Request, error: Exception) -> Response:
        return problem(422, str(error))

    async def on_store(_: Request, error: Exception) -> Response:
        if is_full(error):
            return problem(507, "the disk of the store is full: nothing was stored")
        logger.error("the store failed: %s", _cause(error))
        return problem(503, "the store does not answer", {"Retry-After": "5"})

    async def on_any(_: Request, error: Exception) -> Response:
        return problem(500, "something failed here; the log of the service says what")

    app.add_exception_handler(HTTPException, on_http)
    app.add_exception_handler(RequestValidationError, on_invalid)
    app.add_exception_handler(UnknownUserError, on_unknown)
    app.add_exception_handler(UnknownItemError, on_unknown)
    app.add_exception_handler(ColdUserError, on_unknown)
    app.add_exception_handler(DataError, on_value)
    app.add_exception_handler(sa.exc.SQLAlchemyError, on_store)
    app.add_exception_handler(sqlite3.Error, on_store)
    app.add_exception_handler(Exception, on_any)


def _what_is_wrong(error: RequestValidationError) -> str:
    """Say in a line where a request is wrong, and how."""
    said = []
    for one in error.errors()[:5]:
        place = ".".join(str(part) for part in one["loc"])
        said.append(f"{place}: {one['msg']}")
    return "; ".join(said)


def _cause(error: BaseException) -> str:
    """Name what a database said, without the statement and its values, which are of users."""
    return type(getattr(error, "orig", None) or error).__name__


def make_app(
    arms: list[Arm],
    store_url: str,
    *,
    experiment: str = "ab",
    token: str | None = None,
    hosts: tuple[str, ...] | None = None,
) -> Gate:
    """Make the ASGI application of one worker.

    Parameters
    ----------
    arms : list of Arm
        One, or those to compare.
    store_url, experiment : str
    token, hosts
        As in `recsys.serving.gate.Gate`.
    """
    service = Service(Live(arms, experiment), Store(store_url))

    @asynccontextmanager
    async def running(app: FastAPI) -> AsyncIterator[None]:
        tasks = [
            asyncio.create_task(service.live.watch()),
            asyncio.create_task(service.flush_again_and_again()),
        ]
        yield
        for task in tasks:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task
        await service.flush()
        service.store.close()

    app = FastAPI(
        title="recsys", version=__version__, lifespan=running, docs_url=None, redoc_url=None,
        description="Recommendations that know the latest events. Ids are numbers or text.",
        responses={"4XX": PROBLEM, "5XX": PROBLEM},
    )  # fmt: skip
    app.state.service = service
    _handle_errors(app)
    app.router.routes.insert(0, _Direct("/v1/users/{id}/recommendations", recommend))
    app.include_router(ROUTES)
    app.mount("/page", StaticFiles(directory=PAGE, check_dir=False), name="page")
    return Gate(app, service.metrics, None if token is None else token.encode(), hosts)
