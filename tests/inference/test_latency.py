"""Widths that are solved for by measuring: what is measured when, by whom, and what is kept. No time is asserted."""

import json
import subprocess
import sys
import threading
from importlib.util import find_spec
from pathlib import Path
from shutil import rmtree
from typing import Any

import pytest
import torch
from command_line import RUN, CommandLine
from filelock import FileLock
from helpers import SMALL

from smallgpt.errors import UserError
from smallgpt.models.configuration import DecoderConfig
from smallgpt.models.gpt import GPT, GPTConfig
from smallgpt.models.lineargpt import LinearGPT, LinearGPTConfig
from smallgpt.settings import Trainer
from smallgpt.speed import latency
from smallgpt.speed.latency import Latencies

ONE_THREAD = Trainer(threads=1)
WORDS = ("match=latency", "size=debug", "tokenizer.vocab_size=300", "trainer.threads=1")
IN_PROCESS = ("hydra/launcher=basic", "~hydra.callbacks.report", "hydra.sweep.dir=sweep")
TRAINING = (
    *("data=files", "data.path=text.txt", "data.holdout=0.3", "batch.tokens=512", "budget.tokens=1024"),
    "validation.tokens=1000",
)


@pytest.fixture
def measured(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Stands for the machine: a narrowing model takes half as long a feature. Notes the width of what is measured."""
    noted: list[Any] = []

    def measure(self: Latencies, config: DecoderConfig) -> tuple[float, float]:
        noted.append(config.n_embd)
        return seconds(config), seconds(self.baseline)

    def seconds(config: DecoderConfig) -> float:
        return 1e-5 * config.n_embd * (0.5 if isinstance(config, LinearGPTConfig) else 1)

    monkeypatch.setattr(Latencies, "measure", measure)
    return noted


def latencies(folder: Path, trainer: Trainer = ONE_THREAD, **changes: Any) -> Latencies:
    config = LinearGPTConfig(**{**SMALL, "allow_narrow": True, **changes})
    return Latencies(LinearGPT, config, GPT, GPTConfig(**SMALL), trainer, folder)


def at(width: int) -> DecoderConfig:
    return LinearGPTConfig(**{**SMALL, "allow_narrow": True, "n_embd": width})


def write_text() -> None:
    Path("text.txt").write_text("\n\n".join(f"Sentence {i} of a text with {i % 7} words." for i in range(2000)))


# -- what is kept ----------------------------------------------------------------------------------------------------


def test_a_size_is_measured_once_and_its_file_can_be_read(tmp_path: Path, measured: list[Any]) -> None:
    first = latencies(tmp_path).of(at(96))
    assert first == pytest.approx((4.8e-4, 6.4e-4)) and measured == [96]
    assert latencies(tmp_path, dropout=0.5).of(at(96)) == first and measured == [96]
    latencies(tmp_path).of(at(128))
    assert measured == [96, 128]
    (file,) = (tmp_path / "latency").glob("*.json")
    kept = json.loads(file.read_text())
    assert [(size["n_layer"], size["n_embd"]) for size in kept["sizes"]] == [(4, 96), (4, 128)]
    assert kept["conditions"]["threads"] == 1 and kept["conditions"]["model"]["model_type"] == "smallgpt-linear"
    assert kept["conditions"]["torch"] == torch.__version__ and kept["conditions"]["processor"]


@pytest.mark.parametrize(
    ("trainer", "changes"),
    [(Trainer(threads=2), {}), (ONE_THREAD, {"vocab_size": 128}), (ONE_THREAD, {"downsample_frequency": 1})],
)
def test_other_conditions_are_measured_again(tmp_path: Path, measured: list[Any], trainer: Any, changes: Any) -> None:
    latencies(tmp_path).of(at(96))
    latencies(tmp_path, trainer, **changes).of(at(96))
    assert measured == [96, 96]


def test_another_processor_measures_again(tmp_path: Path, measured: list[Any], monkeypatch: pytest.MonkeyPatch) -> None:
    latencies(tmp_path).of(at(96))
    monkeypatch.setattr(latency, "cpu_name", lambda: "another one")
    latencies(tmp_path).of(at(96))
    assert measured == [96, 96]


@pytest.mark.parametrize("text", ["", "{", "[]", '{"conditions": {}, "sizes": [{"n_layer": 4, "n_embd": 96}]}'])
def test_a_damaged_file_is_measured_again(tmp_path: Path, measured: list[Any], text: str) -> None:
    some = latencies(tmp_path)
    first = some.of(at(96))
    some.path.write_text(text)
    assert some.of(at(96)) == first and measured == [96, 96]
    assert latencies(tmp_path).of(at(96)) == first and measured == [96, 96]


def test_a_second_process_waits_and_takes_what_the_first_has_found(
    tmp_path: Path, measured: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = latencies(tmp_path), latencies(tmp_path)
    first.of(at(64))
    waits = threading.Event()
    monkeypatch.setattr(latency, "say", lambda line: waits.set() if line.startswith("waiting") else None)
    found: list[Any] = []
    other = threading.Thread(target=lambda: found.append(second.of(at(96))))
    with FileLock(first.path.with_name(".lock")):
        other.start()
        assert waits.wait(60)
        sizes = [*json.loads(first.path.read_text())["sizes"], {"n_layer": 4, "n_embd": 96}]
        sizes[-1] |= {"seconds": 2.0, "baseline_seconds": 1.0}
        first.path.write_text(json.dumps({"conditions": {}, "sizes": sizes}))
    other.join(60)
    assert found == [(2.0, 1.0)] and measured == [64]


def test_a_cache_that_cannot_be_written_is_named(tmp_path: Path, measured: list[Any]) -> None:
    (tmp_path / "latency").touch()
    with pytest.raises(UserError, match=rf"^cache_dir={tmp_path}: cannot be written \([^\n]+$"):
        latencies(tmp_path).of(at(96))


# -- how it is measured ----------------------------------------------------------------------------------------------


def test_it_is_measured_with_the_threads_of_a_run_and_leaves_no_trace(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = []

    def in_turn(subjects: Any, works: Any, rounds: int) -> Any:
        seen.append((torch.get_num_threads(), [type(subject.model) for subject in subjects]))
        return [{works[0]: [1.0, 2.0, 4.0]}, {works[0]: [3.0, 4.0, 6.0]}][: len(subjects)]

    monkeypatch.setattr(latency, "in_turn", in_turn)
    threads, state = torch.get_num_threads(), torch.get_rng_state()
    assert latencies(tmp_path, Trainer(threads=threads + 1)).of(at(96)) == (4.0, 2.0)  # twice as long in the middle
    assert seen == [(threads + 1, [GPT, LinearGPT])] * 3
    assert torch.get_num_threads() == threads and torch.equal(torch.get_rng_state(), state)
    baseline = GPTConfig(**SMALL)
    assert Latencies(GPT, baseline, GPT, baseline, ONE_THREAD, tmp_path).of(baseline) == (2.0, 2.0)
    assert seen[-1] == (1, [GPT])  # itself is not measured beside itself


def test_without_a_number_of_threads_it_does_not_hang_on_the_share_of_a_job(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(latency, "available_cores", lambda: 6)
    before = latencies(tmp_path, Trainer())
    threads = torch.get_num_threads()
    torch.set_num_threads(threads + 1)
    try:
        assert latencies(tmp_path, Trainer()).path == before.path and before.threads == 6
    finally:
        torch.set_num_threads(threads)


# -- where it is measured --------------------------------------------------------------------------------------------

WORK = """
from smallgpt.targets import task
from smallgpt.speed import latency

@task
def note(settings, run_dir):
    latency.noted.append(f"job {run_dir.name}")
    return {"match": settings.matched.to_dict()}
"""


@pytest.fixture
def jobs_note(cli: CommandLine, measured: list[Any], monkeypatch: pytest.MonkeyPatch) -> Any:
    """A task whose jobs note themselves among what is measured."""
    (cli.folder / "work.py").write_text(WORK)
    monkeypatch.syspath_prepend(str(cli.folder))
    monkeypatch.setattr(latency, "noted", measured, raising=False)
    yield "task._target_=work.note"
    sys.modules.pop("work", None)


def sections(sweep: str) -> list[dict[str, Any]]:
    paths = sorted(Path(sweep).glob("*/result.json"))
    return [json.loads(path.read_text())["match"] for path in paths]


def test_a_sweep_measures_before_its_first_job_and_all_jobs_agree(
    cli: CommandLine, jobs_note: str, measured: list[Any]
) -> None:
    sweep = ("-m", jobs_note, "model=gpt,lineargpt", "seed=1,2", *WORDS, *IN_PROCESS)
    done = cli(*sweep)
    assert done.code == 0, done.err
    assert measured == [64, 64, 128, "job 0", "job 1", "job 2", "job 3"]
    assert "n_layer=4 n_embd=128: 0.64 ms a token, +0.0% of the baseline's" in done.err
    assert [section["n_embd"] for section in sections("sweep")] == [64, 64, 128, 128]
    assert {section["quantity"] for section in sections("sweep")} == {"seconds a token"}
    again = cli("-m", jobs_note, "model=lineargpt", "seed=3", *WORDS, *IN_PROCESS[:-1], "hydra.sweep.dir=again")
    assert again.code == 0 and measured[7:] == ["job 0"]
    assert sections("again") == sections("sweep")[-1:]


@pytest.mark.slow
@pytest.mark.skipif(find_spec("optuna") is None, reason="optuna is not installed")
def test_a_search_measures_before_the_jobs_that_run_together(
    cli: CommandLine, jobs_note: str, measured: list[Any]
) -> None:
    options = ("hydra.sweeper.n_trials=6", "hydra.sweeper.metric=match.value", "hydra.sweeper.batch=6")
    words = ("model=gpt,lineargpt,convgpt", "hydra/sweeper=optuna", *options, *IN_PROCESS)
    done = cli("-m", jobs_note, *words, *WORDS)
    assert done.code == 0, done.err
    assert len({section["value"] for section in sections("sweep")}) == 1
    # of gpt, lineargpt and convgpt
    assert sorted(measured[:-6]) == [64, 64, 64, 128] and measured[-6:] == [f"job {number}" for number in range(6)]


def test_a_size_that_is_not_found_is_left_out_with_every_seed(cli: CommandLine, measured: list[Any]) -> None:
    words = ("-m", "task=inspect", "model=gpt,lineargpt", "match.to=lineargpt", "model.n_head=3", "model.n_embd=48")
    done = cli(*words, "seed=1,2", *WORDS, *IN_PROCESS)
    assert done.code == 0, done.err
    assert "left out, 2 of 4 jobs: match.to=lineargpt: smallgpt-gpt: no n_embd comes within 5% of 0.24 ms" in done.err
    assert "nearest is n_embd=48 with 0.48 ms a token (+100.0%), which match.tolerance=1.001 accepts" in done.err
    assert measured == [48, 48]


def test_what_composes_alone_measures_nothing(cli: CommandLine, measured: list[Any]) -> None:
    assert "quantity: latency" in cli(*WORDS, "--cfg", "job").out
    assert "latency" in cli("--help").out
    assert measured == []
    done = cli("task=inspect", "model=lineargpt", *WORDS)
    assert "n_embd 64 -> 128, n_layer 4 -> 4: 0.64 ms a token, +0.00% of 0.64 ms a token" in done.out
    assert done.result["match"]["value"] == pytest.approx(6.4e-4) and measured == [64, 128]


@pytest.mark.slow
def test_a_run_that_was_begun_at_another_size_is_refused(
    cli: CommandLine, measured: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    write_text()
    words = ("-m", "model=lineargpt", *WORDS, *TRAINING, *IN_PROCESS)
    assert cli(*words).code == 0
    assert sections("sweep")[0]["n_embd"] == 128
    assert cli(*words).code == 0  # nothing is left to do
    rmtree("cache/latency")
    monkeypatch.setattr(Latencies, "measure", lambda self, config: (1e-5 * config.n_embd, 9.6e-4))
    done = cli(*words)
    assert done.code == 1
    message = "hydra.sweep.dir=sweep/0: was begun with n_embd=128, and match now comes to 96; choose another directory"
    assert done.result["error"] == message


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["match.exclude_embeddings=true"], "match.exclude_embeddings=true: a token's time is that of the whole model"),
        (["trainer.num_nodes=2"], "trainer.num_nodes=2: a latency is measured on one machine"),
        (["model.block_size=2"], "model.block_size=2: too short a context to decode in; use at least 3"),
    ],
)
def test_what_cannot_be_measured_is_refused_before_it_is(
    cli: CommandLine, measured: list[Any], words: list[str], says: str
) -> None:
    assert says in cli.refused("task=inspect", *WORDS, *words)
    assert measured == []


@pytest.mark.skipif(find_spec("ray") is None, reason="ray is not installed")
def test_jobs_on_other_machines_are_refused(cli: CommandLine, measured: list[Any]) -> None:
    message = cli.refused("-m", "task=inspect", "seed=1,2", *WORDS, "hydra/launcher=ray")
    assert message.startswith("match=latency: measured on this machine, and hydra/launcher=ray runs jobs on others")
    assert measured == []


# -- as it is, where any size is near enough -------------------------------------------------------------------------


def test_a_real_run(cli: CommandLine) -> None:
    write_text()
    done = cli("model=lineargpt", *WORDS, *TRAINING, "match.tolerance=20", "hydra.run.dir=run")
    assert done.code == 0, done.err
    assert done.err.count("measuring how long smallgpt-linear takes for a token beside smallgpt-gpt, threads: 1") == 1
    section = json.loads(Path("run/result.json").read_text())["match"]
    (file,) = Path("cache/latency").glob("*.json")
    (size,) = json.loads(file.read_text())["sizes"]
    assert (section["value"], section["target"]) == (size["seconds"], size["baseline_seconds"])
    assert section["value"] > 0 and section["n_embd"] == size["n_embd"] == 64


@pytest.mark.slow
def test_a_real_sweep_measures_in_its_starter_alone(cli: CommandLine) -> None:
    words = ("task=inspect", "model=gpt,lineargpt", *WORDS, "match.tolerance=20", *IN_PROCESS[1:])
    command = [sys.executable, str(RUN), "-m", *words, "hydra.launcher.n_jobs=2"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=400)
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("measuring how long") == 2
    logs = [path.read_text() for path in Path("sweep").glob("*/log.txt")]
    assert len(logs) == 2 and all("ms a token" in log and "measuring" not in log for log in logs)
