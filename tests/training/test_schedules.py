import math
from itertools import pairwise

import pytest

from smallgpt.training.schedules import WSD, Constant, Cosine

SCHEDULES = [Cosine(), WSD(), Constant(), Cosine(warmup=50), WSD(warmup=50, decay=1)]
TOTAL = 1000


def factors(schedule, total: int = TOTAL) -> list[float]:
    schedule = schedule.for_steps(total)
    return [schedule.factor(step, step / total) for step in range(total + 1)]


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_warms_up_to_one_and_ends_at_final(schedule):
    curve = factors(schedule)
    assert 0 < curve[0] < 0.05
    assert max(curve) == pytest.approx(1.0)
    assert curve[-1] == pytest.approx(getattr(schedule, "final", 1.0))


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_has_no_jumps(schedule):
    curve = factors(schedule)
    steepest = 1.001 / 37  # the warm-up's own step
    assert max(abs(a - b) for a, b in pairwise(curve)) <= steepest


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_rises_then_never_rises_again(schedule):
    curve = factors(schedule)
    top = curve.index(max(curve))
    assert curve[:top] == sorted(curve[:top])
    assert curve[top:] == sorted(curve[top:], reverse=True)


def test_is_the_papers_schedule():
    """The authors' loop: 715 of 19,073 steps of warm-up, then a cosine from 6e-4 to 6e-5."""
    ours = Cosine().for_steps(19_073)
    for step in (0, 1, 714, 715, 716, 5000, 12_000, 19_072):
        if step < 715:
            theirs = (step + 1) / 715
        else:
            done = (step - 715) / (19_073 - 715)
            theirs = 0.1 + 0.5 * (1 + math.cos(math.pi * done)) * 0.9
        assert ours.factor(step, step / 19_073) == pytest.approx(theirs, rel=1e-12)


def test_wsd_is_flat_until_its_decay():
    curve = factors(WSD(warmup=0.05, decay=0.2, final=0.1))
    assert set(curve[50:801]) == {1.0}
    assert curve[900] == pytest.approx(0.55)


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_by_time_a_fraction_and_its_steps_agree(schedule):
    """Under a budget of seconds only progress is known; at an even pace the curves are the same."""
    for step in range(60, TOTAL + 1, 20):
        expected = schedule.for_steps(TOTAL).factor(step, step / TOTAL)
        assert schedule.factor(step, step / TOTAL) == pytest.approx(expected, abs=2e-3)


def test_a_warmup_longer_than_the_run_only_rises():
    curve = factors(Cosine(warmup=5000))
    assert curve == sorted(curve) and curve[-1] < 0.21


def test_a_run_of_one_step_learns():
    assert Cosine().for_steps(1).factor(0, 0.0) == 1.0
