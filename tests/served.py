"""Run `recsys serve` as a process, and ask it."""

from __future__ import annotations

import http.client
import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from contextlib import contextmanager, suppress


class Server:
    """`recsys serve` as a process, on a free port of loopback."""

    def __init__(self, folder, store, *options):
        words = [sys.executable, "-m", "recsys", "serve", "--store", store, "--port", "0"]
        models = folder if isinstance(folder, list) else [folder]
        words += [word for one in models for word in ("--model", str(one))]
        self.process = subprocess.Popen([*words, *options], stderr=subprocess.PIPE, text=True,
                                        start_new_session=True)  # fmt: skip
        self.log = []
        for line in self.process.stderr:
            self.log.append(line)
            if found := re.search(r"http://127.0.0.1:(\d+)/", line):
                self.port = int(found[1])
                break
        else:
            raise AssertionError("".join(self.log))
        self.reading = threading.Thread(target=lambda: self.log.extend(self.process.stderr))
        self.reading.start()
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            with suppress(OSError, http.client.HTTPException):
                if self.ask("GET", "/readyz")[0] == 200:
                    return
            time.sleep(0.02)
        raise AssertionError("".join(self.log))

    def connect(self):
        return Connection(self.port)

    def ask(self, *words):
        with self.connect() as connection:
            return connection.ask(*words)

    def stop(self, how=signal.SIGTERM):
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, how)
        self.process.wait(60)
        self.reading.join(60)
        self.process.stderr.close()

    def status(self, name):
        """A number of /proc, in kB."""
        with open(f"/proc/{self.process.pid}/status") as file:
            return int(re.search(rf"{name}:\s+(\d+)", file.read())[1])


class Connection:
    """A connection that is kept, and asks as cheaply as Python can."""

    def __init__(self, port):
        self.http = http.client.HTTPConnection("127.0.0.1", port, timeout=60)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.http.close()

    def ask(self, method, path, body=None):
        text = None if body is None else json.dumps(body)
        self.http.request(method, path, text, {"content-type": "application/json"})
        answer = self.http.getresponse()
        content = answer.read()
        return answer.status, json.loads(content) if content else None


@contextmanager
def serving(folder, store, *options):
    server = Server(folder, store, *options)
    try:
        yield server
    finally:
        server.stop()
