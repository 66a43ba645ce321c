"""Row-major compressed sparse rows of a weight [out_features, in_features], as our operators read them."""

from dataclasses import dataclass

import numpy as np
from scipy import sparse

from platon_compress.errors import InputError

__all__ = ["CsrWeight", "column_type"]

# Column numbers up to this many input features fit 16 bits.
_SHORT_COLUMNS = 65536


@dataclass(frozen=True, kw_only=True, eq=False)
class CsrWeight:
    """CSR arrays of W [out_features, in_features].

    values       float32 [nnz], row by row
    columns      uint16 [nnz], or int32 where in_features > 65536; strictly increasing within a row
    row_starts   int32 [out_features + 1]; row r holds values[row_starts[r]:row_starts[r + 1]]
    """

    values: np.ndarray
    columns: np.ndarray
    row_starts: np.ndarray
    out_features: int
    in_features: int

    @classmethod
    def from_dense(cls, weight: np.ndarray) -> "CsrWeight":
        """Exact zeros are dropped, everything else is kept. ``weight``: float [out_features, in_features]."""
        if weight.ndim != 2 or weight.size == 0:
            raise InputError(
                f"a CSR weight needs a matrix with values, got shape {list(weight.shape)}; pass [out, in]"
            )
        csr = sparse.csr_matrix(np.asarray(weight, dtype=np.float32))
        csr.eliminate_zeros()
        csr.sort_indices()
        out_features, in_features = weight.shape
        result = cls(
            values=csr.data,
            columns=csr.indices.astype(column_type(in_features)),
            row_starts=csr.indptr.astype(np.int32),
            out_features=out_features,
            in_features=in_features,
        )
        result.validate()
        return result

    def to_dense(self) -> np.ndarray:
        """float32 [out_features, in_features]."""
        arrays = (self.values, self.columns.astype(np.int32), self.row_starts)
        return sparse.csr_matrix(arrays, shape=(self.out_features, self.in_features)).toarray()

    @property
    def nnz(self) -> int:
        """Stored values."""
        return int(self.values.size)

    @property
    def density(self) -> float:
        """Stored values divided by the matrix's size."""
        return self.nnz / (self.out_features * self.in_features)

    @property
    def nbytes(self) -> int:
        """Bytes of the three arrays."""
        return int(self.values.nbytes + self.columns.nbytes + self.row_starts.nbytes)

    def validate(self) -> None:
        """Check every rule of the class's docstring; the message names the array, the value and the cure.

        Raises:
            InputError: at the first rule that does not hold.
        """
        self._check_sizes()
        self._check_types()
        self._check_row_starts()
        self._check_columns()
        if not np.isfinite(self.values).all():
            raise _broken("values holds numbers that are not finite")

    def _check_sizes(self) -> None:
        if self.out_features < 1 or self.in_features < 1:
            raise _broken(
                f"out_features and in_features must be >= 1, got {self.out_features} and {self.in_features}"
            )
        for name, array in (
            ("values", self.values),
            ("columns", self.columns),
            ("row_starts", self.row_starts),
        ):
            if array.ndim != 1:
                raise _broken(f"{name} must have one dimension, got shape {list(array.shape)}")
        if self.values.size != self.columns.size:
            raise _broken(f"values has {self.values.size} entries, columns has {self.columns.size}")
        if self.row_starts.size != self.out_features + 1:
            raise _broken(
                f"row_starts has {self.row_starts.size} entries, out_features is {self.out_features}"
            )

    def _check_types(self) -> None:
        columns = column_type(self.in_features)
        wanted: dict[str, type[np.generic]] = {
            "values": np.float32,
            "columns": columns,
            "row_starts": np.int32,
        }
        for name, dtype in wanted.items():
            got = getattr(self, name).dtype
            if got != dtype:
                raise _broken(f"{name} must be {np.dtype(dtype).name}, got {got.name}")

    def _check_row_starts(self) -> None:
        starts = self.row_starts
        if starts[0] != 0 or starts[-1] != self.nnz:
            raise _broken(f"row_starts runs from {starts[0]} to {starts[-1]}, not from 0 to {self.nnz}")
        falling = np.flatnonzero(np.diff(starts) < 0)
        if falling.size:
            raise _broken(f"row_starts decreases after row {falling[0]}")

    def _check_columns(self) -> None:
        columns = self.columns.astype(np.int64)
        if columns.size and (columns.min() < 0 or columns.max() >= self.in_features):
            raise _broken(
                f"columns runs from {columns.min()} to {columns.max()}, in_features is {self.in_features}"
            )
        within_row = np.ones(max(columns.size - 1, 0), dtype=bool)
        starts = self.row_starts[1:-1]
        within_row[starts[(starts > 0) & (starts < columns.size)] - 1] = False
        if (np.diff(columns)[within_row] <= 0).any():
            raise _broken("columns do not increase within a row")


def column_type(in_features: int) -> type[np.generic]:
    """The smallest type of the two that holds every column number."""
    return np.uint16 if in_features <= _SHORT_COLUMNS else np.int32


def _broken(what: str) -> InputError:
    return InputError(f"inconsistent CSR arrays: {what}; build them with CsrWeight.from_dense")
