"""Stand before the service: who may ask, how much, how long, and what is counted of it."""

from __future__ import annotations

import asyncio
import hmac
import logging
import os
import time
from ipaddress import ip_address
from typing import TYPE_CHECKING, Any

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    generate_latest,
    multiprocess,
)
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from recsys.serving.forms import problem

if TYPE_CHECKING:
    from collections.abc import Mapping

    from starlette.responses import Response
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

    from recsys.serving.live import Live

logger = logging.getLogger(__name__)

BODY, URL = 1 << 20, 1 << 14  # bytes
SECONDS = 10  # for a body to arrive
WAITING = 100  # requests of a worker at a time; more are told to come again
OPEN = ("/livez", "/readyz")
CLOSE = {"Connection": "close"}  # what else is on its way is not read
LOOPBACK = ("localhost", "127.0.0.1", "::1")
HEADERS = [
    (b"content-security-policy", b"default-src 'none'; script-src 'self'; style-src 'self'; "
     b"img-src 'self'; connect-src 'self'; manifest-src 'self'; base-uri 'none'; "
     b"form-action 'none'; frame-ancestors 'none'"),
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"same-origin"),
]  # fmt: skip


class Metrics:
    """What is counted, for Prometheus."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.counters: dict[tuple[str, str, int], tuple[Counter, Histogram]] = {}
        self.runs: set[tuple[str, str]] = set()
        given: Any = {"registry": self.registry}
        self.requests = Counter(
            "recsys_requests", "Requests by route, method and status",
            ["route", "method", "status"], **given,
        )  # fmt: skip
        self.seconds = Histogram(
            "recsys_request_seconds", "Time to answer, by route", ["route"],
            buckets=(0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1, 5), **given,
        )  # fmt: skip
        self.events = Counter("recsys_events_stored", "Events stored", **given)
        self.lists_lost = Counter("recsys_lists_lost", "Lists that could not be logged", **given)
        last: Any = given | {"multiprocess_mode": "mostrecent"}
        self.model = Gauge("recsys_model", "1 for the model in use", ["arm", "model"], **last)
        self.overlap = Gauge(
            "recsys_index_overlap", "Share of the exact top that the index finds", ["arm"], **last
        )
        self.updates = Gauge(
            "recsys_updates", "Updates by what became of them", ["outcome"], **last
        )
        self.swaps = Gauge("recsys_model_swaps", "Models replaced by this worker", **last)
        self.failures = Gauge("recsys_model_failures", "Models that could not be opened", **last)

    def count(self, route: str, method: str, status: int, seconds: float) -> None:
        """Count a request that was answered."""
        key = route, method, status
        if key not in self.counters:
            self.counters[key] = self.requests.labels(*key), self.seconds.labels(route)
        requests, taken = self.counters[key]
        requests.inc()
        taken.observe(seconds)

    def expose(self, live: Live, updates: Mapping[str, int]) -> bytes:
        """Return all numbers as text; of all workers where there are several."""
        for arm, served in live.served.items():
            self.overlap.labels(arm).set(served.model.about["ann"].get("overlap", 1.0))
        for outcome, n in updates.items():
            self.updates.labels(outcome).set(n)
        runs = {(arm, served.run) for arm, served in live.served.items()}
        self.runs |= runs
        for arm, run in self.runs:
            self.model.labels(arm, run).set((arm, run) in runs)
        self.swaps.set(live.n_swaps)
        self.failures.set(live.n_failures)
        registry = self.registry
        if "PROMETHEUS_MULTIPROC_DIR" in os.environ:
            registry = CollectorRegistry()
            multiprocess.MultiProcessCollector(registry)  # type: ignore[no-untyped-call]
        return generate_latest(registry)


class Gate:
    """Let through what is allowed, and answer the rest.

    Parameters
    ----------
    app : ASGI application
    metrics : Metrics
    token : bytes or None
        What a request must bear, except to the health checks.
    hosts : tuple of str or None
        Names under which the service may be asked; None = any. Keeps web pages that have their
        name point at this machine from asking a service without a token.
    """

    def __init__(
        self, app: ASGIApp, metrics: Metrics, token: bytes | None, hosts: tuple[str, ...] | None
    ) -> None:
        self.app, self.metrics, self.token, self.hosts = app, metrics, token, hosts
        self.n_waiting = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one connection of ASGI."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        started, status = time.perf_counter(), 500

        async def watched(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = [*message["headers"], *HEADERS]
                if _is_page(scope["path"]):  # or browsers mix the files of two versions
                    message["headers"].append((b"cache-control", b"no-cache"))
            await send(message)

        self.n_waiting += 1
        try:
            await asyncio.sleep(0)  # until all that has arrived is counted
            await self._handle(scope, receive, watched)
        finally:
            self.n_waiting -= 1
            route = getattr(scope.get("route"), "path", "other")
            self.metrics.count(route, scope["method"], status, time.perf_counter() - started)

    async def _handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        refused = self._refuse(scope)
        if refused is None and scope["method"] not in ("GET", "HEAD"):
            try:
                async with asyncio.timeout(SECONDS):
                    receive = await _whole(receive)
            except TimeoutError:
                refused = problem(408, f"the body did not arrive within {SECONDS} s", CLOSE)
            except OverflowError:
                refused = problem(413, f"a body has at most {BODY:,} bytes: send several", CLOSE)
        if refused is not None:
            await refused(scope, receive, send)
            return
        raw = scope.get("raw_path", b"")
        if raw.startswith(b"/v1/"):  # an id may hold a slash: routes see it percent-encoded
            scope["path"] = raw.decode("ascii", "replace")
        await self.app(scope, receive, send)

    def _refuse(self, scope: Scope) -> Response | None:
        if self.n_waiting > WAITING:
            return problem(503, "too many requests are waiting", {"Retry-After": "1"})
        if len(scope.get("raw_path", b"")) + len(scope["query_string"]) > URL:
            return problem(414, f"a URL has at most {URL:,} bytes: POST takes longer lists")
        headers = dict(scope["headers"])
        host = headers.get(b"host", b"").decode("latin-1").lower()
        if self.hosts is not None and _name(host) not in self.hosts:
            return problem(421, f"this service is not called {host!r}: ask for localhost")
        is_open = scope["path"] in OPEN or _is_page(scope["path"])
        if self.token is not None and not is_open:
            given = headers.get(b"authorization", b"").split(b" ", 1)
            if len(given) < 2 or given[0].lower() != b"bearer" or not hmac.compare_digest(
                given[1].strip(), self.token
            ):  # fmt: skip
                wanted = {"WWW-Authenticate": "Bearer"}
                return problem(401, "send the header Authorization: Bearer TOKEN", wanted)
        length = headers.get(b"content-length", b"0")
        if length.isdigit() and int(length[:20]) > BODY:
            return problem(413, f"a body has at most {BODY:,} bytes: send several", CLOSE)
        return None


class Protocol(HttpToolsProtocol):
    """HTTP as uvicorn speaks it; slow headers end a connection, and all errors are problems."""

    timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Wait for a first request."""
        super().connection_made(transport)
        self._wait()

    def on_message_begin(self) -> None:
        """Wait for the rest of the headers."""
        super().on_message_begin()
        self._wait()

    def on_headers_complete(self) -> None:
        """Let the request take its time."""
        self._stop_waiting()
        super().on_headers_complete()

    def connection_lost(self, exc: Exception | None) -> None:
        """Wait for nothing any more."""
        self._stop_waiting()
        super().connection_lost(exc)

    def send_400_response(self, msg: str) -> None:
        """Answer what is not HTTP, or has a URL of more than 64 KB."""
        answer = problem(400, f"{msg} A URL has at most {URL:,} bytes.", CLOSE)
        headers = [b"%s: %s\r\n" % pair for pair in (*answer.raw_headers, *HEADERS)]
        self.transport.write(b"".join([STATUS_LINE[400], *headers, b"\r\n", answer.body]))
        self.transport.close()

    def _wait(self) -> None:
        self._stop_waiting()
        self.timer = self.loop.call_later(SECONDS, self.transport.close)

    def _stop_waiting(self) -> None:
        if self.timer is not None:
            self.timer.cancel()


def is_loopback(host: str) -> bool:
    """Tell whether only this machine reaches an address."""
    try:
        return host.lower() == "localhost" or ip_address(host).is_loopback
    except ValueError:
        return False


def _is_page(path: str) -> bool:
    """Tell whether a path is a file of the page, which itself asks for the token."""
    return path in ("/", "/favicon.ico") or path.startswith("/page/")


def _name(host: str) -> str:
    """Return the name in a Host header, without the port."""
    return host[1:].split("]")[0] if host.startswith("[") else host.rsplit(":", 1)[0]


async def _whole(receive: Receive) -> Receive:
    """Read a body whole, or raise OverflowError; return what gives it again."""
    parts, n, more = [], 0, True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            break
        parts.append(message.get("body", b""))
        n, more = n + len(parts[-1]), message.get("more_body", False)
        if n > BODY:
            raise OverflowError
    body: Message = {"type": "http.request", "body": b"".join(parts), "more_body": False}
    given = False

    async def again() -> Message:
        nonlocal given
        if given:
            return await receive()
        given = True
        return body

    return again
