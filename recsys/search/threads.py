"""Keep BLAS to one thread while this package multiplies in its own, and locks from a fork's child.

A child of `os.fork` has the forking thread alone, and every lock as it was: one that another thread
held would be held for ever.
"""

from __future__ import annotations

import os
import sys
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Generic, TypeVar, overload

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

T = TypeVar("T")

_lock = threading.Lock()
_inside = 0
_leave = threading.Event()
_keeper = threading.Thread()
_limits: Any = None


class cached(Generic[T]):  # noqa: N801
    """A property that is worked out once an object, or once a thread if several ask at once.

    `functools.cached_property` holds a lock for all objects of a class until Python 3.12.
    """

    def __init__(self, work: Callable[[Any], T]) -> None:
        self.work, self.__doc__ = work, work.__doc__

    @overload
    def __get__(self, holder: None, owner: type) -> cached[T]: ...
    @overload
    def __get__(self, holder: object, owner: type) -> T: ...
    def __get__(self, holder: object | None, owner: type) -> cached[T] | T:
        if holder is None:
            return self
        # What another thread has put there meanwhile is as good, and may be in use.
        return holder.__dict__.setdefault(self.work.__name__, self.work(holder))  # type: ignore[no-any-return]


@contextmanager
def one_blas_thread() -> Iterator[None]:
    """Limit BLAS to one thread until the last caller inside, in any thread, has left.

    Otherwise a server of N threads, each starting N BLAS threads, runs N * N of them. The limit
    belongs to the process, but threadpoolctl's contexts are made for one thread: of two threads
    inside, the first to leave would lift the limit, and the last would restore that of the other.
    So a thread sets the limit and restores it when the last has left (a third of a millisecond).

    A caller's own limit by threadpoolctl (from 3.8 on) stays. A BLAS built with OpenMP has a limit
    per thread, which no other thread can set.
    """
    global _inside, _keeper
    with _lock:
        if _inside == 0:
            _leave.clear()
            entered = threading.Event()
            from threadpoolctl import threadpool_limits

            def keep() -> None:
                global _limits
                try:
                    with threadpool_limits(limits=1) as _limits:
                        entered.set()
                        _leave.wait()
                finally:
                    _limits = None
                    entered.set()  # after an error, go on without a limit

            _keeper = threading.Thread(target=keep, daemon=True)
            _keeper.start()
            entered.wait()
        _inside += 1
    pid = os.getpid()
    try:
        yield
    finally:
        if pid == os.getpid():  # else nobody here keeps a limit any more
            with _lock:
                _inside -= 1
                if _inside == 0:
                    _leave.set()
                    _keeper.join()


def _start_anew() -> None:
    """In the child of a fork, be as before the first call; give tqdm a lock that nobody holds."""
    global _lock, _inside, _leave, _limits
    _lock, _leave, _inside = threading.Lock(), threading.Event(), 0
    if _limits is not None:
        # In a thread that ends: threadpoolctl lets one living thread alone set limits.
        lift = threading.Thread(target=_limits.restore_original_limits)
        _limits = None
        lift.start()
        lift.join()
    if "tqdm" in sys.modules:
        from tqdm import tqdm

        tqdm.set_lock(threading.RLock())


# No fork while another thread is about to set or to lift the limit.
os.register_at_fork(
    before=lambda: _lock.acquire(),
    after_in_parent=lambda: _lock.release(),
    after_in_child=_start_anew,
)
