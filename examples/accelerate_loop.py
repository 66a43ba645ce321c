"""PLATON in an Accelerate loop with gradient accumulation, on scikit-learn's digits; for one process or several.

    accelerate launch examples/accelerate_loop.py --steps 200 --output runs/accelerate-loop

What pruning adds to the loop is marked with "<-".
"""

import argparse
from pathlib import Path

import torch
from accelerate import Accelerator
from accelerate.utils import set_seed
from sklearn.datasets import load_digits
from torch.utils.data import DataLoader, TensorDataset
from transformers import ViTConfig, ViTForImageClassification, get_linear_schedule_with_warmup

from platon_compress import PruneConfig, Pruner, bake
from platon_compress.pruning import save_pruner


def main(steps: int, output: Path) -> None:
    """Train and prune; the first process saves the baked model and the pruner's state."""
    set_seed(0)
    accelerator = Accelerator(gradient_accumulation_steps=2)
    digits = load_digits()
    data = TensorDataset(
        torch.from_numpy(digits.images).float().unsqueeze(1) / 8 - 1, torch.from_numpy(digits.target)
    )
    config = ViTConfig(
        image_size=8, patch_size=2, num_channels=1, hidden_size=64, intermediate_size=128, num_hidden_layers=2,
        num_attention_heads=4, num_labels=10,
    )  # fmt: skip
    model = ViTForImageClassification(config)
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-3)
    scheduler = get_linear_schedule_with_warmup(optimizer, steps // 10, steps)
    # The schedule stays as it is: Accelerate would step it once per process.
    model, optimizer, batches = accelerator.prepare(
        model, optimizer, DataLoader(data, batch_size=16, shuffle=True, drop_last=True)
    )
    settings = PruneConfig(sparsity=0.8, total_steps=steps, mask_interval=2, beta2=0.85)
    pruner = Pruner(model, settings)  # <- after prepare(), which may wrap and move the model

    model.train()
    while pruner.steps < steps:
        for pixels, labels in batches:
            with accelerator.accumulate(model):
                loss = model(pixel_values=pixels, labels=labels).loss
                accelerator.backward(loss)
                if accelerator.sync_gradients:
                    accelerator.clip_grad_norm_(model.parameters(), 1.0)
                optimizer.step()
                if accelerator.sync_gradients:
                    report = pruner.step(
                        skipped=accelerator.optimizer_step_was_skipped
                    )  # <- once per real step
                    scheduler.step()
                optimizer.zero_grad()
            if pruner.steps == steps:
                break

    if accelerator.is_main_process:
        baked = bake(accelerator.unwrap_model(model), pruner.masks(), target_sparsity=0.8)
        baked.model.save_pretrained(output)  # `platon-compress compress OUTPUT` takes it from here
        save_pruner(pruner, output)
    accelerator.print(f"sparsity {report.achieved_sparsity:.3f}, last loss {float(loss):.3f}")
    accelerator.end_training()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--output", type=Path, default=Path("runs/accelerate-loop"))
    arguments = parser.parse_args()
    main(arguments.steps, arguments.output)
