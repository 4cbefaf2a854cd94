"""`onnxac rule`: each rule in full."""

from __future__ import annotations

import re

import pytest
from cli_harness import MODELS

from onnxac.cli import run
from onnxac.pipeline import inspect
from onnxac.render import rulebook
from onnxac.render.rules import RULES

Capture = pytest.CaptureFixture[str]


def test_each_rule_has_a_page() -> None:
    assert rulebook.PAGES.keys() == RULES.keys()


@pytest.mark.parametrize("name", sorted(r for r, p in rulebook.PAGES.items() if p.model))
def test_a_model_that_is_named_meets_the_rule(name: str) -> None:
    report = inspect(MODELS / "onnx" / rulebook.PAGES[name].model)
    assert name in {r.rule for r in report.refusals}


@pytest.mark.parametrize("name", sorted(RULES))
def test_a_page_is_printed(name: str, capsys: Capture) -> None:
    assert run(["rule", name]) == 0
    said = capsys.readouterr().out
    assert said.startswith(f"{name}\n\n{RULES[name]}\n\nWhy: ")
    assert re.search(r"\n\nWhat to do: .+\.\n", said)


def test_all_rules_are_listed(capsys: Capture) -> None:
    assert run(["rule"]) == 0
    listed = [line.split()[0] for line in capsys.readouterr().out.splitlines()]
    assert sorted(listed) == sorted(RULES)


@pytest.mark.parametrize(
    ("name", "hint"), [("bordr", "did you mean 'border'?"), ("x", "known are attributes, ")]
)
def test_a_rule_that_there_is_not(name: str, hint: str, capsys: Capture) -> None:
    assert run(["rule", name]) == 2
    assert f"no rule is called {name!r}; {hint}" in capsys.readouterr().err
