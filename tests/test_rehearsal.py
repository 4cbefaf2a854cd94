"""Candidates of factors are tried in 8 bits: the quieter one is taken, and none that does harm."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from exact import session
from numpy.typing import NDArray
from onnx import ModelProto, helper, numpy_helper
from uneven import Uneven

from onnxac.equalizing import Candidate
from onnxac.pipeline import Options, inspect, optimize
from onnxac.quantizing import rehearsal
from onnxac.quantizing.rehearsal import rehearse


def network(**more: object) -> tuple[ModelProto, str, tuple[int, ...]]:
    """Two convolutions of uneven channels, real-valued; the tensor between them, its channels."""
    net = Uneven(seed=5, inputs=8, spread=3, **more)  # type: ignore[arg-type]
    first = net.relu(net.conv(net.start, 16))
    model = net.model(net.head(net.conv(first, 16, powers=(0,) * 16)))
    rng = np.random.default_rng(3)
    for tensor in model.graph.initializer:
        values = numpy_helper.to_array(tensor)
        if values.ndim > 1:
            noisy = values * rng.uniform(0.7, 1.3, values.shape).astype(values.dtype)
            tensor.CopyFrom(numpy_helper.from_array(noisy, tensor.name))
    return model, first.name, first.powers


def candidates(name: str, powers: tuple[int, ...], *signs: int) -> list[Candidate]:
    """One for each sign: 1 evens the channels out, 0 leaves them, -1 does harm."""
    found = []
    for sign in signs:
        factors = np.exp2(sign * np.array(powers, float))
        weights = {
            "w0": (1 / factors).reshape(-1, 1, 1, 1),
            "w2": factors.reshape(1, -1, 1, 1),
        }
        found.append(Candidate(weights, {"conv0": (-3, factors), name: (-3, factors)}))
    return found


def test_the_quietest_is_taken() -> None:
    model, name, powers = network()
    for signs, best in (((0, 1, -1), 1), ((0, -1, 1), 2), ((0, -1), 0), ((1, 0), 0), ((0, 0), 0)):
        assert rehearse(model, None, Options(), candidates(name, powers, *signs)) == best


@pytest.mark.parametrize(
    ("noise", "best"),
    [
        # All inputs, four of five, three of five; of two that are quieter the quieter one.
        ([[1.0, 0.8]] * 5, 1),
        ([[1.0, 0.8]] * 4 + [[1.0, 1.1]], 1),
        ([[1.0, 0.1]] * 3 + [[1.0, 1.1]] * 2, 0),
        ([[1.0, 0.95]] * 5, 0),
        ([[1.0, 0.8, 0.5]] * 5, 2),
        ([[1.0, 0.8, 0.1]] * 3 + [[1.0, 0.8, 1.1]] * 2, 1),
        ([[0.0, 0.0]] * 5, 0),
    ],
)
def test_factors_are_taken_where_they_help_on_four_inputs_of_five(
    noise: list[list[float]], best: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, name, powers = network()
    monkeypatch.setattr(rehearsal._Rehearsal, "noise", lambda *_: np.array(noise))
    known = candidates(name, powers, *[0] * len(noise[0]))
    assert rehearse(model, None, Options(), known) == best


def test_free_sizes_are_made_up_and_given_ones_are_kept() -> None:
    model, name, powers = network(dims=("n", "h", "w"))
    for options in (Options(), Options(shapes={"x": (2, 8, 12, 10)})):
        assert rehearse(model, None, options, candidates(name, powers, 0, 1)) == 1


def test_real_inputs_stand_in_for_made_up_ones(tmp_path: Path) -> None:
    model, name, powers = network()
    np.savez(tmp_path / "in.npz", x=np.random.default_rng(1).normal(size=(1, 8, 8, 8)))
    files = (tmp_path / "in.npz",)
    assert rehearse(model, None, Options(inputs=files), candidates(name, powers, 0, 1)) == 1


def test_what_is_simulated_is_what_a_runtime_does() -> None:
    """The float model's result, and what QuantizeLinear of each tensor and weight leaves of it."""
    model, name, powers = network()
    (plain,) = candidates(name, powers, 0)
    tried = rehearsal._Rehearsal(model, Path(), Options())
    values = {"x": np.random.default_rng(2).normal(size=(1, 8, 8, 8)).astype(np.float32)}
    inside = ModelProto()
    inside.CopyFrom(model)
    inside.graph.output.append(helper.make_empty_tensor_value_info(name))
    *_, between = session(inside).run(None, values)
    ranges = {name: np.stack([f(between, axis=(0, 2, 3)) for f in (np.min, np.max)])}
    made = tried._in_bits(plain, ranges)
    inside.CopyFrom(made)
    inside.graph.output.append(helper.make_empty_tensor_value_info(f"{name}/in 8 bits"))
    *_, rounded = session(inside).run(None, values)
    step = rounded.max() / 255
    assert np.allclose(rounded / step, np.rint(rounded / step), atol=1e-3)
    assert len(np.unique(rounded)) > 50
    stored = {t.name: numpy_helper.to_array(t) for t in made.graph.initializer}
    scale = np.abs(stored["w2"]).max() / 127
    assert np.allclose(stored["w2"] / scale, np.rint(stored["w2"] / scale), atol=1e-3)


def test_a_model_that_does_not_run_is_not_tried() -> None:
    model, name, powers = network()
    known = candidates(name, powers, 0, 1)
    model.graph.node[1].op_type = "Unknown"
    model.graph.node[1].domain = "nobody"
    model.opset_import.append(helper.make_opsetid("nobody", 1))
    assert rehearse(model, None, Options(), known) is None


def test_a_large_model_is_not_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    model, name, powers = network()
    monkeypatch.setattr(rehearsal, "_MOST_BYTES", 100)
    assert rehearse(model, None, Options(), candidates(name, powers, 0, 1)) is None


def test_a_process_that_crashes_is_survived(monkeypatch: pytest.MonkeyPatch) -> None:
    model, name, powers = network()
    options = Options(timeout=1e-3)
    assert rehearse(model, None, options, candidates(name, powers, 0, 1)) is None
    # What is expected to be the best is taken then.
    monkeypatch.setattr("onnxac.quantizing.least_noisy", lambda *_: None)
    assert optimize(model, Options(equalize=True, verify=False))[1].equalizations


def test_factors_that_help_nothing_are_not_put_in(monkeypatch: pytest.MonkeyPatch) -> None:
    model, _, _ = network()
    assert inspect(model, Options(equalize=True)).equalizations
    monkeypatch.setattr("onnxac.quantizing.least_noisy", lambda *_: 0)
    result, report = optimize(model, Options(equalize=True, verify=False))
    assert report.equalizations == ()
    assert result.graph.node == model.graph.node


def test_a_busy_machine_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """How many inputs are tried hangs on the model, not on the time that one takes."""
    model, name, powers = network()
    made = rehearsal._Rehearsal(model, Path(), Options())

    def tried() -> NDArray[Any]:
        found = made.noise(candidates(name, powers, 0, 1))
        assert found is not None
        return found

    quick = tried()
    feed = rehearsal._feed

    def slow(*given: Any) -> bool:
        time.sleep(0.2)
        return feed(*given)

    monkeypatch.setattr(rehearsal, "_feed", slow)
    assert np.array_equal(tried(), quick)
    assert quick.shape == (16, 2)
    monkeypatch.setattr(rehearsal, "_WORK", 1)
    assert tried().shape == (2, 2)
