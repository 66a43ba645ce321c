"""How the recipe wants its files written."""

from dataclasses import replace

from platon_compress.export.config import ExportConfig
from platon_compress.recipe import Recipe

__all__ = ["export_config", "plain_config", "rival_config"]


def export_config(recipe: Recipe, *, tokens: int, sparse: bool) -> ExportConfig:
    """Of the file that ships, for texts of so many tokens.

    One without `sparse` weights runs in stock ONNX Runtime, where dense attention is one node from opset 23 on.
    """
    from platon_compress.export.quantize import attention_for

    plan = recipe.plan
    return replace(
        plain_config(recipe) if sparse else rival_config(recipe),
        remove_padding=recipe.export.remove_padding,
        attention=attention_for(plan.attention, tokens),
        embeddings=plan.embeddings,
        int8_budget=plan.int8_budget,
    )


def rival_config(recipe: Recipe) -> ExportConfig:
    """Of dense and pruned: what users have today, at its best; padding removal and 8-bit tables are not for them."""
    from platon_compress.export.passes.fuse_attention import ATTENTION_OPSET

    config = plain_config(recipe)
    return replace(config, opset=max(config.opset, ATTENTION_OPSET))


def plain_config(recipe: Recipe) -> ExportConfig:
    """With the exporter and the opset that the recipe names, and no more."""
    return ExportConfig(opset=recipe.export.opset, exporter=recipe.export.exporter)
