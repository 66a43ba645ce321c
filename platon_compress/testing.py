"""Naive references, small models and the ends of children, for tests and studies. Not part of the public surface."""

import math
import os
import signal
import time
from collections.abc import Mapping
from typing import Any

__all__ = [
    "NaivePlaton",
    "finish",
    "naive_distillation_loss",
    "naive_int8_attention",
    "naive_int8_linear",
    "tiny_recipe",
    "tiny_transformer",
]


_SIZE = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 64}
_TEXT = {**_SIZE, "vocab_size": 80, "max_position_embeddings": 40, "pad_token_id": 1}
_IMAGE = {**_SIZE, "image_size": 32, "patch_size": 8}
_DINO = {k: v for k, v in _IMAGE.items() if k != "intermediate_size"} | {"mlp_ratio": 2}
_DISTIL = {"dim": 32, "n_layers": 2, "n_heads": 4, "hidden_dim": 64, "vocab_size": 80, "pad_token_id": 1}
_DEBERTA = {**_TEXT, "relative_attention": True, "pos_att_type": ["c2p", "p2c"], "type_vocab_size": 0}
_V3 = {"share_att_key": True, "position_buckets": 8, "norm_rel_ebd": "layer_norm"}
_CLASSES, _PICTURES = "ForSequenceClassification", "ForImageClassification"
# Family -> what its classes' names begin with, the usual rest of the name, and sizes for its config.
_FAMILIES: dict[str, tuple[str, str, dict[str, Any]]] = {
    "bert": ("Bert", _CLASSES, _TEXT),
    "camembert": ("Camembert", _CLASSES, _TEXT),
    "clip-text": ("CLIPText", "ModelWithProjection", {**_TEXT, "projection_dim": 16, "eos_token_id": 3}),
    "clip-vision": ("CLIPVision", "ModelWithProjection", {**_IMAGE, "projection_dim": 16}),
    "deberta-v2": ("DebertaV2", _CLASSES, {**_DEBERTA, "share_att_key": False}),
    "deberta-v3": ("DebertaV2", _CLASSES, {**_DEBERTA, **_V3}),
    "mdeberta": ("DebertaV2", _CLASSES, {**_DEBERTA, **_V3, "position_biased_input": False}),
    "deit": ("DeiT", _PICTURES, _IMAGE),
    "dinov2": ("Dinov2", _PICTURES, _DINO),
    "dinov2-swiglu": ("Dinov2", _PICTURES, {**_DINO, "use_swiglu_ffn": True}),
    "dinov2-registers": ("Dinov2WithRegisters", _PICTURES, _DINO),
    "distilbert": ("DistilBert", _CLASSES, _DISTIL),
    "electra": ("Electra", _CLASSES, _TEXT),
    "eurobert": ("EuroBert", _CLASSES, _TEXT),
    "modernbert": ("ModernBert", _CLASSES, {**_TEXT, "cls_token_id": 1, "sep_token_id": 2}),
    "mpnet": ("MPNet", _CLASSES, _TEXT),
    "nomic-bert": ("NomicBert", _CLASSES, _TEXT),
    "roberta": ("Roberta", _CLASSES, _TEXT),
    "siglip-text": ("SiglipText", "Model", _TEXT),
    "siglip-vision": ("SiglipVision", "Model", _IMAGE),
    "vit": ("ViT", _PICTURES, _IMAGE),
    "vit-msn": ("ViTMSN", _PICTURES, _IMAGE),
    "xlm-roberta": ("XLMRoberta", _CLASSES, _TEXT),
}


def finish(child: int, seconds: float = 600) -> int | None:
    """The exit status of a forked child, minus the signal; None for one that hangs, which is stopped."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        found, status = os.waitpid(child, os.WNOHANG)
        if found:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.01)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return None


def tiny_recipe(config: Mapping[str, int] | None = None, **sections: Mapping[str, Any]) -> dict[str, Any]:
    """A whole run of seconds: a ViT of two blocks on handwritten digits, every layer forced to CSR on one thread.

    `config` changes sizes of the model; each of `sections` is laid over the section of that name.
    """
    model = {
        "model_type": "vit", "image_size": 8, "patch_size": 2, "num_channels": 1, "hidden_size": 32,
        "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2,
    }  # fmt: skip
    recipe: dict[str, dict[str, Any]] = {
        "model": {"task": "image-classification", "config": {**model, **(config or {})}},
        "data": {"dataset": "builtin:digits", "train_rows": 96, "validation_rows": 64},
        "train": {"epochs": 2, "learning_rate": 1e-3, "evaluations": 2},
        "prune": {"sparsity": 0.6, "mask_interval": 1, "beta1": 0.5, "beta2": 0.5},
        "plan": {"calibrate": False, "force": "csr", "threads": 1},
        "bench": {"batch": [1], "runs": 5},
    }
    return {**recipe, **{name: {**recipe.get(name, {}), **section} for name, section in sections.items()}}


def tiny_transformer(family: str, head: str | None = None) -> tuple[Any, dict[str, Any]]:
    """A randomly initialised two-block transformers model in eval mode with eager attention, and inputs for it.

    head: what follows the family in the class's name, such as "Model" or "ForTokenClassification" (None: a
    classification head, for a tower its projection). Hidden size 32, 4 heads of 8, 64 neurons; text inputs are two
    sequences of 12 and 7 tokens with padding. Biases and norms are random too, so that no term of a layer is hidden by an
    initial zero.
    """
    import torch
    import transformers

    prefix, usual, settings = _FAMILIES[family]
    name = prefix + (head or usual)
    labels = 2 if name.endswith("QuestionAnswering") else 3
    torch.manual_seed(0)
    config = getattr(transformers, f"{prefix}Config")(
        **settings, num_labels=labels, attn_implementation="eager"
    )
    model = getattr(transformers, name)(config).eval()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.ndim == 1:
                parameter.add_(0.1 * torch.randn_like(parameter))
            elif name.endswith("weight"):
                parameter.copy_(torch.randn_like(parameter) * parameter[0].numel() ** -0.5)
    if "image_size" in settings:
        return model, {"pixel_values": torch.randn(2, 3, 32, 32)}
    mask = torch.ones(2, 12, dtype=torch.long)
    mask[1, 7:] = 0
    ids = torch.randint(3, 80, (2, 12)).masked_fill(mask == 0, 1)
    return model, {"input_ids": ids, "attention_mask": mask}


class NaivePlaton:
    """The PLATON update in float64, written as the formulas read; `weights` (name -> array) change in place.

    `reference`: the authors' window (a zero at t = 0, consumed one step late) and `score < threshold`; otherwise
    the exact mean of the window that ends at t, and exactly floor(N * sparsity) zeros, ties by position.
    """

    def __init__(
        self,
        weights: dict[str, Any],
        *,
        sparsity: float,
        total_steps: int,
        initial_warmup_steps: int,
        final_warmup_steps: int,
        mask_interval: int,
        beta1: float,
        beta2: float,
        reference: bool = False,
    ) -> None:
        self.weights, self.reference = weights, reference
        self.sparsity, self.total = sparsity, total_steps
        self.initial, self.final, self.interval = initial_warmup_steps, final_warmup_steps, mask_interval
        self.beta1, self.beta2 = beta1, beta2
        self.sensitivity = {name: 0.0 * w for name, w in weights.items()}
        self.uncertainty = {name: 0.0 * w for name, w in weights.items()}
        self.samples: list[dict[str, Any]] = [self.sensitivity] if reference else []
        self.step_number = 0
        self.consumed = False

    def step(self, gradients: dict[str, Any]) -> tuple[float, float | None]:
        """Scores with `gradients`, masks when due; returns the remaining ratio and the threshold."""
        self.step_number += 1
        sample = {name: abs(w * gradients[name]) for name, w in self.weights.items()}
        closing = self.step_number % self.interval == 0
        if closing and self.reference:
            self._close()
        self.samples.append(sample)
        if closing and not self.reference:
            self._close()
        ratio, masked = self._schedule()
        return ratio, self._mask(1 - ratio) if masked else None

    def _schedule(self) -> tuple[float, bool]:
        t, target = self.step_number, 1 - self.sparsity
        if t <= self.initial:
            return 1.0, False
        if t > self.total - self.final:
            return target, True
        progress = (t - self.initial) / (self.total - self.initial - self.final)
        return target + self.sparsity * (1 - progress) ** 3, t % self.interval == 0

    def _close(self) -> None:
        for name in self.weights:
            mean = sum(sample[name] for sample in self.samples) / len(self.samples)
            self.sensitivity[name] = self.beta1 * self.sensitivity[name] + (1 - self.beta1) * mean
            deviation = abs(mean - self.sensitivity[name])
            self.uncertainty[name] = self.beta2 * self.uncertainty[name] + (1 - self.beta2) * deviation
        self.samples = []
        self.consumed = True

    def _mask(self, sparsity: float) -> float | None:
        import numpy as np

        scores = np.concatenate([(self.sensitivity[n] * self.uncertainty[n]).ravel() for n in self.weights])
        count = int(len(scores) * sparsity + 1e-9)
        if not count or not (self.consumed or self.reference):
            return None
        order = np.argsort(scores, kind="stable")
        threshold = float(scores[order[count - 1]])
        gone = scores < threshold
        if not self.reference:
            gone[:] = False
            gone[order[:count]] = True
        for weight in self.weights.values():
            weight[gone[: weight.size].reshape(weight.shape)] = 0
            gone = gone[weight.size :]
        return threshold


def naive_int8_linear(x: Any, values: Any, row_scales: Any, bias: Any = None) -> Any:
    """A layer of 8-bit weights as docs/operator.md defines it, bit for bit: float32 [rows, out_features].

    x float32 [rows, in_features]; values int8 [out_features, in_features], zeros included; row_scales and bias float32
    [out_features].
    """
    import numpy as np

    with np.errstate(invalid="ignore", over="ignore"):
        poison = (x * np.float32(0)).sum(1, keepdims=True)
        low, high = np.minimum(x.min(1, keepdims=True), 0), np.maximum(x.max(1, keepdims=True), 0)
        scale = np.maximum((high - low) / np.float32(255), np.float32(1e-30))
        inverse = np.float32(1) / scale
        zero = np.nan_to_num(np.rint(-low * inverse)).astype(np.int64)
        rounded = np.nan_to_num(np.rint(x * inverse)).astype(np.int64)
        shifted = np.clip(rounded + zero, 0, 255) - zero
        sums = (shifted @ values.astype(np.int64).T).astype(np.float32)
        result = sums * ((scale + poison) * row_scales)
    return result if bias is None else result + bias


def naive_int8_attention(q: Any, k: Any, v: Any, scale: float, mask: Any = 0.0) -> Any:
    """One head in 8-bit numbers as docs/operator.md defines it: float64 [queries, value_size], and a bound.

    The whole numbers of q, k and v are exact, what is between them is float64. The bound says what a last bit of a score
    may change: a weight may move by one where it is near to halfway between two numbers. q float32 [queries, size],
    k [keys, size], v [keys, value_size]; mask: broadcast to [queries, keys].
    """
    import numpy as np

    (q, q_scale), (k, k_scale), (v, v_scale) = (
        _int8_head(x, most) for x, most in ((q, 127), (k, 63), (v, 63))
    )
    scores = (q @ k.T) * q_scale * k_scale.T * scale + np.maximum(mask, -1e30)
    peaks = scores + np.log(v_scale).T
    shares = np.exp(peaks - peaks.max(1, keepdims=True))
    divisor = 255 * (shares @ (1 / v_scale))
    weights = shares * 255
    doubtful = abs(weights - np.floor(weights) - 0.5) < 1e-5 * (1 + abs(scores)) * (1 + weights)
    return np.rint(weights) @ v / divisor, (doubtful @ abs(v)) / divisor


def _int8_head(x: Any, most: int) -> tuple[Any, Any]:
    """Whole numbers of the rows of x, float64, and their scales, float64 [rows, 1]."""
    import numpy as np

    largest = abs(x).max(1, keepdims=True)
    scale = np.maximum(largest / np.float32(most), np.float32(1e-30))
    return np.rint(x * (np.float32(1) / scale)).astype(np.float64), scale.astype(np.float64)


def naive_distillation_loss(
    student: Any, teacher: Any, labels: Any, *, weight: float, temperature: float
) -> float:
    """The distillation loss of logits [batch, classes] in float64 and plain loops, cross entropy as hard loss."""
    total = 0.0
    for ours, theirs, label in zip(student.tolist(), teacher.tolist(), labels.tolist(), strict=True):
        hard = -math.log(_softmax(ours, 1.0)[label])
        p, q = _softmax(theirs, temperature), _softmax(ours, temperature)
        soft = sum(a * math.log(a / b) for a, b in zip(p, q, strict=True))
        total += (1 - weight) * hard + weight * temperature**2 * soft
    return total / len(student)


def _softmax(logits: list[float], temperature: float) -> list[float]:
    powers = [math.exp(value / temperature) for value in logits]
    return [power / sum(powers) for power in powers]
