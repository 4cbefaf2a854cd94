"""How much noise 8-bit integers put into a network, told beforehand, and factors by that.

A range R in 2ᵇ steps puts an error of variance R²/(12·4ᵇ) into each number. That of a weight meets
the mean square of what it multiplies, that of an activation the weights that read it. Each is set
against the signal in the same place, and all of them are added: an estimate, in which no layer is
more important than another, but good enough to tell what helps. (Lin et al., Fixed Point
Quantization of Deep Convolutional Networks, ICML 2016, section 3.)
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from onnxac.equalizing.problem import Activation, Block, Layer, Problem
from onnxac.equalizing.ranges import alike, gathered
from onnxac.equalizing.weighted import Floats

# Magnitudes that 8 bits have: of a weight or of a tensor of both signs, and of one above zero.
_SIGNED, _UNSIGNED = 127.0, 255.0
# What of the factors that make ranges alike is tried, and from where on it is rounded up.
_PARTS, _SHIFTS = (0.25, 0.5, 0.75, 1.0, 1.25), (0.0, 0.25, 0.5, 0.75)
_SWEEPS = 3
# A change has to take at least so much of the noise around it.
_WORTH = 0.1


def chosen(problem: Problem, *, exact: bool) -> dict[int, float]:
    """Logarithm (base 2) of the factor of each root slot that has one; whole unless `exact`."""
    wish = alike(problem)
    factors = np.zeros_like(wish)
    for _ in range(_SWEEPS):
        moved = False
        for block in problem.blocks:
            moved |= _improve(problem, block, wish, factors, exact=exact)
        if not moved:
            break
    return {root: float(f) for root, f in zip(problem.roots, factors, strict=True) if f}


def _improve(problem: Problem, block: Block, wish: Floats, factors: Floats, *, exact: bool) -> bool:
    """Give a block better factors than it has, in place; whether there are some."""
    own = block.variables
    first = best = noise(problem, block, factors)
    kept = factors[own].copy()
    for tried in _candidates(wish[own], exact=exact):
        factors[own] = tried
        now = noise(problem, block, factors)
        if now < min(best, (1 - _WORTH) * first):
            best, kept = now, tried
    factors[own] = kept
    return best < first


def _candidates(wish: Floats, *, exact: bool) -> Iterator[Floats]:
    for part in _PARTS:
        for shift in (0.0,) if exact else _SHIFTS:
            yield part * wish if exact else np.rint(part * wish + shift)


def noise(problem: Problem, block: Block, factors: Floats) -> float:
    """The noise, in parts of the signal, of everything that a block of variables is in."""
    return sum(_of_layer(problem.layers[i], factors) for i in block.layers) + sum(
        _of_activation(problem.activations[i], factors) for i in block.activations
    )


def _of_layer(layer: Layer, factors: Floats) -> float:
    groups, outputs, inputs = layer.largest.shape
    columns = gathered(factors, layer.columns).reshape(groups, 1, inputs)
    rows = gathered(factors, layer.rows).reshape(groups, outputs, 1)
    importance = layer.importance.reshape(groups, outputs, 1)
    squares = layer.squares.reshape(groups, 1, inputs)
    step = float((layer.largest * columns / rows).max(initial=0.0)) / _SIGNED
    read = (squares / columns**2).sum(axis=2, keepdims=True) * layer.taps
    error = step**2 / 12 * float((rows**2 * importance * read).sum())
    return _share(error, float((layer.energy * squares * importance).sum()))


def _of_activation(own: Activation, factors: Floats) -> float:
    divisors = gathered(factors, own.variables)
    widest = float((own.ranges / divisors).max(initial=0.0))
    step = widest / (_UNSIGNED if own.positive else _SIGNED)
    error = step**2 / 12 * float((divisors**2 * own.importance).sum())
    return _share(error, float((own.importance * own.squares).sum()))


def _share(error: float, signal: float) -> float:
    # Where there is no signal, there is nothing to lose.
    return error / signal if signal > 0 else 0.0
