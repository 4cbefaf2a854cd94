"""Write every network of the catalogue as .onnx, with its deploy form, and the index.

    python models/export.py            everything
    python models/export.py acb repvgg only the entries whose names begin so

Flavours:

L     torch.onnx.export(dynamo=False), the defaults
B     dynamo=False, BatchNormalization kept (training=PRESERVE in eval mode), no constant folding
D     torch.onnx.export(dynamo=True), the defaults
DN    dynamo=True, optimize=False
…dhw  the same with dynamic batch, height and width

The deploy form is exported from the module in which every collapsible block is one convolution:
as L, unless the catalogue says otherwise, and with dynamic sizes where some flavour has them.
Of the metadata that D and DN attach to every node, only `namespace` stays: the rest was most of the
bytes, and held paths.
"""

import logging
import sys
import warnings
import zlib
from pathlib import Path
from typing import Any

import onnx
import torch
from blocks.base import deploy_form, randomize
from catalogue import CATALOGUE, Entry
from describe import ROOT, Record, describe, merge_into_index, relative_error, run
from torch import nn

AXES = ("batch", None, "height", "width")
BULKY = {
    f"pkg.torch.onnx.{key}" for key in ("stack_trace", "fx_node", "class_hierarchy", "name_scopes")
}


def export(model: nn.Module, x: torch.Tensor, path: Path, flavour: str) -> None:
    """Export `model` to the single file `path`."""
    options: dict[str, Any] = {"input_names": ["input"], "output_names": ["output"]}
    axes = {axis: name for axis, name in enumerate(AXES[: x.dim()]) if name}
    if flavour[0] == "D":
        options |= {"dynamo": True, "external_data": False, "optimize": flavour[:2] != "DN"}
        options["verbose"] = False
        if flavour.endswith("dhw"):
            dims = {axis: torch.export.Dim(name) for axis, name in axes.items()}
            options["dynamic_shapes"] = (dims,)
    else:
        options["dynamo"] = False
        if flavour[0] == "B":
            options["training"] = torch.onnx.TrainingMode.PRESERVE
            options["do_constant_folding"] = False
        if flavour.endswith("dhw"):
            options["dynamic_axes"] = {"input": axes}
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")
        torch.onnx.export(model, (x,), path, **options)
    onnx.save(without_bulk(onnx.load(path)), path)


def without_bulk(model: onnx.ModelProto) -> onnx.ModelProto:
    """Remove the bulky metadata that the dynamo exporter attaches to every node, in bodies too."""
    waiting = [*model.graph.node, *(n for f in model.functions for n in f.node)]
    while waiting:
        node = waiting.pop()
        waiting += [n for a in node.attribute for n in a.g.node]
        kept = [entry for entry in node.metadata_props if entry.key not in BULKY]
        del node.metadata_props[:]
        node.metadata_props.extend(kept)
    return model


def export_entry(entry: Entry) -> list[Record]:
    """Export one entry in all its flavours, its deploy form first."""
    torch.manual_seed(0)
    model = randomize(entry.build(), zlib.crc32(entry.name.encode()))
    x = torch.randn(entry.input)
    with torch.no_grad():
        expected = [model(x).numpy()]
    records = []
    (ROOT / "onnx" / entry.name).mkdir(parents=True, exist_ok=True)
    deploy = None
    if entry.deploy:
        deploy = ROOT / "onnx" / entry.name / "deploy.onnx"
        dynamic = any(flavour.endswith("dhw") for flavour in entry.flavours)
        export(deploy_form(model), x, deploy, entry.deploy + "dhw" * dynamic)
        records.append(describe(deploy, entry.name, "deploy", None))
    for flavour in entry.flavours:
        path = ROOT / "onnx" / entry.name / f"{flavour}.onnx"
        export(model, x, path, flavour)
        error = relative_error(run(path, {"input": x.numpy()}), expected)
        if error >= 1e-5:
            raise AssertionError(f"{path.name} is {error:.1e} off the module it was exported from")
        records.append(describe(path, entry.name, flavour, deploy))
    return records


def update_readme() -> None:
    """Write the table of the catalogue between its two marks in README.md."""
    rows = ["| File stem | Paper | What is inside | Flavours | Deploy |", "|---|---|---|---|---|"]
    for entry in CATALOGUE:
        deploy = "yes" if entry.deploy else "–"
        flavours = ", ".join(entry.flavours)
        rows.append(
            f"| `{entry.name}` | {entry.paper or '–'} | {entry.inside} | {flavours} | {deploy} |"
        )
    path = ROOT / "README.md"
    head, mark, rest = path.read_text(encoding="utf-8").partition("<!-- catalogue -->\n")
    tail = rest.partition("<!-- end -->")[2]
    table = "\n".join(rows)
    path.write_text(f"{head}{mark}{table}\n<!-- end -->{tail}", encoding="utf-8")


def main(prefixes: list[str]) -> None:
    """Export the entries asked for; report those that fail and go on."""
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    failed = []
    for entry in CATALOGUE:
        if prefixes and not entry.name.startswith(tuple(prefixes)):
            continue
        try:
            records = export_entry(entry)
        except Exception as error:  # one network must not keep the others from being written
            reason = str(error).partition("\n")[0][:200]
            failed.append(f"{entry.name}: {type(error).__name__}: {reason}")
            print(f"{entry.name}: FAILED")
            continue
        merge_into_index(records)
        print(f"{entry.name}:", ", ".join(f"{r['flavour']} {r['nodes']}" for r in records))
    update_readme()
    if failed:
        sys.exit("\n".join(failed))


if __name__ == "__main__":
    main(sys.argv[1:])
