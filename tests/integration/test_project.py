"""What a release and a stranger rely on: workflows, pins, numbers that have to agree, forms."""

from __future__ import annotations

import re
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest
from places import ROOT, Tool
from test_configuration import passes

import onnxac

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

yaml = pytest.importorskip("yaml", reason="PyYAML is not installed")

from fake_runner import PYTHON, Runner  # noqa: E402 - it needs PyYAML, too

WORKFLOWS = sorted((ROOT / ".github/workflows").glob("*.yml"))
FORMS = ROOT / ".github/ISSUE_TEMPLATE"
LOCK = ROOT / "ci/constraints.txt"
PROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))


def canonical(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


# Workflows.


@pytest.mark.parametrize("workflow", WORKFLOWS, ids=lambda p: p.stem)
def test_a_workflow_is_valid(workflow: Path, tool: Tool) -> None:
    schema = ("--builtin-schema", "vendor.github-workflows")
    passes(tool("check-jsonschema"), *schema, workflow)
    passes(tool("actionlint"), workflow)


def test_no_workflow_has_a_known_weakness(tool: Tool) -> None:
    options = ("--offline", "--persona=pedantic", "--quiet")
    passes(tool("zizmor"), *options, ROOT / ".github")


@pytest.mark.parametrize("workflow", WORKFLOWS, ids=lambda p: p.stem)
def test_a_workflow_uses_what_is_pinned(workflow: Path) -> None:
    used = re.findall(r"uses: (.*)", workflow.read_text("utf-8"))
    assert used
    for action in used:
        pinned = re.fullmatch(r"[\w/-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+", action)
        assert pinned or action.startswith("./ #"), action


def test_one_action_is_pinned_to_one_version_everywhere() -> None:
    pins: dict[str, set[str]] = {}
    for path in (*WORKFLOWS, ROOT / "action.yml"):
        for name, pin in re.findall(r"uses: ([\w/-]+)@(.*)", path.read_text("utf-8")):
            pins.setdefault(name, set()).add(pin)
    assert {name: found for name, found in pins.items() if len(found) > 1} == {}


def test_the_action_does_what_its_workflow_expects(
    tmp_path: Path, environment: dict[str, str], bin_folder: Path
) -> None:
    """Each step that uses the action, run by a runner of ours: red where it may be, else green."""
    jobs = yaml.safe_load((ROOT / ".github/workflows/action.yml").read_text("utf-8"))["jobs"]
    provided = PYTHON | {"install": {"onnxac": str(bin_folder / "onnxac")}}
    ran = 0
    for name, job in jobs.items():
        workspace = tmp_path / name
        for step in job["steps"]:
            if step.get("uses") != "./":
                continue
            inputs = {k.replace("-", "_"): v for k, v in step["with"].items()}
            for model in inputs["models"].split():
                if not (workspace / model).exists():
                    (workspace / model).parent.mkdir(parents=True, exist_ok=True)
                    shutil.copy(ROOT / model, workspace / model)
            folder = tmp_path / f"runner{ran}"
            build = Runner(ROOT, folder, environment, provided).run(workspace, **inputs)
            assert build.red == step.get("continue-on-error", False), build.log
            ran += 1
    assert ran == 4


# Numbers and addresses.


def test_the_version_is_the_same_everywhere() -> None:
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text("utf-8"))
    assert citation["version"] == onnxac.__version__
    component = (ROOT / "templates/onnxac.yml").read_text("utf-8")
    assert f"default: onnxac=={onnxac.__version__}\n" in component
    changes = (ROOT / "CHANGELOG.md").read_text("utf-8")
    assert "## [Unreleased]" in changes or f"## [{onnxac.__version__}]" in changes


def test_where_it_is_hosted_is_written_in_one_place() -> None:
    urls = PROJECT["project"]["urls"]
    place = urls["Repository"]
    owner = place.split("/")[-2]
    assert all(url.startswith((place, f"https://{owner}.")) for url in urls.values())
    hook = PROJECT["tool"]["hatch"]["metadata"]["hooks"]["fancy-pypi-readme"]
    for substitution in hook["substitutions"]:
        assert f"({place}/" in substitution["replacement"]
    elsewhere = [
        path.relative_to(ROOT).as_posix()
        for folder in ("docs", "onnxac", "ci", "templates", ".github")
        for path in (ROOT / folder).rglob("*")
        if path.suffix in (".md", ".py", ".yml") and owner != "OWNER"
        if f"{owner}/onnxac" in path.read_text("utf-8")
    ]
    assert elsewhere == []


def test_links_of_the_readme_are_whole_on_an_index() -> None:
    """As the hook of the build makes them; `make package` looks at the wheel's own."""
    text = (ROOT / "README.md").read_text("utf-8")
    hook = PROJECT["tool"]["hatch"]["metadata"]["hooks"]["fancy-pypi-readme"]
    for substitution in hook["substitutions"]:
        text = re.sub(substitution["pattern"], substitution["replacement"], text)
    links = re.findall(r"\]\(([^)]+)\)", text)
    assert len(links) > 20
    assert all(link.startswith(("https://", "#")) for link in links)
    assert any(link.endswith("/raw/main/docs/diff.png") for link in links)


def test_classifiers_name_the_versions_that_are_tested() -> None:
    named = {
        found[1]
        for classifier in PROJECT["project"]["classifiers"]
        if (found := re.fullmatch(r"Programming Language :: Python :: (3\.\d+)", classifier))
    }
    workflow = yaml.safe_load((ROOT / ".github/workflows/ci.yml").read_text("utf-8"))
    tested = workflow["jobs"]["all"]["strategy"]["matrix"]["python"]
    assert f">={tested[0]}" == PROJECT["project"]["requires-python"]
    assert {tested[0], tested[-1]} <= named
    assert max(named, key=lambda v: int(v.split(".")[1])) == tested[-1]


# Pins.


def test_every_tool_of_development_is_pinned() -> None:
    pinned = {canonical(n) for n in re.findall(r"(?m)^([\w.-]+)==", LOCK.read_text("utf-8"))}
    groups = PROJECT["dependency-groups"]
    for group in ("test", "others", "browser", "integration", "lint", "docs", "package", "lock"):
        names = {canonical(re.split(r"[<>=;\[ ]", one)[0]) for one in groups[group]}
        assert names <= pinned, f"{group}: run `make lock`"


def test_what_onnxac_needs_is_not_pinned() -> None:
    pinned = {canonical(n) for n in re.findall(r"(?m)^([\w.-]+)==", LOCK.read_text("utf-8"))}
    needs = {re.split(r"[<>=;]", one)[0] for one in PROJECT["project"]["dependencies"]}
    assert needs.isdisjoint(pinned)


def test_tests_of_the_lowest_versions_are_there() -> None:
    makefile = (ROOT / "Makefile").read_text("utf-8")
    (names,) = re.findall(r"(?m)^LOWEST_TESTS := ((?:.*\\\n)*.*)$", makefile)
    files = names.replace("\\", " ").split()
    assert len(files) > 3
    assert [f for f in files if not (ROOT / f).is_file()] == []


# Forms.


def test_forms_are_valid(tool: Tool) -> None:
    check = tool("check-jsonschema")
    kinds = {"config.yml": "github-issue-config"}
    for form in FORMS.glob("*.yml"):
        kind = kinds.get(form.name, "github-issue-forms")
        passes(check, "--builtin-schema", f"vendor.{kind}", form)
    passes(check, "--builtin-schema", "vendor.dependabot", ROOT / ".github/dependabot.yml")


def test_the_citation_is_valid(tool: Tool) -> None:
    schema = ("--builtin-schema", "vendor.citation-file-format")
    passes(tool("check-jsonschema"), *schema, ROOT / "CITATION.cff")
