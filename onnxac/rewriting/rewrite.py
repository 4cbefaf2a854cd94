"""A plan applied to the graph, in one step; and constants that exporters left as subgraphs.

Redefined tensors keep their names, so nothing else in the graph has to know. What lost its
last reader by this goes; what had none to begin with stays.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace

import numpy as np
import onnx_graphsurgeon as gs
from onnx import TensorProto

from onnxac.algebra import Obstacle
from onnxac.algebra.lazy import remembering
from onnxac.graph.model import Model, captured_by
from onnxac.graph.names import Names
from onnxac.graph.reachable import alive
from onnxac.inference.facts import Facts
from onnxac.planning.folding import Folding
from onnxac.planning.outcome import Blocked, Change, Plan, Redefinition
from onnxac.recipes.recipe import recipe
from onnxac.recipes.site import Piece
from onnxac.recipes.steps import Dims
from onnxac.rewriting.builder import Builder, Built, NotFiniteError


@dataclass
class Applied:
    """What was done. Nodes are graphsurgeon's; `operators` pairs a new node with its piece.

    dims  of what new nodes make, by name
    """

    changes: list[AppliedChange] = field(default_factory=list)
    blocked: list[Blocked] = field(default_factory=list)
    removed: list[gs.Node] = field(default_factory=list)
    dims: dict[str, Dims] = field(default_factory=dict)

    def follow(self, stands: Callable[[gs.Node], gs.Node], nodes: Iterable[gs.Node]) -> None:
        """Name what is left of what was added, once chains of Reshapes are joined.

        stands  what does a node's work now
        nodes   of the graph as it is now

        A change of which nothing is left did no more than give a tensor another shape and back.
        """
        here = {id(n) for n in nodes}
        for applied in self.changes:
            now = {id(n): n for n in map(stands, applied.added)}
            applied.added = [n for i, n in now.items() if i in here]
        self.changes = [c for c in self.changes if c.added]


@dataclass
class AppliedChange:
    """One change of the plan, with the nodes it added."""

    change: Change
    added: list[gs.Node]
    operators: list[tuple[gs.Node, Piece]]


class Rewriter:
    """Applies a plan to the graph of a model."""

    def __init__(self, model: Model, facts: Facts, folding: Folding) -> None:
        self._model, self._facts, self._folding = model, facts, folding
        self._graph = model.graph
        self._nodes = list(model.graph.nodes)
        self._place = {id(n): i for i, n in enumerate(self._nodes)}
        self._tensors = {t.name: t for n in self._nodes for t in (*n.inputs, *n.outputs) if t.name}
        self._tensors.update((t.name, t) for t in (*self._graph.inputs, *self._graph.outputs))
        self._names = Names(model)
        # Bodies may have been simplified since the model was read.
        origins = map(model.origin, self._nodes)
        self._captured = captured_by(o for o in origins if o is not None)

    def apply(
        self,
        plan: Plan,
        without: frozenset[str] = frozenset(),
        swapped: frozenset[str] = frozenset(),
        tick: Callable[[int, int], object] = lambda _done, _total: None,
    ) -> Applied:
        """Rewrite the graph. Changes whose weights overflow are left out, and said so.

        without  changes to leave out, by the tensor that each ends in
        swapped  changes to write an upsampling of in its other form, likewise
        tick     is told how many changes of how many are made
        """
        done = Applied(blocked=list(plan.blocked))
        replaced: dict[int, list[gs.Node]] = defaultdict(list)
        for number, change in enumerate(plan.changes):
            tick(number, len(plan.changes))
            end = change.redefinitions[-1].tensor
            if end in without:
                continue
            try:
                # Weights that overflow are refused below; NumPy need not warn of them.
                with np.errstate(over="ignore", invalid="ignore"), remembering():
                    form = end in swapped, change.eager
                    emitted = [(r, self._build(r, form)) for r in change.redefinitions]
            except NotFiniteError as error:
                done.blocked.append(
                    Blocked(change.redefinitions[0].tensor, Obstacle("values", str(error)))
                )
                continue
            applied = AppliedChange(change, [], [])
            for redefinition, result in emitted:
                applied.added += result.nodes
                applied.operators += result.operators
                done.dims.update(result.dims)
                self._model.exact.update(result.exact)
                replaced[self._detach(redefinition.tensor, result.nodes)] += result.nodes
            done.changes.append(applied)
        nodes: list[gs.Node] = []
        for node in self._nodes:
            nodes += replaced.get(id(node), [])
            nodes.append(node)
        self._drop_aliases(plan.aliases, nodes)
        self._fold(nodes)
        kept = self._alive(nodes)
        staying = {id(n) for n in kept}
        gone = [n for n in self._nodes if id(n) not in staying]
        # What only came with another order of operators was never anybody's.
        done.removed = [n for n in gone if self._model.origin(n) is not None]
        self._graph.nodes = kept
        self._forget(gone)
        return done

    def _build(self, redefinition: Redefinition, form: tuple[bool, bool]) -> Built:
        name, definition = redefinition.tensor, redefinition.definition
        target = self._tensors[name]
        bias = definition.bias()
        if bias is None:
            definition = replace(definition, biases=())
        kind = (self._facts.dtype(name) or TensorProto.FLOAT, self._facts.opset)
        builder = Builder(
            target,
            target.inputs[0],
            kind,
            self._tensors.__getitem__,
            self._names.unique,
            self._wish,
        )
        rank = len(self._facts.shape(name) or ()) or definition.rank or 0
        axis = next((b.axis for b in definition.biases if b.axis is not None), 0)
        swapped, eager = form
        return builder.build(
            recipe(definition, name, self._facts, redefinition.wide, swapped=swapped, eager=eager),
            bias,
            axis,
            rank,
        )

    def _wish(self, piece: Piece) -> str:
        """Name for a new operator: that of the branch with the largest kernel."""
        largest = max(piece.term.marks, key=lambda m: np.prod([a.taps for a in m.axes]))
        named = [self._nodes[s] for s in largest.steps if self._nodes[s].name]
        windowed = [n for n in named if n.op in ("Conv", "ConvTranspose", "MatMul", "Gemm")]
        chosen = (windowed or named)[:1]
        return str(chosen[0].name) if chosen else ""

    def _detach(self, tensor: str, new: list[gs.Node]) -> int:
        """Take the tensor away from the node that made it; returns that node's id."""
        made = self._tensors[tensor]
        (maker,) = [n for n in made.inputs if not any(n is m for m in new)]
        if len(maker.outputs) == 1:
            maker.outputs.clear()
        else:
            index = next(i for i, t in enumerate(maker.outputs) if t is made)
            maker.outputs[index] = gs.Variable(self._names.unique(f"{tensor}_unused"))
        return id(maker)

    def _drop_aliases(self, aliases: dict[str, str], nodes: list[gs.Node]) -> None:
        """Let readers of a tensor that equals another one read that one."""
        for node in nodes:
            for index, tensor in enumerate(node.inputs):
                name = tensor.name
                while name in aliases:
                    name = aliases[name]
                if name != tensor.name:
                    node.inputs[index] = self._tensors[name]

    def _alive(self, nodes: list[gs.Node]) -> list[gs.Node]:
        return alive(nodes, [*(t.name for t in self._graph.outputs), *self._captured])

    def _fold(self, nodes: list[gs.Node]) -> None:
        """Let readers of computed constants read initializers, where `Folding` says so."""
        if not self._folding.is_needed:
            return
        stored: dict[str, gs.Tensor] = {}
        read: list[tuple[gs.Node, int, gs.Tensor]] = []
        needed = {t.name for t in self._graph.outputs} | self._captured
        # From the end: what makes a constant stands before what reads it, and is passed over
        # where nothing does any more.
        for node in reversed(self._alive(nodes)):
            if needed.isdisjoint(t.name for t in node.outputs):
                continue
            # With initializers as bounds, the inference of opset 10 misleads runtimes.
            misled = node.op == "Slice" and self._facts.opset == 10
            for index, tensor in enumerate(node.inputs):
                name = tensor.name
                if (
                    not misled
                    and not isinstance(tensor, gs.Constant)
                    and self._folding.stores(name)
                ):
                    if name not in stored:
                        stored[name] = self._initializer(tensor)
                    node.inputs[index] = stored[name]
                    read.append((node, index, tensor))
            needed.update(t.name for t in node.inputs if not isinstance(t, gs.Constant))
        if not read:
            return
        # What a kept constant node reads is made all the same: nothing is stored beside it.
        made = {t.name for n in self._alive(nodes) for t in n.outputs}
        for node, index, tensor in read:
            if node.inputs[index].name in made:
                node.inputs[index] = tensor

    def _initializer(self, tensor: gs.Tensor) -> gs.Tensor:
        """A computed constant as an initializer, by its name, or the one it is a copy of."""
        root = tensor
        while root.inputs and root.inputs[0].op == "Identity":
            root = root.inputs[0].inputs[0]
        if not root.inputs:
            return root
        # Where all readers change, the node that made it goes, and leaves its name.
        return gs.Constant(tensor.name, self._folding.value(tensor.name))

    def _forget(self, gone: list[gs.Node]) -> None:
        """Take removed nodes off the reader lists of their inputs, in one pass over each list."""
        ids = {id(n) for n in gone}
        for tensor in {id(t): t for n in gone for t in n.inputs}.values():
            readers = [n for n in tensor.outputs if id(n) not in ids]
            list.clear(tensor.outputs)
            list.extend(tensor.outputs, readers)
