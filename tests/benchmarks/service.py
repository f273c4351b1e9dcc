"""The saved model behind HTTP, asked by other processes: processor time, waiting, two workers."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np

from recsys import Recommender
from tests.benchmarks.measure import Case, Row, alternate
from tests.benchmarks.serving import model_folder
from tests.served import Server, serving

CLIENTS, BUSY = 4, 0.7
# Asks at its moments, as seconds from the start (0 = at once), and prints how long each took.
CLIENT = """
import http.client, json, sys, time
port, users, moments = json.load(sys.stdin)
connection, taken = http.client.HTTPConnection("127.0.0.1", port), []
start = time.perf_counter()
for user, moment in zip(users, moments):
    wait = start + moment - time.perf_counter()
    if wait > 0:
        time.sleep(wait)
    asked = start + moment if moment else time.perf_counter()
    connection.request("GET", f"/v1/users/{user}/recommendations")
    connection.getresponse().read()
    taken.append(time.perf_counter() - asked)
json.dump(taken, sys.stdout)
"""


def ask(server: Server, users: list[int], rate: float | None = None) -> np.ndarray:
    """Ask for all users' lists, from several processes; return the seconds that each took.

    `rate` is of requests a second that come by chance (Poisson); None = one after the other.
    """
    rng, parts, running = np.random.default_rng(0), np.array_split(users, CLIENTS), []
    for part in parts:
        moments = np.zeros(len(part))
        if rate is not None:
            moments = np.cumsum(rng.exponential(CLIENTS / rate, len(part)))
        client = subprocess.Popen([sys.executable, "-c", CLIENT], stdin=subprocess.PIPE,
                                  stdout=subprocess.PIPE, text=True)  # fmt: skip
        json.dump([server.port, part.tolist(), moments.tolist()], client.stdin)
        client.stdin.close()
        running.append(client)
    answers = [json.loads(client.stdout.read()) for client in running]
    for client in running:
        client.stdout.close()
        client.wait()
    return np.concatenate(answers)


def processor_seconds(server: Server) -> float:
    """Return the processor time that the process of a service has used."""
    tasks = Path(f"/proc/{server.process.pid}/task").glob("*/schedstat")
    return sum(int(task.read_text().split()[0]) for task in tasks) / 1e9


def service(case: Case) -> list[Row]:
    """Ask a service of one worker, beside the library in this process, and one of two workers."""
    folder, size, n = model_folder(case), f"{case.n_items:,} items", 500 * case.repeats
    model = Recommender.load(folder, verify=False)
    users = np.random.default_rng(1).choice(model.users, n).tolist()
    store = f"sqlite:///{os.path.join(case.folder, 'events.db')}"
    with serving(folder, store) as server:
        ask(server, users)

        def of_service() -> None:
            ask(server, users)

        def of_library() -> None:
            for user in users:
                model.recommend(user)

        taken: dict[str, list[float]] = {"recsys": [], "library": []}
        for _ in range(case.repeats):
            before = processor_seconds(server)
            of_service()
            taken["recsys"].append(processor_seconds(server) - before)
            before = time.process_time()
            of_library()
            taken["library"].append(time.process_time() - before)
        alone = alternate({"recsys": of_service}, case.repeats, time.perf_counter)["recsys"]
        rate = BUSY * n / float(np.median(alone))
        waits = [ask(server, users, rate) for _ in range(case.repeats)]
    with serving(folder, store, "--workers", "2") as server:
        ask(server, users)
        both = alternate({"recsys": of_service}, case.repeats, time.perf_counter)["recsys"]
    ratios = (np.array(taken["recsys"]) / taken["library"]).tolist()
    tails = [float(np.percentile(wait, 99) / np.median(wait)) for wait in waits]
    each = {name: float(np.median(values)) / n for name, values in taken.items()}
    median = {"recsys": float(np.median(np.concatenate(waits)))}
    workers = {"recsys": float(np.median(both)), "one": float(np.median(alone))}
    found = [
        ("processor time a request / library", ratios, 1.6, each),
        (f"p99 / median at {BUSY:.0%} of capacity", tails, 3.0, median),
        ("seconds of two workers / of one", (both / alone).tolist(), 1 / 1.7, workers),
    ]
    return [Row("service", size, what, "x", *numbers, {}) for what, *numbers in found]


STAGES = {"service": service}
