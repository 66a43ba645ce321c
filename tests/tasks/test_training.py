"""Training on a machine that has no room."""

from pathlib import Path

import pytest
import torch

from platon_compress.errors import InputError
from platon_compress.tasks.training import room_to_save


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="the device that is always full is Linux's")
def test_a_full_disk_is_no_bug(tmp_path):
    with (
        pytest.raises(InputError, match=r"could not be written below .*; free some space there"),
        room_to_save(tmp_path),
    ):
        torch.save(torch.zeros(1_000_000), "/dev/full")


def test_other_errors_pass(tmp_path):
    with pytest.raises(RuntimeError, match="shapes"), room_to_save(tmp_path):
        raise RuntimeError("shapes do not fit")
