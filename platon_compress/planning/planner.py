"""From a baked model to its plan: what has no effect, what shrinks, and then one decision per weight."""

import copy

import torch
from torch import nn

from platon_compress.baking import BakedModel
from platon_compress.formats.structured import unit_features
from platon_compress.planning.choice import Weight, decide
from platon_compress.planning.config import Form, PlanConfig
from platon_compress.planning.cost import CostTable
from platon_compress.planning.coupling import UnitPlan, plan_units
from platon_compress.planning.idle import Idle, clear_idle
from platon_compress.planning.layers import Plan
from platon_compress.structure import find_couplings

__all__ = ["plan", "shrunk_shapes"]


def plan(baked: BakedModel, config: PlanConfig) -> Plan:
    """Choose a form for every baked weight, and for every other weight of a group that shrinks.

    1. Weights that no output depends on become zeros, constants join biases: exact, in every form.
    2. Units that are entirely zero go (STRUCTURED): exact, and the smaller dense layer runs anywhere.
    3. What is left becomes CSR where the cost table expects at least ``config.min_speedup`` over the dense
       layer of the final shape. Otherwise it is dense.
    4. CSR weights keep float32 values or become 8-bit numbers, as ``config.values`` says.
    """
    table = CostTable.load(config.cost_table)
    idle, weights = _cleared(baked, shrink=config.force in (None, Form.STRUCTURED))
    return Plan(
        layers=decide(weights, config, table),
        config=config,
        cost_table={"source": table.source, "cpu": table.cpu, "isa": table.isa},
        idle=idle,
    )


def shrunk_shapes(baked: BakedModel) -> frozenset[tuple[int, int]]:
    """[out, in] of the weights that :func:`plan` finds smaller than they were."""
    _, weights = _cleared(baked, shrink=True)
    return frozenset(weight.final_shape for weight in weights if weight.final_shape != weight.shape)


def _cleared(baked: BakedModel, *, shrink: bool) -> tuple[Idle, list[Weight]]:
    """What has no effect, and the weights of a copy without it."""
    model = copy.deepcopy(baked.model)
    idle = clear_idle(model)
    return idle, _weights(baked, model, shrink=shrink)


def _weights(baked: BakedModel, model: nn.Module, *, shrink: bool) -> list[Weight]:
    """Model order; one entry per baked weight and per member of a shrinking group of `model`, the cleared copy."""
    unit_plans = plan_units(model) if shrink else ()
    rows = {f"{path}.weight": u for u in unit_plans for path in u.coupling.producers}
    columns = {f"{u.coupling.consumer}.weight": u for u in unit_plans}
    blocks = _blocks(model)
    empty = _empty_blocks(model)
    baked_names = {weight.name for weight in baked.weights}
    found = []
    for name, parameter in model.named_parameters():
        units = rows.get(name) or columns.get(name)
        if name in baked_names or (units is not None and units.kept is not None):
            block = blocks.get(name, name)
            found.append(
                _weight(
                    name,
                    parameter.detach(),
                    units,
                    block,
                    is_consumer=name in columns,
                    computes=block not in empty,
                )
            )
    return found


def _blocks(model: nn.Module) -> dict[str, str]:
    """Half of an encoder block by the names of its weights: what the export may join into one node."""
    return {
        f"{path}.weight": coupling.name
        for coupling in find_couplings(model)
        for path in (*coupling.producers, coupling.consumer)
    }


def _empty_blocks(model: nn.Module) -> set[str]:
    """Halves of encoder blocks whose last layer holds no weight: the residual path is all that is left of them."""
    return {
        coupling.name
        for coupling in find_couplings(model)
        if not model.get_parameter(f"{coupling.consumer}.weight").any()
    }


def _weight(
    name: str, weight: torch.Tensor, units: UnitPlan | None, block: str, *, is_consumer: bool, computes: bool
) -> Weight:
    final = weight
    if units is not None and units.kept is not None:
        coupling = units.coupling
        stacks = 1 if is_consumer else coupling.stacks
        features = unit_features(units.kept, coupling.unit_size, units=coupling.units, stacks=stacks).to(
            weight.device
        )
        final = weight.index_select(1 if is_consumer else 0, features)
    return Weight(
        name=name,
        shape=(weight.shape[0], weight.shape[1]),
        units=units,
        final_shape=(final.shape[0], final.shape[1]),
        density=int(torch.count_nonzero(final)) / final.numel(),
        block=block,
        computes=computes,
    )
