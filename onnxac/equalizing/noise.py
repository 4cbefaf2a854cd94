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
# Parts and shifts that are tried on all factors at once.
_EVERYWHERE = ((0.5, 0.0), (0.5, 0.5), (0.75, 0.0), (1.0, 0.0), (1.0, 0.5))
_SWEEPS = 3
# A change has to take at least so much of the noise around it.
_WORTH = 0.1


def candidates(problem: Problem, *, exact: bool) -> list[dict[int, float]]:
    """Logarithms (base 2) of the factors of root slots that have one; whole unless `exact`.

    The first candidate is none at all, the second is the one of which the least noise is
    expected; behind it, the same part of what makes ranges alike everywhere.
    """
    wish = alike(problem)
    told = np.zeros_like(wish)
    for _ in range(_SWEEPS):
        moved = False
        for block in problem.blocks:
            moved |= _improve(problem, block, wish, told, exact=exact)
        if not moved:
            break
    everywhere = (part * wish if exact else np.rint(part * wish + s) for part, s in _EVERYWHERE)
    found = [{}, _known(problem, told)]
    for factors in everywhere:
        made = _known(problem, factors)
        if made not in found:
            found.append(made)
    return found


def _known(problem: Problem, factors: Floats) -> dict[int, float]:
    return {r: float(f) for r, f in zip(problem.roots, factors, strict=True) if f}


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
