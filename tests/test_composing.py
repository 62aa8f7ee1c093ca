"""Jobs of a sweep are composed as Hydra composes them, and written and read as OmegaConf does, only faster."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from hydra import initialize_config_dir
from hydra.core.config_loader import ConfigLoader
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf, open_dict

from smallgpt.config_yaml import MOST_IN_C, from_yaml, to_yaml, writer
from smallgpt.errors import UserError
from smallgpt.launch import loading
from smallgpt.launch.arm_names import arms_of_sweep
from smallgpt.launch.command_line import chosen_files, given
from smallgpt.launch.composing import JobComposer
from smallgpt.launch.config_files import CONF
from smallgpt.launch.loading import resolved_config
from smallgpt.launch.sweep import RECORD, prepare_job, write_records
from smallgpt.launch.sweep_checks import JobChecks
from smallgpt.launch.this_machine import ThisMachine
from smallgpt.models.configuration import LayoutPart
from smallgpt.models.gpt import GPT, GPTConfig
from smallgpt.reporting.jobs import ReportedJob


@pytest.fixture
def loader() -> Iterator[ConfigLoader]:
    with initialize_config_dir(str(CONF), version_base="1.3"):
        yield GlobalHydra.instance().config_loader()
    HydraConfig.instance().cfg = None


def sweep_with(loader: ConfigLoader, *words: str) -> DictConfig:
    sweep = loader.load_configuration("config", ["hydra.mode=MULTIRUN", "hydra.sweep.dir=s", *words], RunMode.RUN)
    HydraConfig.instance().set_config(sweep)
    return sweep


def as_hydra_does(loader: ConfigLoader, sweep: DictConfig, number: int, words: list[str]) -> list[Any]:
    config = loader.load_sweep_config(sweep, words)
    with open_dict(config):
        config.hydra.job.id = config.hydra.job.num = number
    HydraConfig.instance().set_config(config)
    run_dir = Path(config.hydra.sweep.dir, str(config.hydra.sweep.subdir))
    return [resolved_config(config), run_dir, given(config.hydra), chosen_files(config.hydra)]


def both(composer: JobComposer, number: int, words: list[str]) -> list[Any]:
    job = composer.job(number, words)
    ours = [job.plain, job.run_dir, job.overrides, job.choices]
    assert ours == as_hydra_does(composer.loader, composer.sweep, number, words)
    return ours


GRIDS: dict[str, tuple[list[list[str]], int]] = {
    "values": ([["model=gpt", "optimizer.lr=1e-3", "seed=1"], ["model=gpt", "optimizer.lr=0.02", "seed=2"]], 1),
    "choices": ([["model=gpt", "seed=1"], ["model=lineargpt", "seed=1"], ["model=gpt", "seed=2"]], 2),
    "a group that is not in the sweep": ([["seed=3", "match=params", f"match.to={to}"] for to in ("gpt", "canon")], 2),
    "a key that is added": ([["+model.extra={a:1}", f"model.n_embd={width}"] for width in (64, 128)], 1),
    "a key in what is merged": ([["model={n_layer:6}", f"model.n_layer={layers}"] for layers in (3, 4)], 2),
    "what must be given": (
        [["data=files", f"data.path={path}", "budget=flops", "budget.flops=1e9"] for path in ("x", "'a b'")],
        1,
    ),
    "what another value is read by": ([[f"benchmark.to={to}"] for to in ("gpt", "lineargpt")], 1),
    "lists and interpolations": (
        [[f"prompt=[a,{b}]", f"checkpoint={c}"] for b, c in (("b", "x"), ("c", "${seed}"))],
        1,
    ),
    "a key of Hydra": ([["hydra.job.name=z", f"seed={seed}"] for seed in (1, 2)], 1),
}


@pytest.mark.parametrize(("jobs", "composed"), GRIDS.values(), ids=list(GRIDS))
def test_a_job_is_composed_as_by_hydra(loader, jobs, composed):
    composer = JobComposer(loader, sweep_with(loader))
    for number, words in enumerate(jobs):
        both(composer, number, words)
    assert len(composer.composed) == composed


def test_a_directory_that_says_more_than_the_number_is_composed(loader):
    composer = JobComposer(loader, sweep_with(loader, "hydra.sweep.subdir=${hydra.job.override_dirname}"))
    assert [both(composer, 0, [f"seed={seed}"])[1] for seed in (1, 2)] == [Path("s/seed=1"), Path("s/seed=2")]


def test_a_job_that_cannot_be_composed_says_what_hydra_says(loader):
    sweep = sweep_with(loader)
    for words in (["model.n_embd=64", "model.nothing=3"], ["seed=1", "model=nothing"]):
        with pytest.raises(Exception) as hydra:
            as_hydra_does(loader, sweep, 0, words)
        with pytest.raises(type(hydra.value)) as ours:
            JobComposer(loader, sweep).job(0, words)
        assert str(ours.value) == str(hydra.value)


PLAIN = {
    "numbers": [1, 2.5e-5, 1e16, float("inf"), -0.0, True, None],
    "texts": ["1e3", "yes", "null", "2020-01-01", "0x1f", "", " a", "a: b", "#", "two\nlines\n", "é\U0001f600", "${x}"],
    "nested": {"empty": {}, "list": [[], [{"a": [1]}]]},
    "long": "word " * 60,
}


def test_configs_are_written_and_read_as_by_omegaconf():
    text = to_yaml(PLAIN)
    assert from_yaml(text) == PLAIN
    assert OmegaConf.to_container(OmegaConf.create(text), resolve=False) == PLAIN
    assert text == yaml.dump(PLAIN, Dumper=writer(), allow_unicode=True, sort_keys=False)  # written by groups, and kept
    assert [to_yaml({"a": value}) for value in (1, True, 1.0, "1")] == ["a: 1\n", "a: true\n", "a: 1.0\n", "a: '1'\n"]
    assert to_yaml({}) == "{}\n"
    shared = [1, 2]
    assert "&" not in to_yaml({"a": shared, "b": shared})  # a list that stands twice is written twice
    odd = {"path": "no\udc80utf8"}
    assert from_yaml(to_yaml(odd)) == odd
    with pytest.raises(Exception, match="duplicate key a"):
        from_yaml("a: 1\na: 2\n")
    with pytest.raises(RecursionError):  # which ends the process in the C code
        from_yaml("a: " + "[" * 10 * MOST_IN_C)


def test_imports_begin_beside_the_checks_unless_these_measure_a_latency(loader, monkeypatch):
    begun = []
    monkeypatch.setattr(ThisMachine, "expect", lambda self, plain: begun.append(plain["seed"]))
    for words, expected in (
        ([["seed=3"]], [3]),
        ([["seed=3"], ["seed=4", "match=latency"]], []),
        ([["seed=3", "latency=measured"]], []),
        ([["seed=3", "experiment=matched_latency"]], []),
        ([["seed=3", "model.nothing=1"]], []),  # its check says so
    ):
        begun.clear()
        JobChecks(JobComposer(loader, sweep_with(loader))).expect(words)
        assert begun == expected


class Wide(GPT):
    """A variant whose own class alone says how large it is."""

    config_class = type("WideConfig", (GPTConfig,), {"model_type": "wide", "layout": lambda self: [HUGE]})


HUGE = LayoutPart("embedding", "token embedding", 1, 64, 10**15)


def test_a_job_of_another_class_is_checked_though_its_values_are_the_same(loader, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    checks = JobChecks(JobComposer(loader, sweep_with(loader, "hydra/launcher=basic")))
    checks.check(0, ["model=gpt"])
    with pytest.raises(UserError, match="parameters take"):
        checks.check(1, ["model=gpt", f"model._target_={Wide.__module__}.Wide"])


def test_what_jobs_share_is_checked_once_and_what_is_wrong_in_one_is_found(loader, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    built = []
    build = loading.build_model
    monkeypatch.setattr(loading, "build_model", lambda *given: built.append(given) or build(*given))
    checks = JobChecks(JobComposer(loader, sweep_with(loader, "hydra/launcher=basic")))
    for number, words in enumerate((["seed=1"], ["seed=2", "optimizer.lr=1e-3"], ["model.n_embd=64"], ["seed=3"])):
        settings = checks.check(number, words)
        assert settings.model.n_embd == (64 if number == 2 else 128)
        assert settings.optimizer.lr == (1e-3 if number == 1 else 0.004)
    assert len(built) == 2
    for wrong in ("trainer.threads=1000000", "model.n_layer=100000", "optimizer.lr=-1", "schedule.warmup=2e9"):
        with pytest.raises(UserError, match=wrong.partition("=")[0]):
            checks.check(4, ["seed=1", wrong])


def test_an_arm_is_called_before_its_job_runs_as_by_what_lies_on_the_disk(loader, tmp_path):
    sweep = sweep_with(loader, f"hydra.sweep.dir={tmp_path}")
    words = [[f"model={model}", f"optimizer.lr={rate}", "seed=1"] for model in ("gpt", "canon") for rate in (0.1, 0.2)]
    composer = JobComposer(loader, sweep)
    composed = [composer.job(number, each) for number, each in enumerate(words)]
    jobs = [prepare_job(each) for each in composed]
    write_records(sweep, jobs, composed)
    written = [json.loads((job.run_dir / RECORD).read_text())["arm"] for job in jobs]
    read = [ReportedJob(job.run_dir.name, job.run_dir, {}) for job in jobs]
    assert written == arms_of_sweep([job.described for job in read])
    assert written == ["gpt lr=0.1", "gpt lr=0.2", "canon lr=0.1", "canon lr=0.2"]
