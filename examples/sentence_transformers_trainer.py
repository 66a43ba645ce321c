"""PLATON in sentence-transformers' own trainer: a bi-encoder that learns which sentences are about the same thing.

    pip install 'platon-compress[sentence,runtime]'
    python examples/sentence_transformers_trainer.py --output runs/sentences

What pruning adds to the script is marked with "<-". CrossEncoderTrainer takes the callback in the same way.
"""

import argparse
from pathlib import Path

import numpy as np
import torch
from datasets import Dataset
from sentence_transformers import (
    SentenceTransformer,
    SentenceTransformerTrainer,
    SentenceTransformerTrainingArguments,
    losses,
)
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import BertConfig, BertModel, PreTrainedTokenizerFast

from platon_compress import PlanConfig, PlatonCallback, PruneConfig, bake, convert, plan
from platon_compress.export import export_onnx
from platon_compress.runtime import load

TOPICS = (
    ("sun", "rain", "wind", "snow", "storm", "cloud"),
    ("piano", "song", "choir", "drum", "melody", "concert"),
    ("bread", "cheese", "soup", "apple", "pepper", "salt"),
    ("train", "bridge", "harbour", "road", "wheel", "ticket"),
)
FILLING = ("the", "a", "very", "old", "new", "near", "with", "and", "of", "our")
SPECIAL = {"pad_token": "[PAD]", "unk_token": "[UNK]", "cls_token": "[CLS]", "sep_token": "[SEP]"}


def main(steps: int, output: Path) -> None:
    """Train and prune, write the folder with its ONNX file, and embed the held-back pairs from that file."""
    torch.manual_seed(0)
    model = small_model(output / "start")  # yours: SentenceTransformer("a-model-of-yours")
    arguments = SentenceTransformerTrainingArguments(
        str(output / "training"), max_steps=steps, learning_rate=2e-3, per_device_train_batch_size=32,
        save_strategy="no", logging_steps=steps // 4, report_to="none", seed=1, use_cpu=True,
    )  # fmt: skip
    trainer = SentenceTransformerTrainer(
        model, arguments, train_dataset=pairs(2000, 0), loss=losses.CosineSimilarityLoss(model)
    )
    settings = PruneConfig(sparsity=0.8, mask_interval=2, beta2=0.85)
    callback = PlatonCallback(settings).attach(trainer)  # <- as in every Trainer
    trainer.train()

    baked = bake(model, callback.pruner.masks(), target_sparsity=0.8)  # <- finds the encoder inside
    model.save_pretrained(str(output / "model"))  # the library's own folder, with the zeros
    compressed = convert(baked, plan(baked, PlanConfig(tokens=16)))  # <-
    batch = model.tokenizer(["sun", "the old piano"], padding=True, return_tensors="pt")
    export_onnx(compressed, output / "model" / "onnx" / "compressed.onnx", dict(batch))  # <-

    held = pairs(200, 1)
    runner = load(output / "model")  # numpy and onnxruntime; no torch from here on
    first, second = (runner.encode(held[name], normalize=True) for name in ("first", "second"))
    right = np.mean(((first * second).sum(axis=1) > 0.5) == np.array(held["score"]))
    theirs = model.encode(held["first"], normalize_embeddings=True)
    print(
        f"sparsity {baked.sparsity:.3f}, accuracy {right:.3f}, difference {np.abs(first - theirs).max():.1e}"
    )


def small_model(folder: Path) -> SentenceTransformer:
    """A BERT of two layers that knows the words above; mean pooling is what the library adds by itself."""
    words = [*SPECIAL.values(), *FILLING, *(word for topic in TOPICS for word in topic)]
    vocabulary = {word: number for number, word in enumerate(words)}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, SPECIAL["unk_token"]))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    config = BertConfig(
        vocab_size=len(vocabulary), hidden_size=64, intermediate_size=128, num_hidden_layers=2, num_attention_heads=4,
        max_position_embeddings=32, hidden_dropout_prob=0.0,
    )  # fmt: skip
    BertModel(config).save_pretrained(folder)
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, model_max_length=32, **SPECIAL)
    fast.save_pretrained(folder)
    return SentenceTransformer(str(folder), device="cpu")


def pairs(count: int, seed: int) -> Dataset:
    """Two sentences each; score 1.0 where they are of one topic."""
    generator = np.random.default_rng(seed)

    def sentence(topic: int) -> str:
        words = [*generator.choice(TOPICS[topic], 2), *generator.choice(FILLING, generator.integers(2, 8))]
        return " ".join(generator.permutation(words))

    topics = [(int(a), int(a if same else (a + other) % 4)) for a, same, other in zip(
        generator.integers(4, size=count), generator.random(count) < 0.5, generator.integers(1, 4, size=count), strict=True
    )]  # fmt: skip
    return Dataset.from_dict({
        "first": [sentence(a) for a, _ in topics],
        "second": [sentence(b) for _, b in topics],
        "score": [float(a == b) for a, b in topics],
    })  # fmt: skip


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--output", type=Path, default=Path("runs/sentences"))
    arguments = parser.parse_args()
    main(arguments.steps, arguments.output)
