"""The pruner's masks as a stage wrote them: what is no mask is refused, never baked."""

import pytest
import torch
from safetensors.torch import save_file

from platon_compress.errors import InputError
from platon_compress.pipeline.folder import RunFolder
from platon_compress.pipeline.reporter import Reporter
from platon_compress.pipeline.workspace import Workspace
from platon_compress.recipe import parse_recipe

RECIPE = {
    "model": {"name": "some/model", "task": "text-classification"},
    "data": {"train": "a.tsv", "validation": "b.tsv"},
    "prune": {"sparsity": 0.9},
}
KEPT = torch.tensor([[True, False], [False, False]])


def _work(tmp_path, masks):
    folder = RunFolder.open(tmp_path / "run", "run")
    folder.work("prune").mkdir(parents=True)
    if masks is not None:
        save_file(masks, folder.work("prune") / "masks.safetensors")
    return Workspace(folder, parse_recipe(RECIPE), Reporter(quiet=True))


def test_masks_are_read_as_they_were_written(tmp_path):
    masks = _work(tmp_path, {"a": KEPT, "b": torch.zeros(3, dtype=torch.bool)}).masks()
    assert torch.equal(masks["a"], KEPT)
    assert not masks["b"].any()


@pytest.mark.parametrize(
    "masks",
    [
        None,
        {},
        {"a": torch.full((2, 2), float("nan"))},
        {"a": KEPT, "b": KEPT.float()},
        {"a": torch.zeros(2, 2, dtype=torch.bool), "b": torch.zeros(3, dtype=torch.bool)},
    ],
    ids=["missing", "none", "NaN", "numbers", "all zero"],
)
def test_what_is_no_mask_is_refused(tmp_path, masks):
    with pytest.raises(InputError, match=r"masks\.safetensors.*; prune into a new folder"):
        _work(tmp_path, masks).masks()
