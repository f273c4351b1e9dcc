"""Keep BLAS to one thread where this package multiplies, so that threads do not multiply too."""

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
    """Limit BLAS to one thread until the last of all that are inside, in any thread, has left.

    A server with N threads that each start N of BLAS's has N * N of them. The limit is the
    process's, and threadpoolctl's contexts are made for one thread: of two threads that are inside
    at once, the first to leave takes the limit away, and the last restores the other's limit in
    the place of what was set before. So the first to enter has a thread of its own set it, which
    restores it when the last has left. It takes a third of a millisecond.

    Where another thread is inside a limit of threadpoolctl's own, that one stays. A BLAS that is
    built with OpenMP has a limit for each thread, which nobody else can set.

    References
    ----------
    https://github.com/joblib/threadpoolctl
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
                    entered.set()  # without a limit rather than waiting for ever

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
