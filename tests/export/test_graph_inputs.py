"""The cache inputs of a graph hold what the cost card says that a sequence keeps."""

from math import prod

import pytest
from helpers import CASES, build_config

from smallgpt.export.graph_inputs import PAIR, cache_inputs


@pytest.mark.parametrize("case", CASES, ids=str)
def test_states_of_convolutions_are_those_of_the_cost_card(case):
    config = build_config(case)
    states = [each for each in cache_inputs(config) if each.kind not in PAIR]
    kept = sum(prod(size for size in each.shape if not isinstance(size, str)) for each in states)
    assert kept == sum(part.state_elements for part in config.layout() if part.active)
