"""Real exports: every network in models/ collapses to its deploy form, proven.

`models/README.md` says what the files are. A deploy form there was measured, not derived by
fusion rules, so it is an independent yardstick for the number of operators.
"""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from onnxac.pipeline import Options, optimize
from onnxac.report import GraphStats, Report

MODELS = Path(__file__).parent.parent / "models"
RECORDS: list[dict[str, Any]] = json.loads((MODELS / "INDEX.json").read_text("utf-8"))

# Operators that count together: a 1x1 Conv, a MatMul and a Gemm may do the same job.
WEIGHTED = (("Conv", "MatMul", "Gemm"), ("BatchNormalization",), ("Add",), ("ConvTranspose",))
# Nothing to gain: they must come out no larger and the same.
PLAIN = (
    "resnet",
    "densenet",
    "vovnet",
    "res2net",
    "peleenet",
    "convnext",
    "inception",
    "mbconv",
    "transformer",
    "fpn",
    "espcn",
    "pw_conv_bias",
    "pw_pool_excluded",
    "hgv2_lab",
    "vanillanet_mid",
    "tinyvit",
    "patches",
)
# A kernel that does a Resize's work is larger, and GroupNorm's scale and shift become one node.
UPSAMPLED = {"unet_up", "vae_decoder"}
# Relative to the largest output. In float32 these networks lose more than a rounding or two.
TOLERANCE = 1e-6
DEEP = {"unireplknet": 3e-6}

# What is left of blocks that no framework has a deploy form of.
LEFT = {block: {"nodes": 4, "Conv": 2} for block in ("shuffle_skip", "shuffle_written")}

# What is still to come; every entry fails today and has to go when it does not.
_CONCAT = "branches behind a Concat"
NOT_YET: dict[str, str] = {
    "onnx/concat_mixed/L.onnx": _CONCAT,
    "onnx/concat_mixed/deploy.onnx": "merged, and larger for it",
    "onnx/concat_project/B.onnx": _CONCAT,
    "onnx/concat_project/D.onnx": _CONCAT,
    "onnx/concat_project/L.onnx": _CONCAT,
}


def named(record: dict[str, Any]) -> Any:
    file = record["file"]
    late = pytest.mark.xfail(reason=NOT_YET.get(file, ""), strict=True) if file in NOT_YET else ()
    return pytest.param(record, id=file.removesuffix(".onnx"), marks=late)


def is_deploy(record: dict[str, Any]) -> bool:
    return str(record["file"]).endswith("deploy.onnx")


TRAIN_FORMS = [named(r) for r in RECORDS if "deploy" in r]
# By real exporters of other frameworks; `after` has the counts of the framework's own deploy form.
EXPORTS = [
    named({"after": LEFT.get(r["block"])} | r)
    for r in RECORDS
    if "after" in r or r["block"] in LEFT
]
PLAIN_FORMS = [named(r) for r in RECORDS if r["block"].startswith(PLAIN) or is_deploy(r)]


@cache
def report_of(file: str) -> Report:
    return optimize(MODELS / file, Options())[1]


def weighted(stats: GraphStats) -> list[int]:
    return [sum(stats.ops.get(op, 0) for op in ops) for ops in WEIGHTED]


def assert_proven(report: Report, block: str) -> None:
    assert report.verification is not None
    assert report.verification.passed
    worst = report.verification.worst
    # Where nothing was changed, nothing had to be run.
    assert worst is not None or not report.fusions
    assert worst is None or worst.relative <= DEEP.get(block, TOLERANCE)


def assert_no_larger(report: Report) -> None:
    before, after = report.before.stats, report.after.stats
    assert after.nodes <= before.nodes
    assert after.bytes <= before.bytes
    if before.macs is not None and after.macs is not None:
        assert after.macs <= before.macs


@pytest.mark.parametrize("record", TRAIN_FORMS)
def test_a_train_form_comes_out_like_its_deploy_form(record: dict[str, Any]) -> None:
    report = report_of(record["file"])
    deploy = optimize(MODELS / record["deploy"], Options(verify=False))[1].before.stats
    assert_proven(report, record["block"])
    left, allowed = weighted(report.after.stats), weighted(deploy)
    if record["block"] in UPSAMPLED:
        assert "Resize" not in report.after.stats.ops
        assert (left[0], left[3]) == (allowed[0], allowed[3])
        assert report.after.stats.nodes <= deploy.nodes
        return
    assert all(n <= most for n, most in zip(left, allowed, strict=True)), (left, allowed)
    assert report.after.stats.nodes <= deploy.nodes
    assert report.after.stats.bytes <= max(report.before.stats.bytes, deploy.bytes)


@pytest.mark.parametrize("record", EXPORTS)
def test_an_export_of_another_framework_comes_to_one_convolution_per_block(
    record: dict[str, Any],
) -> None:
    report = report_of(record["file"])
    assert report.verification is not None
    assert report.verification.passed
    assert_no_larger(report)
    most, left = record["after"], report.after.stats
    found = {op: left.nodes if op == "nodes" else left.ops.get(op, 0) for op in most}
    assert all(found[op] <= most[op] for op in most), (found, most)


@pytest.mark.parametrize("record", PLAIN_FORMS)
def test_where_there_is_nothing_to_gain_nothing_is_lost(record: dict[str, Any]) -> None:
    report = report_of(record["file"])
    assert_proven(report, record["block"])
    assert_no_larger(report)


@pytest.mark.parametrize("flavour", ["L", "B", "D", "DN"])
def test_parallel_branches_become_one(flavour: str) -> None:
    """3x3, 5x5 and 7x7, each with ReLU and max pool, and Concat: it pays here."""
    report = report_of(f"onnx/parallel_branches/{flavour}.onnx")
    assert_proven(report, "parallel_branches")
    assert report.after.stats.ops["Conv"] == 1
    assert report.after.stats.nodes < report.before.stats.nodes


def test_every_file_is_looked_at() -> None:
    """Each is a train form, an export, a deploy form, or has nothing to gain."""
    seen = {p.values[0]["file"] for p in TRAIN_FORMS + EXPORTS + PLAIN_FORMS}
    rest = {r["file"] for r in RECORDS if r["block"] != "parallel_branches"} - seen
    assert not rest
    on_disk = {p.relative_to(MODELS).as_posix() for p in MODELS.rglob("*.onnx")}
    assert on_disk == {r["file"] for r in RECORDS}
