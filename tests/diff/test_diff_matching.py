"""Which node stands for which: exact with a report, by names, by structure."""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np
import pytest
from diff_models import acnet, if_node, reported
from onnx import ModelProto, helper, numpy_helper

from onnxac.page import Counterpart, match

REMOVED = (0, 1, 2, 3, 4, 6, 7, 8, 9, 10)
GROUPS = (Counterpart((0, 1, 2, 3, 4), (0,)), Counterpart((6, 7, 8, 9, 10), (2,)))


@pytest.mark.parametrize(
    "name_of",
    [lambda n: n, lambda n: "", lambda n: "same", lambda n: n.partition("/")[2]],
    ids=["named", "unnamed", "one name for all", "repeated in each block"],
)
def test_a_report_gives_the_exact_matching_whatever_the_names(
    name_of: Callable[[str], str],
) -> None:
    before, after, report = reported(2, name_of)
    found = match(before, after, report)
    assert found.method == "report"
    assert found.removed == REMOVED
    assert found.added == (0, 2)
    assert found.unchanged == ((5, 1), (11, 3))
    assert found.counterparts == GROUPS


def test_a_merged_node_may_have_the_name_of_one_that_went_into_it() -> None:
    before, after, report = reported(1, lambda n: n.replace("merged", "square"))
    found = match(before, after, report)
    assert found.removed == (0, 1, 2, 3, 4)
    assert found.added == (0,)


def test_without_a_report_names_pair_what_they_can() -> None:
    before, after = acnet()
    found = match(before, after)
    assert found.method == "names"
    assert found.unchanged == ((5, 1), (11, 3))
    assert found.removed == REMOVED
    assert found.counterparts == GROUPS


def test_without_common_names_structure_pairs_the_rest() -> None:
    before, after = acnet(3, after_name=lambda n: f"other/{n}", after_tensor=lambda t: f"u{t}")
    found = match(before, after)
    assert found.method == "structure"
    everything = {*found.removed, *(i for i, _ in (*found.unchanged, *found.changed))}
    assert everything == set(range(len(before.graph.node)))
    relus = [(i, j) for i, j in found.unchanged if before.graph.node[i].op_type == "Relu"]
    assert relus == [(5, 1), (11, 3), (17, 5)]
    assert [set(c.before) for c in found.counterparts] == [
        {0, 1, 2, 3, 4},
        {6, 7, 8, 9, 10},
        {12, 13, 14, 15, 16},
    ]
    assert [c.after for c in found.counterparts] == [(0,), (2,), (4,)]


def test_equal_graphs_match_whole_even_unnamed() -> None:
    before, _ = acnet(3, lambda n: "")
    _, other = acnet(3), acnet(3, lambda n: "")[0]
    for node in other.graph.node:
        for k, name in enumerate(node.input):
            node.input[k] = name if name == "x" or name.endswith(".w") else f"v{name}"
        node.output[0] = f"v{node.output[0]}"
    found = match(before, other)
    assert found.method == "structure"
    assert found.unchanged == tuple((i, i) for i in range(len(before.graph.node)))
    assert not (found.removed)
    assert not (found.added)
    assert not (found.changed)
    assert not (found.counterparts)


def test_other_weights_or_attributes_are_a_change() -> None:
    before, _ = acnet(1)
    after = ModelProto.FromString(before.SerializeToString())
    after.graph.initializer[1].raw_data = np.zeros(
        np.prod(after.graph.initializer[1].dims), "f4"
    ).tobytes()
    after.graph.node[0].attribute[0].ints[0] = 2
    found = match(before, after)
    assert found.changed == ((0, 0), (1, 1))
    assert found.counterparts == (Counterpart((0,), (0,)), Counterpart((1,), (1,)))


def test_a_node_folded_into_its_neighbour_stands_for_it() -> None:
    before, _ = acnet(1)
    norm = helper.make_node("BatchNormalization", ["t0", "s", "s", "s", "s"], ["y"], name="bn")
    before.graph.node.append(norm)
    before.graph.initializer.append(numpy_helper.from_array(np.ones(8, "f4"), "s"))
    before.graph.output[0].name = "y"
    after = ModelProto.FromString(before.SerializeToString())
    del after.graph.node[-1]
    after.graph.node[5].output[0] = "y"
    after.graph.node[5].attribute.append(helper.make_attribute("onnxac_test", 1))
    found = match(before, after)
    assert found.removed == (6,)
    assert found.counterparts == (Counterpart((5, 6), (5,)),)


def test_readers_inside_a_subgraph_count() -> None:
    before, after, report = reported(1)
    for m in (before, after):
        m.graph.node.append(if_node("if"))
    found = match(before, after, report)
    assert found.unchanged == ((5, 1), (6, 2))


@pytest.mark.parametrize("named", [True, False])
def test_thousands_of_nodes_are_quick(named: bool) -> None:
    rename = (lambda t: t) if named else (lambda t: f"u{t}")
    before, after = acnet(700, lambda n: "", after_tensor=rename)
    start = time.perf_counter()
    found = match(before, after)
    assert time.perf_counter() - start < 4
    assert len(found.counterparts) == 700
