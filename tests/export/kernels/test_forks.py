"""A child that is forked while threads run layers can run layers itself: no lock of the library is held for ever."""

import os
import threading
import warnings

import numpy as np
import pytest

from platon_compress.export.kernels.native import NativePool, attend
from platon_compress.testing import finish

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
                # Forking with threads is what is tried here.
                warnings.simplefilter("ignore", DeprecationWarning)
                child = os.fork()
            if child == 0:
                work()
                os._exit(0)
            status = finish(child, CHILD_SECONDS)
            assert status in (0, None), f"the child ended with status {status}"
            hung += status is None
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    return hung


@pytest.mark.multiprocess
def test_attention_in_forked_children():
    """One-token sequences: the free list of working memory is in use most of the time."""
    x = np.ones((5000, 4), np.float32)
    pools = threading.local()

    def work():
        if not hasattr(pools, "own"):
            pools.own = NativePool(1)
        attend(x, x, x, pools.own, kernel="scalar", heads=4, scale=1.0, lengths=[1] * len(x))

    assert _hung_children(work, forks=40) == 0
