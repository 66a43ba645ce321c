"""PLATON in a Hugging Face Trainer, with checkpoints that a killed run goes on from, on scikit-learn's digits.

    python examples/trainer.py --output runs/trainer
    python examples/trainer.py --output runs/trainer --resume

What pruning adds to the script is marked with "<-".
"""

import argparse
from pathlib import Path

import numpy as np
import torch
from sklearn.datasets import load_digits
from transformers import Trainer, TrainingArguments, ViTConfig, ViTForImageClassification

from platon_compress import PlanConfig, PlatonCallback, PruneConfig, bake, convert, plan
from platon_compress.export import export_onnx, open_session
from platon_compress.pruning import latest_complete_checkpoint


def main(steps: int, output: Path, resume: bool) -> None:
    """Train and prune, or go on with it; then export and take the accuracy from the ONNX file."""
    digits = load_digits()
    pixels = torch.from_numpy(digits.images).float().unsqueeze(1) / 8 - 1
    rows = [{"pixel_values": x, "labels": int(y)} for x, y in zip(pixels, digits.target, strict=True)]
    config = ViTConfig(
        image_size=8, patch_size=2, num_channels=1, hidden_size=64, intermediate_size=128, num_hidden_layers=2,
        num_attention_heads=4, num_labels=10,
    )  # fmt: skip
    arguments = TrainingArguments(
        output, max_steps=steps, learning_rate=2e-3, warmup_steps=steps // 10, per_device_train_batch_size=32,
        save_steps=steps // 4, save_total_limit=2, logging_steps=steps // 4, report_to="none", seed=1, use_cpu=True,
    )  # fmt: skip
    trainer = Trainer(
        model_init=lambda: ViTForImageClassification(config), args=arguments, train_dataset=rows[:1440]
    )
    checkpoint = latest_complete_checkpoint(output) if resume else None
    settings = PruneConfig(sparsity=0.8, mask_interval=2, beta2=0.85)
    callback = PlatonCallback(settings, resume_from=checkpoint).attach(trainer)  # <- every Trainer takes it
    trainer.train(resume_from_checkpoint=None if checkpoint is None else str(checkpoint))

    baked = bake(trainer.model, callback.pruner.masks(), target_sparsity=0.8)
    compressed = convert(baked, plan(baked, PlanConfig(tokens=17)))
    result = export_onnx(compressed, output / "compressed.onnx", {"pixel_values": pixels[:2]})
    logits = open_session(result.path).run(None, {"pixel_values": pixels[1440:].numpy()})[0]
    accuracy = np.mean(logits.argmax(-1) == digits.target[1440:])
    print(f"sparsity {baked.sparsity:.3f}, accuracy {accuracy:.3f}, {result.path}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--steps", type=int, default=400)
    parser.add_argument("--output", type=Path, default=Path("runs/trainer"))
    parser.add_argument("--resume", action="store_true", help="go on from the last complete checkpoint")
    arguments = parser.parse_args()
    main(arguments.steps, arguments.output, arguments.resume)
