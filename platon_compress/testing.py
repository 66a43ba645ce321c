"""Naive references and small models that the tests compare fast paths with. Not part of the public surface."""

from typing import Any

__all__ = ["tiny_transformer"]


def tiny_transformer(family: str) -> tuple[Any, dict[str, Any]]:
    """A randomly initialised two-block transformers model in eval mode with eager attention, and inputs for it.

    Hidden size 32, 4 heads of 8, 64 neurons; text inputs are two sequences of 12 and 7 tokens with padding.
    Biases and norms are random too, so that no term of a layer is hidden by an initial zero.
    """
    import torch
    import transformers

    size = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 64}
    text = {**size, "vocab_size": 80, "max_position_embeddings": 40, "pad_token_id": 1}
    image = {**size, "image_size": 32, "patch_size": 8}
    dino = {k: v for k, v in image.items() if k != "intermediate_size"} | {"mlp_ratio": 2}
    distil = {"dim": 32, "n_layers": 2, "n_heads": 4, "hidden_dim": 64, "vocab_size": 80, "pad_token_id": 1}
    deberta = {**text, "relative_attention": True, "pos_att_type": ["c2p", "p2c"], "type_vocab_size": 0}
    v3 = {"share_att_key": True, "position_buckets": 8, "norm_rel_ebd": "layer_norm"}
    families: dict[str, tuple[str, str, dict[str, Any]]] = {
        "bert": ("Bert", "SequenceClassification", text),
        "camembert": ("Camembert", "SequenceClassification", text),
        "deberta-v2": ("DebertaV2", "SequenceClassification", {**deberta, "share_att_key": False}),
        "deberta-v3": ("DebertaV2", "SequenceClassification", {**deberta, **v3}),
        "deit": ("DeiT", "ImageClassification", image),
        "dinov2": ("Dinov2", "ImageClassification", dino),
        "dinov2-registers": ("Dinov2WithRegisters", "ImageClassification", dino),
        "distilbert": ("DistilBert", "SequenceClassification", distil),
        "electra": ("Electra", "SequenceClassification", text),
        "modernbert": (
            "ModernBert",
            "SequenceClassification",
            {**text, "cls_token_id": 1, "sep_token_id": 2},
        ),
        "mpnet": ("MPNet", "SequenceClassification", text),
        "roberta": ("Roberta", "SequenceClassification", text),
        "vit": ("ViT", "ImageClassification", image),
        "vit-msn": ("ViTMSN", "ImageClassification", image),
        "xlm-roberta": ("XLMRoberta", "SequenceClassification", text),
    }
    prefix, task, settings = families[family]
    torch.manual_seed(0)
    config = getattr(transformers, f"{prefix}Config")(**settings, num_labels=3, attn_implementation="eager")
    model = getattr(transformers, f"{prefix}For{task}")(config).eval()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.ndim == 1:
                parameter.add_(0.1 * torch.randn_like(parameter))
            elif name.endswith("weight"):
                parameter.copy_(torch.randn_like(parameter) * parameter[0].numel() ** -0.5)
    if task == "ImageClassification":
        return model, {"pixel_values": torch.randn(2, 3, 32, 32)}
    mask = torch.ones(2, 12, dtype=torch.long)
    mask[1, 7:] = 0
    ids = torch.randint(3, 80, (2, 12)).masked_fill(mask == 0, 1)
    return model, {"input_ids": ids, "attention_mask": mask}
