"""Decides, per weight, which form is really faster on the target, and says why."""

from platon_compress.planning.config import Form, PlanConfig
from platon_compress.planning.cost import CostTable
from platon_compress.planning.layers import LayerPlan, Plan
from platon_compress.planning.planner import plan
from platon_compress.planning.weight_costs import weight_costs

__all__ = ["CostTable", "Form", "LayerPlan", "Plan", "PlanConfig", "plan", "weight_costs"]
