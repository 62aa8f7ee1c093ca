"""A sweep of task=inspect ends in one table of costs, and each job says how long a training takes here."""

from pathlib import Path

import pytest
import torch
from command_line import CommandLine
from hydra import compose, initialize_config_dir

from smallgpt.launch.config_files import CONF
from smallgpt.launch.loading import load_settings
from smallgpt.reporting.cost_card import time_line
from smallgpt.training import step_time as timing


def rows(out: str) -> dict[str, list[str]]:
    """Rows of the last table by their names; cells stand two blanks apart."""
    table = out[out.rindex("parameters  ") :].splitlines()
    split = [[cell.strip() for cell in line.split("  ") if cell.strip()] for line in table]
    return {cells[0]: cells[1:] for cells in split if cells}


def test_a_sweep_of_costs_ends_in_one_table(cli: CommandLine):
    words = ("size=debug", "model=lineargpt,gpt", "seed=1,2", "hydra.sweep.dir=sweep", "hydra/launcher=basic")
    done = cli("-m", "task=inspect", *words)
    assert done.code == 0, done.err
    last = done.out[done.out.rindex('{"status": "completed", "error"') :]
    assert last.count("parameters  ") == 1 and " arms" not in last
    head = last.splitlines()[3].split()
    assert head == ["gpt", "lineargpt"]  # the baseline first, and each arm once
    found = rows(done.out)
    assert found["parameters"] == ["457.3 k", "388.5 k (-15%)"]
    assert found["training FLOPs a token"] == ["2.84 MFLOP", "2.403 MFLOP (-15%)"]
    assert found["cache a token"] == ["1.024 kB", "768 B (-25%)"]
    assert found["blocks@width"] == ["4@64 head@64", "2@64 linear 2@32 linear head@16"]
    assert found["downsample_operator"] == ["-", "linear"] and "downsample_times" not in found
    assert {"memory of training, estimated", "tokens/s in training here", "time of the run here"} <= found.keys()
    assert "The same for all: embedding 262.1 k, tokens of the run 700.4 k." in last
    assert "forecast/tokens_per_second" in Path("sweep/results.csv").read_text()


def settings(*words: str):
    with initialize_config_dir(str(CONF), version_base="1.3"):
        return load_settings(compose("config", ["task=inspect", *words]), words)


def test_a_step_is_measured_on_as_much_as_takes_seconds(cli: CommandLine, monkeypatch: pytest.MonkeyPatch):
    cpu, seen = torch.device("cpu"), []

    def timed(_, sequences, *__):
        seen.append(sequences)
        return 2.0, 1.0

    monkeypatch.setattr(timing, "timed", timed)
    small = settings("model=gpt", "size=debug", "batch.tokens=1024", "batch.micro=4")
    assert timing.step_time(small, cpu, "fp32") == timing.StepTime(4 * 2.0 + 1.0, True)
    monkeypatch.setitem(timing.MOST_FLOPS, "cpu", 1.3e9)  # two sequences and an update
    assert timing.step_time(small, cpu, "fp32") == timing.StepTime(4 * 4.0 + 1.0, True)
    assert seen == [4, 2]
    monkeypatch.setitem(timing.MOST_FLOPS, "cpu", 1e6)
    monkeypatch.setattr(timing, "peak_flops", lambda *_: 1e9)
    bound = timing.step_time(small, cpu, "fp32")
    assert bound is not None and not bound.measured and bound.seconds == pytest.approx(1024 * 2.84e6 / 1e9, rel=0.01)
    monkeypatch.setattr(timing, "peak_flops", lambda *_: None)
    assert timing.step_time(small, cpu, "fp32") is None


def test_measuring_leaves_random_numbers_alone(cli: CommandLine):
    small = settings("size=debug")
    torch.manual_seed(0)
    expected = torch.rand(1)
    torch.manual_seed(0)
    micro_batch, update = timing.timed(small, 1, torch.device("cpu"), "fp32")
    assert 0 < micro_batch < 60 and 0 < update < 60 and torch.equal(torch.rand(1), expected)


@pytest.mark.parametrize(
    ("forecast", "line"),
    [
        ({"seconds": 125.0, "measured": True}, "2:05, 500 tokens/s, measured on random tokens; "),
        ({"seconds": None, "measured": True}, "500 tokens/s, measured"),
        ({"seconds": 125.0, "measured": False}, "over 2:05, under 500 tokens/s: the products alone"),
    ],
)
def test_a_time_in_words(forecast, line):
    assert time_line({"tokens_per_second": 500.0, **forecast}).startswith(line)
