"""Where a name of a model leads."""

import pytest

from platon_compress.errors import InputError
from platon_compress.tasks.hub import resolve_name


def test_a_compressed_model_is_no_plain_checkpoint(tmp_path):
    (tmp_path / "compressed.safetensors").write_bytes(b"")
    with pytest.raises(
        InputError, match=r"is what save_compressed wrote, not a plain checkpoint; give the model/ of"
    ):
        resolve_name(str(tmp_path))
