"""Tiny models whose linears are all planned as sparse, and padded batches for them."""

import numpy as np
import torch

from platon_compress import PlanConfig, bake, convert, plan
from platon_compress.export import open_session
from platon_compress.planning import Form
from platon_compress.selection import select
from platon_compress.testing import tiny_transformer


def baked_and_converted(family, values="float32", density=0.3):
    """A random model of the family with that share of its blocks' weights left; converted; inputs for both."""
    model, inputs = tiny_transformer(family)
    generator = torch.Generator().manual_seed(0)
    masks = {name: torch.rand(w.shape, generator=generator) < density for name, w in select(model).items()}
    baked = bake(model, masks)
    return baked, convert(baked, plan(baked, PlanConfig(tokens=8, force=Form.CSR, values=values))), inputs


def padded_batches(count, size=16):
    """`count` batches of `size` rows for a text model, each a little longer than the one before."""
    generator = np.random.default_rng(0)
    batches = []
    for number in range(count):
        ids = generator.integers(3, 80, (size, 6 + 2 * number))
        mask = (np.arange(ids.shape[1]) < generator.integers(3, ids.shape[1] + 1, (size, 1))).astype(np.int64)
        batches.append({"input_ids": np.where(mask, ids, 1), "attention_mask": mask})
    return batches


def first_output(path, inputs, **session):
    """Of the file for the inputs of a torch model; settings of the session."""
    feed = {name: value.numpy() for name, value in inputs.items()}
    return open_session(path, **session).run(None, feed)[0]
