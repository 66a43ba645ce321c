"""A checkpoint that another tool has pruned, made fast: no training, no masks; its zeros are the mask.

    python examples/sparse_checkpoint.py --output runs/sparse-checkpoint

Here torch.nn.utils.prune makes the zeros; SparseML's, Wanda's or SparseGPT's do as well. The command
`platon-compress compress CHECKPOINT -o DIR` does the same, and verifies and measures it.
"""

import argparse
from pathlib import Path

import numpy as np
import torch
from torch.nn.utils import prune
from transformers import BertConfig, BertForSequenceClassification

from platon_compress import PlanConfig, bake, convert, plan
from platon_compress.export import export_onnx, open_session


def main(output: Path) -> None:
    """Write a sparse checkpoint, read it as a stranger would, and export it dense and compressed."""
    write_sparse_checkpoint(output / "checkpoint")

    model = BertForSequenceClassification.from_pretrained(output / "checkpoint", attn_implementation="eager")
    ids = torch.randint(5, 1000, (2, 16))
    inputs = {"input_ids": ids, "attention_mask": torch.ones_like(ids)}
    dense = export_onnx(model, output / "dense.onnx", inputs)
    baked = bake(model)  # no masks: what is zero stays zero
    chosen = plan(baked, PlanConfig(tokens=128))
    print(f"sparsity {baked.sparsity:.3f}; forms: {chosen.counts()}")
    compressed = export_onnx(convert(baked, chosen), output / "compressed.onnx", inputs)

    feed = {name: tensor.numpy() for name, tensor in inputs.items()}
    answers = [open_session(result.path).run(None, feed)[0] for result in (dense, compressed)]
    sizes = [result.path.stat().st_size / 1e6 for result in (dense, compressed)]
    print(f"{sizes[0]:.1f} MB dense, {sizes[1]:.1f} MB compressed")
    print(f"largest difference {np.abs(answers[0] - answers[1]).max():.1e}")


def write_sparse_checkpoint(folder: Path) -> None:
    """A BERT of random weights, 90 % of those of its blocks zeroed by magnitude."""
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=1000, hidden_size=256, num_hidden_layers=2, num_attention_heads=4, intermediate_size=1024
    )
    model = BertForSequenceClassification(config)
    linears = [m for m in model.bert.encoder.modules() if isinstance(m, torch.nn.Linear)]
    weights = [(linear, "weight") for linear in linears]
    prune.global_unstructured(weights, prune.L1Unstructured, amount=0.9)
    for linear, name in weights:
        prune.remove(linear, name)
    model.save_pretrained(folder)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--output", type=Path, default=Path("runs/sparse-checkpoint"))
    arguments = parser.parse_args()
    arguments.output.mkdir(parents=True, exist_ok=True)
    main(arguments.output)
