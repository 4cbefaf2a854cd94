"""What becomes of a mutant: refused in one line, or a right and valid model.

    python tests/support/judging.py FIRST COUNT     judge mutants in this process

For each, one line of JSON goes out when it is begun, one at each stage, and one when it is
judged: whoever reads them knows which mutant ended the process, and at what.
"""

from __future__ import annotations

import json
import resource
import signal
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple, NoReturn

import numpy as np
import onnx
import onnxruntime as ort
from mutations import mutant
from onnx import ModelProto

from onnxac.errors import OnnxacError
from onnxac.pipeline import Options, optimize
from onnxac.proof.running.feeds import make
from onnxac.proof.running.signature import Size, read_signature, shapes_at

SECONDS = 20
# What the process may address, and what of that it may use.
ADDRESSES, RESIDENT = 8 * 2**30, 2**30
# Share of an output's largest magnitude that rounding may move it.
TOLERANCE = 1e-3
# Above, it is the order of a sum that decides whether it overflows in between: the run of the
# whole models, which is off here, sees that.
LARGEST = 1e30
GOOD = ("refused", "unchanged", "right", "unjudged")


class Verdict(NamedTuple):
    """What became of the mutant of a seed."""

    seed: int
    name: str
    found: str


class TookTooLongError(Exception):
    """A mutant was not done in `SECONDS`."""


def verdict(data: bytes, folder: Path, stage: Callable[[str], object]) -> str:
    """ "refused", "unchanged", "right", "unjudged"; else what is wrong.

    stage  is told what is done now
    """
    path = folder / "in.onnx"
    path.write_bytes(data)
    stage("optimize")
    try:
        after, _ = optimize(path, Options(verify=False))
    except OnnxacError as error:
        said = str(error)
        return "refused" if said and "\n" not in said and len(said) < 1000 else f"says {said!r}"
    except TookTooLongError:
        return "takes too long"
    except Exception as error:
        return f"raises {_place(error)}"
    if after.SerializeToString() == data:
        return "unchanged"
    before = onnx.load(path, load_external_data=False)
    if after == before:
        return "unchanged"
    try:
        onnx.checker.check_model(after)
    except onnx.checker.ValidationError as error:
        return f"is not valid: {_line(error)}" if _is_valid(before) else "unjudged"
    return _judged(before, after, stage)


def _is_valid(model: ModelProto) -> bool:
    """Of a model with an output without a shape the checker says that it is not."""
    try:
        onnx.checker.check_model(model)
    except onnx.checker.ValidationError:
        return False
    return True


def _judged(before: ModelProto, after: ModelProto, stage: Callable[[str], object]) -> str:
    """Whether both compute the same, as far as ONNX Runtime can run the first."""
    stage("original")
    try:
        signature = read_signature(before)
        shapes = shapes_at(signature, {}, Size(2, (16, 17)))
        if sum(int(np.prod(s)) for s in shapes.values()) > 2**22:
            return "unjudged"
        feeds = make(signature.specs(shapes))
        want = _run(before, feeds)
    except TookTooLongError:
        return "unjudged"
    except Exception:
        return "unjudged"
    stage("result")
    try:
        have = _run(after, feeds)
    except Exception as error:
        return f"does not run: {_line(error)}"
    return compared(have, want)


def _run(model: ModelProto, feeds: dict[str, Any]) -> list[Any]:
    options = ort.SessionOptions()
    options.log_severity_level = 4
    options.intra_op_num_threads = 1
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = ort.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    return list(session.run(None, feeds))


def compared(have: list[Any], want: list[Any]) -> str:
    for h, w in zip(have, want, strict=True):
        if not isinstance(w, np.ndarray):
            continue
        if h.shape != w.shape or h.dtype != w.dtype:
            return f"{h.dtype}{h.shape} instead of {w.dtype}{w.shape}"
        if w.dtype.kind not in "fiub" or not w.size:
            continue
        a, b = h.astype(np.float64), w.astype(np.float64)
        if not np.isfinite(b).all():
            return "unjudged"
        scale = max(float(np.abs(b).max()), 1e-30)
        if scale > LARGEST:
            return "unjudged"
        error = float(np.abs(a - b).max())
        # Where activations are large and outputs are small, rounding is not of the outputs.
        if not error <= TOLERANCE * scale:
            return f"is off by {error:.3g} of {scale:.3g}"
    return "right"


def _place(error: Exception) -> str:
    last = error.__traceback__
    while last is not None and last.tb_next is not None:
        last = last.tb_next
    where = f"{Path(last.tb_frame.f_code.co_filename).name}:{last.tb_lineno}" if last else ""
    return f"{type(error).__name__} at {where}: {_line(error)}"


def _line(error: Exception) -> str:
    return " ".join(str(error).split())[:200]


def _too_long(*_: object) -> NoReturn:
    raise TookTooLongError


def tell(**what: object) -> None:
    sys.stdout.write(json.dumps(what) + "\n")
    sys.stdout.flush()


def judge(first: int, count: int) -> None:
    """Judge mutants, and tell of each."""
    resource.setrlimit(resource.RLIMIT_AS, (ADDRESSES, ADDRESSES))
    signal.signal(signal.SIGALRM, _too_long)
    warnings.simplefilter("ignore")
    with tempfile.TemporaryDirectory() as folder:
        for seed in range(first, first + count):
            name, data = mutant(seed)
            tell(seed=seed, name=name)
            signal.alarm(SECONDS)
            start = time.perf_counter()
            try:
                found = verdict(data, Path(folder), lambda s: tell(stage=s))
            except TookTooLongError:
                found = "takes too long"
            signal.alarm(0)
            if found in GOOD and time.perf_counter() - start > SECONDS / 2:
                found = "takes long"
            used = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
            tell(verdict=found if used <= RESIDENT else f"takes {used / 2**30:.1f} GiB")


def campaign(first: int, count: int) -> Iterator[Verdict]:
    """Verdicts on mutants, judged in another process; where one ends that, a new one goes on."""
    end = first + count
    while first < end:
        seed, name, stage = first, "", ""
        command = [sys.executable, __file__, str(first), str(end - first)]
        with subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
        ) as process:
            for line in process.stdout or ():
                said = json.loads(line)
                if "seed" in said:
                    seed, name, stage = said["seed"], said["name"], "read"
                elif "verdict" in said:
                    yield Verdict(seed, name, said["verdict"])
                    first = seed + 1
                else:
                    stage = said["stage"]
        if process.returncode:
            # What ends the process over the original is the runtime's affair.
            found = f"ends the process ({process.returncode}) at stage {stage!r}"
            yield Verdict(seed, name, "unjudged" if stage == "original" else found)
            first = seed + 1


if __name__ == "__main__":
    judge(int(sys.argv[1]), int(sys.argv[2]))
