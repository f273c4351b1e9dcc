"""BLAS has one thread as long as anybody is inside, and then what it had before."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from random import Random

import numpy as np
import pytest
from threadpoolctl import threadpool_info, threadpool_limits

from recsys.search.exact import ExactIndex
from recsys.search.threads import one_blas_thread


def blas_threads() -> set[int]:
    return {one["num_threads"] for one in threadpool_info() if one["user_api"] == "blas"}


@pytest.fixture(autouse=True)
def three_threads():
    """What the caller has set; no machine's default."""
    (before,) = blas_threads()
    with ThreadPoolExecutor(1) as pool:  # ends: threadpoolctl lets one living thread alone set it
        pool.submit(threadpool_limits, 3, "blas").result()
    if blas_threads() != {3}:
        pytest.skip("this BLAS has no threads to limit")
    yield
    with ThreadPoolExecutor(1) as pool:
        pool.submit(threadpool_limits, before, "blas").result()


def test_inside_it_is_one_thread_and_after_the_last_it_is_what_it_was():
    with suppress(KeyError), one_blas_thread():
        with one_blas_thread():
            assert blas_threads() == {1}
        assert blas_threads() == {1}
        raise KeyError
    assert blas_threads() == {3}
    with threadpool_limits(limits=2, user_api="blas"):  # a limit of the caller's stays
        with one_blas_thread():
            assert blas_threads() <= {1, 2}  # 2 from threadpoolctl 3.8 on
        assert blas_threads() == {2}
    assert blas_threads() == {3}


def test_many_threads_that_come_and_go_leave_what_was_there():
    """With threadpoolctl's own contexts one thread restores the limit of another."""
    seen, start = [], threading.Barrier(8)

    def come_and_go(seed):
        random = Random(seed)
        start.wait()
        for _ in range(50):
            with one_blas_thread():
                time.sleep(random.random() / 1000)
                seen.append(blas_threads())

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(come_and_go, range(8)))
    assert seen == [{1}] * 400
    assert blas_threads() == {3}


def test_searches_from_many_threads_agree_and_leave_the_setting_alone():
    rng = np.random.default_rng(0)
    vectors, queries = rng.standard_normal((2, 3000, 32)).astype(np.float32)
    index = ExactIndex(vectors)
    expected = index.query(queries, 10)
    with ThreadPoolExecutor(6) as pool:
        for found in pool.map(lambda n: index.query(queries, 10, threads=n), [1, 2, 3] * 2):
            assert np.array_equal(found, expected)
    assert blas_threads() == {3}
