"""A child that is forked while threads run layers can run layers itself: no lock of the library is held for ever."""

import os
import signal
import threading
import time
import warnings

import numpy as np
import pytest

from platon_compress.export.kernels.native import NativePool, attend

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
CHILD_SECONDS = 180


def _hung_children(work, forks):
    """Forks while two threads do `work`; each child does it once. The number that had to be killed."""
    stop = threading.Event()

    def busy():
        while not stop.is_set():
            work()

    threads = [threading.Thread(target=busy) for _ in range(2)]
    for thread in threads:
        thread.start()
    hung = 0
    try:
        for _ in range(forks):
            with warnings.catch_warnings():
                warnings.simplefilter(
                    "ignore", DeprecationWarning
                )  # forking with threads is what is tried here
                child = os.fork()
            if child == 0:
                work()
                os._exit(0)
            hung += not _ends(child)
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    return hung


def _ends(child):
    end = time.monotonic() + CHILD_SECONDS
    while time.monotonic() < end:
        ended, status = os.waitpid(child, os.WNOHANG)
        if ended:
            assert status == 0, f"the child ended with status {status}"
            return True
        time.sleep(0.002)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return False


def test_attention_in_forked_children():
    """One-token sequences: the free list of working memory is in use most of the time."""
    x = np.ones((5000, 4), np.float32)
    pools = threading.local()

    def work():
        if not hasattr(pools, "own"):
            pools.own = NativePool(1)
        attend(x, x, x, pools.own, kernel="scalar", heads=4, scale=1.0, lengths=[1] * len(x))

    assert _hung_children(work, forks=40) == 0
