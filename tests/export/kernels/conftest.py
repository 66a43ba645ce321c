"""Every test with a `kernel` runs once for each kernel set of the list that the library itself declares."""

import pytest

from platon_compress.library import kernel_names, kernel_supported


@pytest.fixture(params=kernel_names())
def kernel(request):
    if not kernel_supported(request.param):
        pytest.skip(f"this processor has no {request.param}")
    return request.param
