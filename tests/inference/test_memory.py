"""A batch that does not fit in memory: one line, before it is made where that can be known, else from what failed."""

from pathlib import Path
from typing import Any

import pytest
import torch
from command_line import CommandLine
from helpers import Case, build_model
from small_checkpoints import save_checkpoint

from smallgpt.errors import UserError
from smallgpt.machine import control_groups
from smallgpt.machine.memory import free_bytes, peak_memory, refuse_too_large
from smallgpt.models.cost import sequence_bytes
from smallgpt.speed.benchmark import MeasuredModel
from smallgpt.speed.roofline import Work

BENCHMARK = (
    *("task=benchmark", "size=debug", "tokenizer.vocab_size=300", "trainer.threads=1", "benchmark.rounds=1"),
    *("benchmark.prompts=[4]", "benchmark.new_tokens=4"),
)
UNLIMITED = 9223372036854771712  # as version 1 of the groups has it


class System:
    """The files in which Linux says how much memory there is."""

    def __init__(self, root: Path):
        self.root = root

    def write(self, name: str, text: str) -> None:
        (self.root / name).parent.mkdir(parents=True, exist_ok=True)
        (self.root / name).write_text(text)

    def available(self, size: int) -> None:
        self.write("proc/meminfo", f"MemTotal:  99999999 kB\nMemFree:  5 kB\nMemAvailable:  {size // 1024} kB\n")

    def group(self, folder: str, limit: Any, used: int, cached: int, names: tuple[str, str, str]) -> None:
        for name, text in zip(names, (f"{limit}\n", f"{used}\n", f"anon 7\n{names[2]} {cached}\n"), strict=True):
            self.write(f"{folder}/{'memory.stat' if name == names[2] else name}", text)


V1 = ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file")
V2 = ("memory.max", "memory.current", "inactive_file")


@pytest.fixture
def system(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> System:
    found = System(tmp_path_factory.mktemp("system"))
    monkeypatch.setattr(control_groups, "SYSTEM", found.root)
    return found


def test_memory_is_what_the_machine_and_every_group_leave(system: System) -> None:
    assert free_bytes() is None
    system.available(8 * 2**20)
    assert free_bytes() == 8 * 2**20
    system.write("proc/self/cgroup", "5:cpu,cpuacct:/\n4:cpuset,memory:/outer/inner\n0::/job\n")
    assert free_bytes() == 8 * 2**20
    system.group("sys/fs/cgroup/memory", UNLIMITED, 10**9, 0, V1)
    system.group("sys/fs/cgroup/memory/outer/inner", UNLIMITED, 10**6, 0, V1)
    system.group("sys/fs/cgroup/job", "max", 10**6, 0, V2)
    assert free_bytes() == 8 * 2**20
    system.group("sys/fs/cgroup/memory/outer", 7_000_000, 1_500_000, 500_000, V1)
    assert free_bytes() == 6_000_000
    system.group("sys/fs/cgroup", 5_000_000, 4_000_000, 1_000_000, V2)  # a container's, whose path is its host's
    assert free_bytes() == 2_000_000
    system.group("sys/fs/cgroup", 5_000_000, 6_000_000, 0, V2)
    assert free_bytes() == 0


@pytest.mark.skipif(not Path("/proc/meminfo").exists(), reason="not Linux")
def test_this_machine_says_it() -> None:
    assert 2**20 < (free_bytes(torch.device("cpu")) or 0) < 2**50


def test_what_does_not_fit_is_refused_with_what_does() -> None:
    refuse_too_large("key=10:", 10, 10**9, 10 * 10**9)
    refuse_too_large("key=10:", 10, None, 1)
    refuse_too_large("key=10:", 10, 10**9, None)
    with pytest.raises(UserError) as error:
        refuse_too_large("key=10:", 10, 10**9, 3_999_999_999)
    assert str(error.value) == (
        "key=10: needs at least 10 GB beside the weights, and 4 GB of memory are free; at most 3 can fit"
    )
    with pytest.raises(UserError, match="a smaller model or a shorter context needs less"):
        refuse_too_large("key=10:", 10, 10**9, 10**8)


@pytest.mark.parametrize("case", [Case("gpt"), Case("lineargpt", "modern"), Case("parallelgpt")], ids=str)
def test_a_batch_takes_no_less_than_is_said(case: Case) -> None:
    subject = MeasuredModel("model", build_model(case, block_size=160, vocab_size=4096))
    work = Work("decode", 32, 128, 64)
    subject.token_times(Work("decode", 32, 2, 64))
    grown = peak_memory(lambda: subject.token_times(work), subject.device).growth
    said = 64 * (sequence_bytes(subject.config, 32, 160, subject.dtype.itemsize) or 0)
    assert said > 0
    assert grown is None or 0.4 * grown < said < 1.25 * grown  # what was freed before may be used again


def test_batches_are_refused_before_the_first_is_measured(cli: CommandLine, system: System) -> None:
    system.available(10**9)
    message = cli.refused(*BENCHMARK, "model=lineargpt", "benchmark.batches=[1,1000000]")
    assert message.startswith("benchmark.batches=1000000: gpt needs at least ")
    assert "and 1 GB of memory are free; at most " in message
    most = int(message.partition("at most ")[2].split()[0])
    assert 10_000 < most < 1_000_000
    system.available(10**3)
    assert "a smaller model" in cli.refused(*BENCHMARK, "benchmark.batches=[1]")


@pytest.mark.parametrize("beams", [1, 3])
def test_prompts_are_refused_before_they_are_read(cli: CommandLine, system: System, beams: int) -> None:
    save_checkpoint(Case("gpt"), cli.folder / "model")
    words = ("task=generate", "checkpoint=model", f"prompt=[{','.join(['ab'] * 40)}]", f"generation.num_beams={beams}")
    words = (*words, "generation.max_new_tokens=10")
    each = (2 * 4 * 64 * 4 * 12 + 4 * 320 + 4 * 2 * (2 * 64 + 2 * 256)) * beams
    system.available(40 * each + 1024)
    assert cli(*words, "hydra.run.dir=fits").code == 0
    system.available(39 * each + 1024)
    message = cli.refused(*words)
    assert message.startswith("prompt: a batch of 40 needs at least ") and message.endswith("at most 39 can fit")


def test_what_fails_for_want_of_memory_is_one_line(cli: CommandLine, system: System) -> None:
    absurd = 10**12  # more than a process can address, where nothing says how much there is
    outcome = cli(*BENCHMARK, f"benchmark.batches=[{absurd}]")
    assert outcome.code == 1
    assert outcome.err.splitlines() == [
        "error: out of memory; smaller benchmark.batches and benchmark.prompts need less"
    ]
    assert outcome.result["status"] == "failed"
