"""Keep BLAS to one thread while this package multiplies in threads of its own."""

from __future__ import annotations

import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

_lock = threading.Lock()
_inside = 0
_leave = threading.Event()
_keeper = threading.Thread()


@contextmanager
def one_blas_thread() -> Iterator[None]:
    """Limit BLAS to one thread until the last caller inside, in any thread, has left.

    Otherwise a server of N threads, each starting N BLAS threads, runs N * N of them. The limit
    belongs to the process, but threadpoolctl's contexts are made for one thread: of two threads
    inside, the first to leave would lift the limit, and the last would restore that of the other.
    So a thread sets the limit and restores it when the last has left (a third of a millisecond).

    A caller's own limit by threadpoolctl stays. A BLAS built with OpenMP has a limit per thread,
    which no other thread can set.
    """
    global _inside, _keeper
    with _lock:
        if _inside == 0:
            _leave.clear()
            entered = threading.Event()
            from threadpoolctl import threadpool_limits

            def keep() -> None:
                try:
                    with threadpool_limits(limits=1):
                        entered.set()
                        _leave.wait()
                finally:
                    entered.set()  # after an error, go on without a limit

            _keeper = threading.Thread(target=keep, daemon=True)
            _keeper.start()
            entered.wait()
        _inside += 1
    try:
        yield
    finally:
        with _lock:
            _inside -= 1
            if _inside == 0:
                _leave.set()
                _keeper.join()
