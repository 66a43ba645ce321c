"""PLATON in a plain PyTorch loop, from training to a measured plan, on scikit-learn's digits.

    python examples/raw_loop.py --steps 200 --output runs/raw-loop

What pruning adds to the loop is marked with "<-".
"""

import argparse
from pathlib import Path

import numpy as np
import torch
from sklearn.datasets import load_digits
from transformers import ViTConfig, ViTForImageClassification, get_linear_schedule_with_warmup

from platon_compress import PlanConfig, PruneConfig, Pruner, bake, convert, plan
from platon_compress.export import export_onnx, open_session


def main(steps: int, output: Path) -> None:
    """Train, prune, export, and compare the ONNX model's answers with torch's."""
    torch.manual_seed(0)
    digits = load_digits()
    pixels = torch.from_numpy(digits.images).float().unsqueeze(1) / 8 - 1
    labels = torch.from_numpy(digits.target)
    train, test = torch.arange(len(labels)) % 5 != 0, torch.arange(len(labels)) % 5 == 0

    config = ViTConfig(
        image_size=8, patch_size=2, num_channels=1, hidden_size=64, intermediate_size=128, num_hidden_layers=2,
        num_attention_heads=4, num_labels=10, attn_implementation="eager",
    )  # fmt: skip
    model = ViTForImageClassification(config)
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-3)
    scheduler = get_linear_schedule_with_warmup(optimizer, steps // 10, steps)
    pruner = Pruner(model, PruneConfig(sparsity=0.8, total_steps=steps, mask_interval=2, beta2=0.85))  # <-

    model.train()
    for _ in range(steps):
        rows = torch.nonzero(train).view(-1)[torch.randint(int(train.sum()), (32,))]
        model(pixel_values=pixels[rows], labels=labels[rows]).loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        report = pruner.step()  # <- after optimizer.step(), before zero_grad()
        scheduler.step()
        optimizer.zero_grad()
        # pruner.state_dict() goes into your checkpoint beside the optimizer's; load_state_dict() resumes.

    model.eval()
    with torch.no_grad():
        logits = model(pixel_values=pixels[test]).logits
    accuracy = (logits.argmax(-1) == labels[test]).float().mean()
    print(f"sparsity {report.achieved_sparsity:.3f}, accuracy {accuracy:.3f}")

    baked = bake(model, pruner.masks(), target_sparsity=0.8)
    compressed = convert(baked, plan(baked, PlanConfig(tokens=17)))
    result = export_onnx(compressed, output / "compressed.onnx", {"pixel_values": pixels[:2]})
    answers = open_session(result.path).run(None, {"pixel_values": pixels[test].numpy()})[0]
    print(f"{result.path}: largest difference from torch {np.abs(answers - logits.numpy()).max():.1e}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--output", type=Path, default=Path("runs/raw-loop"))
    arguments = parser.parse_args()
    arguments.output.mkdir(parents=True, exist_ok=True)
    main(arguments.steps, arguments.output)
