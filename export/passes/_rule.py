"""The frame of every graph pass: look at a node, refuse with a reason or return what to do, then do it."""

from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from typing import Any, ClassVar

import onnx_ir as ir

__all__ = ["PassReport", "Refusal", "Rule", "apply_rule"]


@dataclass(frozen=True)
class Refusal:
    """A place that looked like the pattern and must stay as it is."""

    reason: str


@dataclass(frozen=True)
class PassReport:
    """What one pass did. refusals: (node name, reason)."""

    name: str
    applied: int
    refusals: tuple[tuple[str, str], ...] = field(default=())


class Rule(ABC):
    """One transformation: `check` reads the graph only, `rewrite` changes it only.

    anchors: operator types at which the pattern starts; other nodes are never looked at.
    """

    name: ClassVar[str]
    anchors: ClassVar[frozenset[str]]

    @abstractmethod
    def check(self, node: ir.Node) -> Any:
        """Return None (not the pattern), a Refusal (nearly), or whatever `rewrite` needs."""

    @abstractmethod
    def rewrite(self, node: ir.Node, match: Any) -> None:
        """Apply the transformation that `check` found at `node`."""


def apply_rule(rule: Rule, graph: ir.Graph) -> PassReport:
    """Apply `rule` once at every node of the main graph, in order. Subgraphs stay as they are."""
    applied, refusals = 0, []
    for node in tuple(graph):
        if node.op_type not in rule.anchors or node.graph is not graph:
            continue
        match = rule.check(node)
        if isinstance(match, Refusal):
            refusals.append((node.name or node.op_type, match.reason))
        elif match is not None:
            rule.rewrite(node, match)
            applied += 1
    return PassReport(rule.name, applied, tuple(refusals))
