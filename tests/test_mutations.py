"""Mutated models: a clean error, or a right and valid model; never a traceback or a hang.

500 mutants gate a change, always the same; `make fuzz` makes 10,000 new ones.
"""

from __future__ import annotations

import os
import random
from collections import Counter

import numpy as np
import pytest
from judging import GOOD, campaign, compared
from mutations import MUTATIONS, mutant

FUZZ = os.environ.get("HYPOTHESIS_PROFILE") == "fuzz"
PARTS = 4
COUNT = (10_000 if FUZZ else 500) // PARTS
FIRST = random.SystemRandom().randrange(2**40) if FUZZ else 0


@pytest.mark.parametrize("part", range(PARTS))
def test_a_mutant_is_refused_or_comes_out_right(part: int) -> None:
    found = list(campaign(FIRST + part * COUNT, COUNT))
    assert len(found) == COUNT
    assert [v for v in found if v.found not in GOOD] == []
    # A judge that never gets to see anything would be none.
    counts = Counter(v.found for v in found)
    assert counts["right"] > COUNT // 20
    assert counts["refused"] > COUNT // 20


def test_a_seed_tells_a_mutant() -> None:
    assert mutant(11) == mutant(11)
    assert len({mutant(seed)[1] for seed in range(50)}) > 40


def test_every_mutation_is_drawn() -> None:
    drawn = " ".join(mutant(seed)[0] for seed in range(1500)).split()
    assert {m.__name__ for m in MUTATIONS} <= set(drawn)


def test_a_wrong_result_is_noticed() -> None:
    right = [np.arange(6, dtype=np.float32)]
    assert compared(right, right) == "right"
    assert "off by" in compared([right[0] * 1.01], right)
    assert "instead of" in compared([right[0][None]], right)
    assert "off by" in compared([np.full(6, np.nan, np.float32)], right)
