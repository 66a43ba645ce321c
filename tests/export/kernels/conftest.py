"""Every test with a `kernel` runs once for each kernel set of the list that the library itself declares.

PLATON_TEST_LIBRARY names another build of the library to run these tests on.
"""

import os
from pathlib import Path

import pytest

from platon_compress import library
from platon_compress.library import kernel_names, kernel_supported

if _other := os.environ.get("PLATON_TEST_LIBRARY"):
    library.library_path = lambda: Path(_other)


@pytest.fixture(params=kernel_names())
def kernel(request):
    if not kernel_supported(request.param):
        pytest.skip(f"this processor has no {request.param}")
    return request.param
