"""Energy as Linux's counters tell it, also where they begin again."""

from pathlib import Path

import pytest

from smallgpt.machine import energy
from smallgpt.machine.energy import EnergyMeter


def counter(powercap: Path, name: str, microjoules: int) -> None:
    (powercap / name).mkdir(exist_ok=True)
    (powercap / name / "energy_uj").write_text(f"{microjoules}\n")
    (powercap / name / "max_energy_range_uj").write_text("1000000000\n")


@pytest.fixture(autouse=True)
def no_gpu(monkeypatch):
    monkeypatch.setattr(energy, "gpus", dict)


def test_packages_are_added_up_and_their_parts_are_not_counted_twice(tmp_path):
    for name in ("intel-rapl:0", "intel-rapl:1", "intel-rapl:0:0"):
        counter(tmp_path, name, 5_000_000)
    with EnergyMeter(tmp_path) as meter:
        counter(tmp_path, "intel-rapl:0", 7_500_000)
        counter(tmp_path, "intel-rapl:1", 6_000_000)
        counter(tmp_path, "intel-rapl:0:0", 9_000_000)
    assert meter.joules == pytest.approx(3.5)


def test_a_counter_that_begins_again(tmp_path):
    counter(tmp_path, "intel-rapl:0", 999_000_000)
    with EnergyMeter(tmp_path) as meter:
        counter(tmp_path, "intel-rapl:0", 2_000_000)
    assert meter.joules == pytest.approx(3.0)


def test_long_work_is_read_in_between(tmp_path, monkeypatch):
    monkeypatch.setattr(energy, "SECONDS", 0.01)
    counter(tmp_path, "intel-rapl:0", 0)
    with EnergyMeter(tmp_path) as meter:
        for microjoules in (600_000_000, 200_000_000):  # round once in between
            counter(tmp_path, "intel-rapl:0", microjoules)
            while meter.last["intel-rapl:0"][0] != microjoules / 1e6:
                meter.over.wait(0.005)
    assert meter.joules == pytest.approx(1200.0)


def test_a_machine_that_does_not_tell(tmp_path):
    with EnergyMeter(tmp_path / "nowhere") as meter:
        pass
    assert meter.joules is None
