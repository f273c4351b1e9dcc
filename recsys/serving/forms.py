"""Describe what the service takes and answers; outside data is checked here."""

from __future__ import annotations

import json
import time
from datetime import UTC, datetime
from html import escape
from typing import Annotated, Any, Literal, TypeVar
from urllib.parse import unquote

from fastapi.exceptions import RequestValidationError
from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    WithJsonSchema,
)
from starlette.requests import Request
from starlette.responses import Response

from recsys.errors import DataError

ID_LENGTH = 500  # characters; an index of PostgreSQL takes no longer entries
MOST_IDS, MOST_HISTORY, MOST_EVENTS, MOST_K = 10_000, 1_000, 1_000, 1_000
IN_URL = 100  # ids that a URL may hold
DAY = 86_400


def check_id(value: Any) -> str:
    """Return an id, a whole number or text, as text; ValueError for one that no database takes."""
    if not isinstance(value, int | str) or isinstance(value, bool):
        raise ValueError("an id is a whole number or text")
    text = str(value)
    if not 1 <= len(text) <= ID_LENGTH:
        raise ValueError(f"an id has 1 to {ID_LENGTH} characters")
    if "\0" in text or (not text.isascii() and any("\ud800" <= c <= "\udfff" for c in text)):
        raise ValueError("an id holds neither NUL nor half of a surrogate pair")
    return text


_ID_SCHEMA = {
    "anyOf": [{"type": "integer"}, {"type": "string", "minLength": 1, "maxLength": ID_LENGTH}]
}
Id = Annotated[str, BeforeValidator(check_id), WithJsonSchema(_ID_SCHEMA)]
Ids = Annotated[list[Id], Field(max_length=MOST_IDS)]
History = Annotated[list[Id], Field(max_length=MOST_HISTORY)]


def check_time(value: Any) -> int:
    """Return seconds since 1970, or raise ValueError; ahead of the clock by a day at most."""
    if isinstance(value, str):
        try:
            moment = datetime.fromisoformat(value)
        except ValueError:
            raise ValueError("a time is seconds since 1970 or ISO 8601 text") from None
        value = (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if not (is_number and 1 <= value < time.time() + DAY):
        raise ValueError("a time lies between 1970 and a day from now, in seconds since 1970")
    return int(value)


_TIME_SCHEMA = {
    "anyOf": [{"type": "number", "minimum": 1}, {"type": "string", "format": "date-time"}]
}
Form = TypeVar("Form", bound=BaseModel)
Time = Annotated[int, BeforeValidator(check_time), WithJsonSchema(_TIME_SCHEMA)]


class _Form(BaseModel):
    model_config = ConfigDict(extra="forbid")


class Event(_Form):
    """What a user did with an item."""

    user_id: Id
    item_id: Id
    timestamp: Time | None = Field(None, description="seconds since 1970 or ISO 8601; else now")
    rating: float | None = Field(None, ge=0, allow_inf_nan=False)
    kind: Annotated[str, Field(strict=True), AfterValidator(check_id)] = Field(
        "view", max_length=50, description='any word; "dislike" is subtracted and never learned'
    )
    event_id: Id | None = Field(None, description="makes sending again harmless")

    def as_row(self) -> dict[str, Any]:
        """Return the event as the store keeps it."""
        moment = int(time.time()) if self.timestamp is None else self.timestamp
        row = self.model_dump(include={"user_id", "item_id", "rating", "kind", "event_id"})
        return row | {"time": moment}


Events = Annotated[list[Event], Field(max_length=MOST_EVENTS)]


class Wanted(_Form):
    """Filters and dials of a list, as in `recsys.Recommender.recommend`."""

    k: int = Field(10, ge=1, le=MOST_K)
    where: str | None = Field(None, max_length=10_000, description="such as year >= 1990")
    allow: Ids | None = None
    block: Ids | None = None
    watched: bool = False
    popularity: float = Field(1.0, ge=0, allow_inf_nan=False)
    diversity: float = Field(0.0, ge=0, le=1)
    reasons: bool = False
    fallback: Literal["popularity"] | None = Field(
        None, description="what somebody gets of whom nothing is known that has a vector"
    )


class UserWanted(Wanted):
    """A list for a user."""

    allow: Annotated[list[Id], Field(max_length=IN_URL)] | None = None
    block: Annotated[list[Id], Field(max_length=IN_URL)] | None = None
    log: bool | None = Field(
        None, description="whether to log the list for comparing models; yes, but not from /docs"
    )


class Search(_Form):
    """Words, and how many items."""

    search: str = Field("", max_length=200, description="beginnings of words of titles")
    k: int = Field(20, ge=1, le=MOST_K)


class Length(_Form):
    """How many items."""

    k: int = Field(10, ge=1, le=MOST_K)


class Asked(Wanted):
    """A visitor's history, oldest first, or what they like and dislike; filters and dials."""

    history: History = []
    liked: History = []
    disliked: History = []
    explain: Id | None = Field(None, description="an item whose score is split")
    point: bool = Field(False, description="whether to answer the place on the map")


def parameters(form: type[BaseModel] | None = None, *, path: bool = False) -> dict[str, Any]:
    """Describe what a route reads of its URL, as `openapi_extra` of FastAPI."""
    found: list[dict[str, Any]] = []
    if path:
        schema = {"type": "string", "minLength": 1, "maxLength": ID_LENGTH}
        found.append({"name": "id", "in": "path", "required": True, "schema": schema})
    for name, schema in form.model_json_schema()["properties"].items() if form else ():
        found.append({"name": name, "in": "query", "required": False, "schema": schema})
    return {"parameters": found}


def read_query(form: type[Form], request: Request) -> Form:
    """Read the query of a URL; FastAPI's own way takes twice as long as a list does.

    Raises
    ------
    RequestValidationError
    """
    given: dict[str, Any] = {}
    for name, text in request.query_params.multi_items():
        if name in ("allow", "block"):
            given.setdefault(name, []).append(text)
        else:
            given[name] = text
    try:
        return form.model_validate(given)
    except ValidationError as error:
        wrong = [{**one, "loc": ("query", *one["loc"])} for one in error.errors(include_url=False)]
        raise RequestValidationError(wrong) from None


def read_id(request: Request) -> str:
    """Decode the id of a path, which may hold anything; DataError if it is none."""
    try:
        return check_id(unquote(request.path_params["id"], errors="strict"))
    except ValueError as error:
        raise DataError(f"the path holds no id: {error}") from None


OutId = int | str


class Listed(BaseModel):
    """One place of a list."""

    rank: int
    item_id: OutId
    title: str | None
    score: float
    reason: str | None


class Share(BaseModel):
    """What one item says of a score; `item_id` is null for popularity."""

    item_id: OutId | None
    title: str | None
    contribution: float
    share: float


class Explanation(BaseModel):
    """A score split into shares that sum to it."""

    item_id: OutId
    score: float
    shares: list[Share]


class List(BaseModel):
    """A ranked list, best first."""

    user_id: OutId | None
    model: str
    items: list[Listed]
    point: list[float] | None = Field(None, min_length=2, max_length=2)
    explanation: Explanation | None = None


class Item(BaseModel):
    """What is known of an item."""

    item_id: OutId
    title: str | None
    n_events: int
    genres: list[str] | None = None
    year: float | None = None


class Items(BaseModel):
    """Items that a search found."""

    items: list[Item]


class KnownEvent(BaseModel):
    """A stored event."""

    item_id: OutId
    title: str | None
    timestamp: int
    rating: float | None
    kind: str
    learned: bool = Field(description="whether the model has learned it")


class User(BaseModel):
    """What is known of a user."""

    user_id: OutId
    model: str
    arm: str
    in_model: bool
    n_in_model: int = Field(description="events that the model has learned")
    n_stored: int = Field(description="events in the store")
    events: list[KnownEvent] = Field(description="the newest stored ones, newest first")


class Forgotten(BaseModel):
    """What was deleted of a user, and what remains."""

    user_id: OutId
    events: int
    lists: int
    remains: dict[str, int] = Field(description="events in each model, until trained again")
    note: str


class Stored(BaseModel):
    """How many events are stored that were not before."""

    stored: int


class Map(BaseModel):
    """Places of items in two dimensions, column by column, most watched first."""

    model: str
    item_ids: list[OutId]
    titles: list[str | None]
    x: list[float]
    y: list[float]
    n_events: list[int]
    group: list[int | None]
    groups: list[str]


class About(BaseModel):
    """What a page needs to know of the model."""

    model: str
    n_items: int
    n_users: int
    has_titles: bool
    genres: list[str]
    years: list[float] | None
    columns: list[str]
    dials: dict[str, dict[str, float]]


class Health(BaseModel):
    """Whether the service is alive, or ready."""

    status: str


class Problem(BaseModel):
    """An error (RFC 9457)."""

    type: str
    title: str
    status: int
    detail: str


def answer(content: Any, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    """Answer JSON; the numbers of numpy are not JSON and raise."""
    text = json.dumps(content, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    body = text.encode("utf-8", "replace")
    return Response(body, status, headers, media_type="application/json")


TITLES = {
    400: "Bad request", 401: "Token wanted", 403: "Not allowed", 404: "Not found",
    405: "Method not allowed", 408: "Too slow", 413: "Too large", 414: "URL too long",
    415: "Not JSON", 421: "Wrong host", 422: "Cannot be read", 500: "Failed",
    503: "Not available now", 507: "Disk full",
}  # fmt: skip


def problem(status: int, detail: str, headers: dict[str, str] | None = None) -> Response:
    """Answer an error as application/problem+json."""
    title = TITLES.get(status, "Error")
    content = {"type": "about:blank", "title": title, "status": status, "detail": detail}
    body = json.dumps(content).encode()
    return Response(body, status, headers, media_type="application/problem+json")


def describe(openapi: dict[str, Any], examples: dict[str, str]) -> str:
    """Write the description of the routes as a page without scripts, to read and to try.

    `examples` are paths to try, by the path of their route.
    """
    lines = [
        '<!doctype html><html lang="en"><meta charset="utf-8"><meta name="color-scheme" '
        'content="light dark"><meta name="viewport" content="width=device-width">'
        f"<title>{escape(openapi['info']['title'])}: API</title>"
        '<link rel="stylesheet" href="page/style.css">',
        f"<h1>API</h1><p>{escape(openapi['info']['description'])} Errors are "
        'application/problem+json. For programs: <a href="/openapi.json">openapi.json</a>.</p>',
    ]
    for path, methods in openapi["paths"].items():
        for method, about in methods.items():
            lines.append(f"<h2><code>{method.upper()} {escape(path)}</code></h2>")
            lines.append(f"<p>{escape(about.get('description', ''))}</p>")
            if method == "get" and path in examples:
                example = escape(examples[path])
                lines.append(f'<p>Try <a href="{example}"><code>{example}</code></a></p>')
            lines += _fields(_parameters(about, openapi))
    return "\n".join([*lines, "</html>"])


def _parameters(about: dict[str, Any], openapi: dict[str, Any]) -> dict[str, Any]:
    """Return the schemas of what a route takes, by name: parameters, or fields of the body."""
    taken: dict[str, Any] = {
        one["name"]: one["schema"] | one for one in about.get("parameters", ())
    }
    body = about.get("requestBody", {}).get("content", {}).get("application/json", {})
    schema = body.get("schema", {})
    schema = schema.get("anyOf", [schema])[0]
    name = schema.get("$ref", "").rsplit("/", 1)[-1]
    return {**taken, **openapi["components"]["schemas"].get(name, {}).get("properties", {})}


def _fields(fields: dict[str, Any]) -> list[str]:
    if not fields:
        return []
    rows = []
    for name, schema in fields.items():
        kinds = {one.get("type", "") for one in schema.get("anyOf", [schema])} - {"null", ""}
        usual = schema.get("default")
        note = schema.get("description", "")
        note += f" (default: {json.dumps(usual)})" if usual is not None else ""
        cells = (f"<code>{escape(name)}</code>", " or ".join(sorted(kinds)), escape(note))
        rows.append("".join(f"<td>{cell}</td>" for cell in cells))
    return ["<table>", *(f"<tr>{row}</tr>" for row in rows), "</table>"]
