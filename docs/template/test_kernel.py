"""A test for a new kernel set, to copy: this file becomes tests/export/kernels/test_mine.py; put your set for `mine`.

What every set must compute is tested already, once for each set of the list, by the files beside it. Here stands what only
this set has: the widths, lengths and tails that its loops treat apart. The reference is float64, not another set.
"""

import numpy as np
import pytest
from scipy import sparse

from platon_compress.export.kernels.native import NativeLinear, NativePool
from platon_compress.library import kernel_names, kernel_supported

SET = "mine"
pytestmark = pytest.mark.skipif(
    SET not in kernel_names() or not kernel_supported(SET), reason=f"this processor has no {SET}"
)


@pytest.mark.parametrize("density", [0.0, 0.1, 0.5, 1.0])
@pytest.mark.parametrize("rows", [1, 7, 8, 9, 16, 24, 33, 47, 48, 56, 63, 64, 65])  # every width of a panel
def test_every_width_of_a_panel(rows, density):
    rng = np.random.default_rng(rows)
    weight = (rng.standard_normal((37, 300)) * (rng.random((37, 300)) < density)).astype(np.float32)
    x, bias = (rng.standard_normal(shape).astype(np.float32) for shape in ((rows, 300), (37,)))
    csr = sparse.csr_matrix(weight)
    linear = NativeLinear(
        csr.data,
        csr.indices.astype(np.uint16),
        csr.indptr.astype(np.int32),
        in_features=300,
        out_features=37,
        bias=bias,
    )
    with NativePool(1) as pool:
        found = linear.run(x, pool, kernel=SET)
    wide = x.astype(np.float64) @ weight.T.astype(np.float64) + bias
    bound = 302 * np.finfo(np.float32).eps * (abs(x) @ abs(weight).T + abs(bias))
    assert (abs(found - wide) <= bound).all()
