"""The expected time of a run, from rehearsals that leave no trace."""

import pytest
import torch
from tiny_run import tiny_model

from smallgpt.training.forecast import Forecast, about, what_is_left
from smallgpt.training.optimizers import AdamW, Muon
from smallgpt.training.run_length import RunLength

CLOCKS = {"seconds", "speed/tokens_per_second", "speed/mfu"}


@pytest.mark.parametrize("optimizer", [AdamW(lr=1e-2), Muon(lr=1e-2)], ids=["adamw", "muon"])
def test_a_forecast_changes_neither_losses_nor_weights(fit, optimizer, capsys):
    plain, with_forecast = (
        fit(steps=4, every=2, optimizer=optimizer, model=tiny_model(dropout=0.2), name=name, first=first)
        for name, first in (("plain", ()), ("with", (Forecast(every=2),)))
    )
    for metric in ("train/loss", "val/loss"):
        tables = [
            [{k: v for k, v in row.items() if k not in CLOCKS} for row in run.rows(metric)]
            for run in (plain, with_forecast)
        ]
        assert tables[0] == tables[1]
    pairs = zip(plain.module.parameters(), with_forecast.module.parameters(), strict=True)
    assert all(torch.equal(a, b) for a, b in pairs)
    lines = [line for line in capsys.readouterr().err.splitlines() if "expected time" in line]
    assert lines == ["expected time: a few seconds, for 4 steps and 2 validations"]


def test_rehearsals_are_no_training_time(fit):
    class Slow(Forecast):
        def on_train_batch_start(self, trainer, module, *rest):
            super().on_train_batch_start(trainer, module, *rest)
            assert module.clock.seconds < 0.05

    fit(steps=1, first=(Slow(),))


@pytest.mark.parametrize(
    ("length", "step", "elapsed", "every", "left"),
    [
        (RunLength(steps=489), 0, 0.0, None, (489, 10)),
        (RunLength(steps=489), 300, 60.0, None, (189, 4)),
        (RunLength(steps=489), 0, 0.0, 100, (489, 5)),
        (RunLength(steps=400), 0, 0.0, 100, (400, 4)),
        (RunLength(steps=5), 0, 0.0, 999, (5, 1)),
        (RunLength(steps=3), 0, 0.0, None, (3, 3)),
        (RunLength(seconds=60), 0, 0.0, None, (120, 10)),
        (RunLength(seconds=60), 80, 40.0, 50, (40, 2)),
    ],
)
def test_what_is_left_of_a_run(length, step, elapsed, every, left):
    assert what_is_left(length, step, elapsed, step_seconds=0.5, every=every) == left


def test_times_are_said_as_surely_as_they_are_known():
    times = {3: "a few seconds", 44: "about 40 s", 222: "about 4 min", 5000: "about 83 min", 9000: "about 2.5 h"}
    assert {seconds: about(seconds) for seconds in times} == times
    assert about(100_000) == "about 28 h"
