"""The factors that make ranges alike: for each channel in all weights and tensors that it is in.

Nagel et al., Data-Free Quantization Through Weight Equalization and Bias Correction (ICCV 2019),
section 4.1: with r₁ the range of a channel's row in the layer that makes it, and r₂ that of its
column in the layer that reads it, s = √(r₁/r₂) gives both the range √(r₁r₂). Where more layers
meet in a channel, a residual sum or several readers, the same in logarithms is a mean over all of
them; the range a of the tensor between them, which is a guess, takes part at half of the weight:

    log s = (Σ log r_made − Σ log r_read + ½ Σ log a) / (number of layers + ½ number of tensors)

One block of variables after the other takes what is best for the present factors of the others,
until nothing changes.
"""

from __future__ import annotations

import numpy as np

from onnxac.equalizing.problem import Block, Layer, Problem, Variables
from onnxac.equalizing.weighted import Floats

# Sweeps over all blocks at most, and the change, in octaves, that is little enough.
_SWEEPS, _LITTLE = 100, 0.05
# Larger factors leave activations where their type has fewer digits.
_MOST = 24.0


def alike(problem: Problem) -> Floats:
    """Logarithms (base 2) of the factors, [variables]."""
    factors = np.zeros(len(problem.roots))
    for _ in range(_SWEEPS):
        moved = 0.0
        for block in problem.blocks:
            made = _best(problem, block, factors)
            moved = max(moved, float(np.abs(made - factors[block.variables]).max(initial=0.0)))
            factors[block.variables] = made
        if moved < _LITTLE:
            break
    return factors


def _best(problem: Problem, block: Block, factors: Floats) -> Floats:
    """The factors of one block that are best for all others as they are."""
    total, number = np.zeros(factors.size), np.zeros(factors.size)
    made, read = np.zeros(factors.size, bool), np.zeros(factors.size, bool)
    for index in block.layers:
        layer = problem.layers[index]
        for variables, sign, seen in ((layer.rows, 1.0, made), (layer.columns, -1.0, read)):
            ranges = _rows(layer, factors) if sign > 0 else _columns(layer, factors)
            _count(variables, sign, ranges, (total, number))
            seen[variables[(variables >= 0) & (ranges > 0)]] = True
    for index in block.activations:
        own = problem.activations[index]
        _count(own.variables, 0.5, own.ranges, (total, number))
    both = (made & read)[block.variables]
    best = np.where(both, total[block.variables] / np.maximum(number[block.variables], 0.5), 0.0)
    if both.any():
        # What all channels share changes nothing: the factors are about 1.
        best[both] -= best[both].mean()
    # Half way, since rows and columns of one weight may be in the same block.
    return np.clip((best + factors[block.variables]) / 2, -_MOST, _MOST)


def _count(variables: Variables, share: float, ranges: Floats, sums: tuple[Floats, Floats]) -> None:
    # A row of zeros has no range that could be too small.
    there = (variables >= 0) & (ranges > 0)
    np.add.at(sums[0], variables[there], share * np.log2(ranges[there]))
    np.add.at(sums[1], variables[there], abs(share))


def _rows(layer: Layer, factors: Floats) -> Floats:
    """The range of each row, under the factors of the columns."""
    groups, _, inputs = layer.largest.shape
    columns = gathered(factors, layer.columns).reshape(groups, 1, inputs)
    return np.asarray((layer.largest * columns).max(axis=2, initial=0.0).reshape(-1))


def _columns(layer: Layer, factors: Floats) -> Floats:
    """The range of each column, under the factors of the rows."""
    groups, outputs, _ = layer.largest.shape
    rows = gathered(factors, layer.rows).reshape(groups, outputs, 1)
    return np.asarray((layer.largest / rows).max(axis=1, initial=0.0).reshape(-1))


def gathered(factors: Floats, variables: Variables) -> Floats:
    """The factor of each variable; 1 for those that have none."""
    return np.asarray(np.exp2(np.append(factors, 0.0)[variables]))
