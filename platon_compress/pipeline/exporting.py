"""How the recipe wants its files written."""

from dataclasses import replace

from platon_compress.export.config import ExportConfig
from platon_compress.recipe import Recipe

__all__ = ["export_config", "rival_config"]


def export_config(recipe: Recipe, *, tokens: int, sparse: bool) -> ExportConfig:
    """Of the file that ships, for texts of so many tokens.

    One without `sparse` weights runs in stock ONNX Runtime, where dense attention is one node from opset 23 on.
    """
    from platon_compress.export.quantize import attention_for

    section, plan = recipe.export, recipe.plan
    config = ExportConfig(opset=section.opset, exporter=section.exporter)
    return replace(
        config if sparse else rival_config(recipe),
        remove_padding=section.remove_padding,
        attention=attention_for(plan.attention, tokens),
        embeddings=plan.embeddings,
        int8_budget=plan.int8_budget,
    )


def rival_config(recipe: Recipe) -> ExportConfig:
    """Of dense and pruned: what users have today, at its best; padding removal and 8-bit tables are not for them."""
    from platon_compress.export.passes.fuse_attention import ATTENTION_OPSET

    section = recipe.export
    return ExportConfig(opset=max(section.opset, ATTENTION_OPSET), exporter=section.exporter)
