"""Searches with several objectives, their Pareto front, and the sweep that trains its points on fresh seeds."""

import json
import sys
from pathlib import Path

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import OmegaConf

optuna = pytest.importorskip("optuna")

from smallgpt.errors import UserError  # noqa: E402
from smallgpt.launch.front_arms import FrontArms  # noqa: E402
from smallgpt.launch.pruning import in_the_worse_half  # noqa: E402
from smallgpt.launch.search_space import SearchSpace  # noqa: E402
from smallgpt.launch.study import open_study  # noqa: E402
from smallgpt.reporting.front import front_tables  # noqa: E402
from smallgpt.reporting.front_figures import front_figures  # noqa: E402
from smallgpt.reporting.study import read_study  # noqa: E402

WORK = '''
"""A task that takes no time: a wider model is better, and costs more."""
from smallgpt.models.cost import cost
from smallgpt.targets import task

@task
def quick(settings, run_dir):
    price = cost(settings.model)
    with open("begun", "a") as file:
        file.write(run_dir.name + " ")
    loss = 5 - settings.model.n_embd / 100 + settings.model.mlp_taper
    val = {"loss": loss, "bits_per_byte": loss / 2}
    return {"val": val, "cost": price.to_dict(), **({"latency": settings.decoding} if settings.decoding else {})}
'''
METRIC = "hydra.sweeper.metric=[val.bits_per_byte,cost.parameters]"
SEARCH = ("-m", "hydra/sweeper=optuna", "task._target_=work.quick", "hydra/launcher=basic", METRIC, "seed=1")
WIDTHS = ("hydra.sweep.dir=sweep", "model.n_embd=range(32,129,32)", "model.n_head=1,2")


@pytest.fixture
def work(tmp_path, monkeypatch):
    (tmp_path / "work.py").write_text(WORK)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr("smallgpt.contract.required.check_contract", lambda *_: None)  # of each width, for seconds
    monkeypatch.setattr("smallgpt.reporting.figures.draw", front_figures)
    monkeypatch.setattr("smallgpt.reporting.figure_files.save", lambda *_: None)
    yield tmp_path
    sys.modules.pop("work", None)


def result_of(run_dir: Path) -> dict:
    return json.loads((run_dir / "result.json").read_text())


def word(result: dict, key: str) -> str | None:
    return dict(word.split("=", 1) for word in result["overrides"]).get(key)


def rows_of(sweep: Path) -> list[str]:
    """Lines of the table of the front."""
    text = (sweep / "results.md").read_text().split("**The Pareto front**")[1]
    return [line for line in text.splitlines() if "| python run.py " in line]


@pytest.mark.slow
def test_a_search_with_arms_ends_in_its_front_which_a_sweep_trains_on_fresh_seeds(cli, work):
    arms = "hydra.sweeper.arms=[{model:gpt},{model:bowtie,model.narrowest:'interval(0.5,0.9)'}]"
    words = (*SEARCH, *WIDTHS, arms, "model.n_layer=4")
    outcome = cli(*words, "hydra.sweeper.n_trials=3")
    assert outcome.code == 0, outcome.err
    assert "3 of 3 trials" in outcome.err and "on the front of val.bits_per_byte,cost.parameters: jobs " in outcome.err
    outcome = cli(*words, "hydra.sweeper.n_trials=5", "hydra.sweeper.sampler=nsga2")
    assert outcome.code == 0, outcome.err
    found = [result_of(work / "sweep" / str(number)) for number in range(5)]
    assert (work / "begun").read_text().split() == list("01234")
    assert [word(result, "model") for result in found[:2]] == ["gpt", "bowtie"]  # each arm has its turn
    for result in found:
        assert (word(result, "model.narrowest") is None) == (word(result, "model") == "gpt")

    costs = {number: (each["val"]["bits_per_byte"], each["cost"]["parameters"]) for number, each in enumerate(found)}
    best = {
        point
        for point in costs.values()
        if not any(other != point and other[0] <= point[0] and other[1] <= point[1] for other in costs.values())
    }
    assert "experiment=frontier_finals hydra.sweeper.front=sweep" in (work / "sweep" / "results.md").read_text()
    commands = [line.split("|")[-2].strip() for line in rows_of(work / "sweep")]
    on_it = [each["overrides"] for number, each in enumerate(found) if costs[number] in best]
    assert set(commands) == {" ".join(["python run.py", *(w for w in words if w != "seed=1")]) for words in on_it}
    assert '"front_cost_parameters": {' in (work / "sweep" / "report.html").read_text()

    finals = ("-m", "hydra/launcher=basic", "hydra.sweeper.arms=[{model:canon}]", "hydra.sweeper.front=sweep")
    message = cli.refused(*finals, "seed=1,2", "hydra.sweep.dir=finals")
    assert message == "seed=1: hydra.sweeper.front=sweep was chosen on it; take fresh ones, seed=11,12,13"
    message = cli.refused(*finals, "seed=2,3", "model.n_embd=64", "hydra.sweep.dir=finals")
    assert message == "model.n_embd=64: hydra.sweeper.front=sweep chooses model.n_embd; leave it out"
    outcome = cli(*finals, "seed=2,3", "hydra.sweep.dir=finals")
    assert outcome.code == 0, outcome.err
    configs = [OmegaConf.load(path) for path in sorted((work / "finals").glob("*/config.yaml"))]
    assert len(configs) == 2 * (1 + len(commands)) and {config.seed for config in configs} == {2, 3}
    assert {config.model.n_layer for config in configs} == {4}  # what the search had in common, canon too
    assert all("beaten by" in row or "| front" in row for row in rows_of(work / "finals"))
    ours = [result_of(path) for path in (work / "finals").glob("[0-9]*")]
    assert best <= {(each["val"]["bits_per_byte"], each["cost"]["parameters"]) for each in ours}
    assert len(rows_of(work / "finals")) == 1 + len(commands)  # of several seeds what is beaten stands there too


@pytest.mark.slow
def test_values_that_make_no_model_have_no_job_and_are_named(cli, work):
    words = (
        *SEARCH,
        "hydra.sweep.dir=sweep",
        "model.n_embd=64,96",
        "model.n_head=2,5,8",
        "hydra.sweeper.sampler=random",
    )
    outcome = cli(*words, "hydra.sweeper.n_trials=2")
    assert outcome.code == 0, outcome.err
    assert outcome.result["jobs"] == outcome.result["completed"] == 2
    outcome = cli(*words, "hydra.sweeper.n_trials=3")
    assert outcome.code == 0 and (work / "begun").read_text().split() == list("012")
    left_out = json.loads((work / "sweep" / "left_out.json").read_text())
    assert left_out and not any("model.n_head=2" in each["overrides"] for each in left_out)
    study = open_study(work / "sweep", prune=False, objectives=2)
    assert {each.state.name for each in study.trials} == {"COMPLETE", "FAIL"} and len(study.trials) == 3 + len(left_out)


@pytest.mark.slow
def test_refusals(cli, work):
    def refused(*words):
        return cli.refused(*SEARCH, *WIDTHS, *words)

    processes = ("hydra/launcher=processes", "hydra.sweeper.prune=true")
    assert "needs one metric of val, not none" in refused(
        *processes, "hydra.sweeper.metric=[train.loss,cost.parameters]"
    )
    metric = "hydra.sweeper.metric=[val.loss,inference.seconds_per_token]"
    assert "inference.seconds_per_token is not known before the training" in refused(*processes, metric)
    assert "latency.times_baseline: not in the result" in refused(
        *processes, "hydra.sweeper.metric=[val.loss,latency.times_baseline]"
    )
    assert "use budget.tokens or budget.flops" in refused(*processes, "budget=seconds", "budget.seconds=5")
    assert "must name one metric, or several" in refused("hydra.sweeper.metric=[val.loss,val.loss]")
    assert "the arms of this sweep choose model.n_embd" in refused("hydra.sweeper.arms=[{model.n_embd:64}]")
    assert "hydra.sweeper.arms=5: must be a list" in refused("hydra.sweeper.arms=5")
    grid = ("-m", "hydra/launcher=basic", "hydra.sweep.dir=finals")
    assert "no such directory" in cli.refused(*grid, "hydra.sweeper.front=swep")
    (work / "empty").mkdir()
    assert "no search with several metrics" in cli.refused(*grid, "hydra.sweeper.front=empty")
    assert cli(*SEARCH, *WIDTHS, "hydra.sweeper.n_trials=1").code == 0
    message = refused("hydra.sweeper.metric=val.bits_per_byte")
    assert message.startswith("hydra.sweeper.metric=val.bits_per_byte: the study in sweep has val.bits_per_byte,cost.")
    assert "searches arms not at all, this one over model=gpt" in refused("hydra.sweeper.arms=[{model:gpt}]")


def swept(folder: Path, metric: list[str], *jobs: tuple[str, float, int]) -> Path:
    """A search as it lies on the disk: words, bits per byte and parameters of each job."""
    for number, (words, bits, parameters) in enumerate(jobs):
        run_dir = folder / str(number)
        run_dir.mkdir(parents=True)
        overrides = [*words.split(), "budget.tokens=1e6", "experiment=frontier", "seed=1"]
        scores = {"val": {"loss": bits, "bits_per_byte": bits}, "cost": {"parameters": parameters}}
        result = {"status": "completed", "variant": "gpt", "seed": 1, "overrides": overrides, **scores}
        (run_dir / "result.json").write_text(json.dumps(result))
        OmegaConf.save({"seed": 1, "model": {"n_embd": number}}, run_dir / "config.yaml")
    record = {"hydra": {"sweeper": {"metric": metric}, "runtime": {"cwd": str(folder.parent)}}}
    OmegaConf.save(record, folder / "multirun.yaml")
    return folder


def test_the_points_of_a_front_are_arms_with_what_the_search_had_in_common(tmp_path):
    jobs = (
        ("model=gpt model.n_embd=64 data=files", 2.0, 100),
        ("model=gpt model.n_embd=96 data=files", 1.9, 150),
        ("model=canon model.n_embd=64 data=files", 2.0, 110),  # the first is as good, and smaller
    )
    front = FrontArms(swept(tmp_path / "sweep", ["val.bits_per_byte", "cost.parameters"], *jobs))
    parse = OverridesParser.create().parse_overrides

    def texts(*given: str) -> list[list[str]]:
        arms = front.with_points(None, [parse(["model=taper"])], parse(given))
        return [[str(word.input_line) for word in arm] for arm in arms]

    assert texts("seed=2,3") == [
        ["data=files", "budget.tokens=1e6", "model=taper"],
        ["data=files", "budget.tokens=1e6", "model=gpt", "model.n_embd=96"],  # the best first
        ["data=files", "budget.tokens=1e6", "model=gpt", "model.n_embd=64"],
    ]
    assert texts("seed=2,3", "budget.tokens=5e6")[0] == ["data=files", "model=taper"]
    with pytest.raises(UserError, match=r"^model.n_embd=32: hydra.sweeper.front=.*sweep chooses model.n_embd;"):
        texts("model.n_embd=32")
    with pytest.raises(UserError, match=r"^model.n_embd=32,64: hydra.sweeper.front=.*sweep chooses model.n_embd;"):
        texts("model.n_embd=32,64")
    with pytest.raises(UserError, match=r"^seed=1: .* was chosen on it; take fresh ones"):
        front.refuse_known_seeds([["model=gpt", "seed=2"], ["model=gpt", "seed=1"]], default=1337)
    with pytest.raises(UserError, match=r"^seed=1: "):
        front.refuse_known_seeds([["model=gpt"]], default=1)
    front.refuse_known_seeds([["model=gpt", "seed=11"]], default=1)
    for found, message in (("swep", "no such directory"), (".", "no search with several metrics")):
        with pytest.raises(UserError, match=message):
            FrontArms(tmp_path / found)


def test_the_front_is_a_table_with_commands_and_a_figure_for_each_cost(tmp_path):
    jobs = (("model=gpt model.n_embd=64", 2.0, 100), ("model=gpt model.n_embd=96", 1.9, 150), ("model=canon", 2.1, 120))
    study = read_study([swept(tmp_path / "sweep", ["val.bits_per_byte", "cost.parameters"], *jobs)])
    (table,) = front_tables(study.comparisons[0])
    assert [row[-1].text for row in table.rows] == [
        "python run.py model=gpt model.n_embd=96 budget.tokens=1e6",
        "python run.py model=gpt model.n_embd=64 budget.tokens=1e6",
    ]
    assert [row[2].text for row in table.rows] == ["1.9000", "2.0000"]
    assert "experiment=frontier_finals hydra.sweeper.front=" in table.notes[-1]
    (drawn,) = front_figures(study.comparisons[0])
    assert drawn.error is None and drawn.title == "validation bits per byte against parameters"
    assert "beaten" in json.dumps(drawn.spec)
    single = read_study([swept(tmp_path / "single", ["val.loss"], *jobs)])
    assert single.comparisons[0].metrics == ()


def test_an_arm_has_keys_of_its_own_in_the_space():
    parse = OverridesParser.create().parse_overrides
    arms = [
        parse(["model=gpt"]),
        parse(["model=bowtie", "model.turn=0.5,0.75"]),
        parse(["model=canon", "model.turn=1,2"]),
    ]
    space = SearchSpace(parse(["model.n_layer=range(4,9,2)", "seed=1"]), arms)
    assert [space.words(params) for params in space.firsts()] == [
        ["model=gpt", "model.n_layer=4", "seed=1"],
        ["model=bowtie", "model.turn=0.5", "model.n_layer=4", "seed=1"],
        ["model=canon", "model.turn=1", "model.n_layer=4", "seed=1"],
    ]
    assert [space.words(params)[1] for params in space.choices()] == ["model.turn=0.75", "model.turn=2"]
    study = optuna.create_study()
    for _ in range(12):
        trial = study.ask()
        space.suggest(trial)
        space.suggest(trial)  # as of a search that goes on: nothing changes
        assert ("model.turn" in " ".join(space.words(trial.params))) == (trial.params["arms"] != "model=gpt")
        assert len(space.chosen(trial.params).split()) == len(space.words(trial.params)) - 1
        study.tell(trial, 1.0)


def trial(costs: list[float], *scores: float, every: int = 100) -> dict:
    """What a study notes of a trial of 1,000 tokens that was validated so often."""
    return {"costs": costs, "tokens": 1000, "curve": [[every * (i + 1), score] for i, score in enumerate(scores)]}


def test_halving_stops_what_is_worse_than_most_that_cost_no_more():
    cheap = [trial([1, 1], 5.0, 4.0, 3.0), trial([1, 2], 5.0, 4.1, 3.1), trial([2, 2], 5.0, 4.2, 3.2)]
    assert in_the_worse_half(trial([2, 2], 5.1, 4.15), cheap)  # two of three are better, at a rung of 125 tokens: 5.0
    assert not in_the_worse_half(trial([2, 2], 4.9, 5.0), cheap)  # the rung takes the validation at 100
    assert not in_the_worse_half(trial([2, 2], 5.1), cheap)  # before the first rung
    assert not in_the_worse_half(trial([2, 2], 5.1, 4.15), cheap[:2])  # too few
    assert not in_the_worse_half(trial([1, 1], 9.0, 9.0), cheap)  # only one costs no more
    assert not in_the_worse_half(trial([3, 0.5], 9.0, 9.0), cheap)  # none of them in the second cost
    assert in_the_worse_half(trial([3, 3], 1.0, 9.0, 9.0), cheap)  # the last rung counts, 250 tokens
    assert not in_the_worse_half(trial([3, 3], *[9.0] * 10), cheap)  # it is over
    assert not in_the_worse_half({}, cheap) and not in_the_worse_half(trial([3, 3], 9.0, 9.0), [{}, {}, {}])


@pytest.mark.slow
def test_a_latency_is_measured_before_and_stands_in_the_result(cli, work, monkeypatch):
    from smallgpt.speed.latency import Latencies

    monkeypatch.setattr(Latencies, "measure", lambda self, config: (config.n_embd * 1e-5, 1e-3))
    metric = "hydra.sweeper.metric=[val.loss,latency.times_baseline]"
    outcome = cli(*SEARCH, *WIDTHS, "latency=measured", metric, "hydra.sweeper.n_trials=3")
    assert outcome.code == 0, outcome.err
    found = [result_of(work / "sweep" / str(number))["latency"] for number in range(3)]
    for number, latency in enumerate(found):
        width = OmegaConf.load(work / "sweep" / str(number) / "config.yaml").model.n_embd
        assert latency["seconds_per_token"] == pytest.approx(width * 1e-5)
        assert latency["times_baseline"] == pytest.approx(width * 1e-2)
    assert "| ms a token |" in (work / "sweep" / "results.md").read_text()
    assert "latency/times_baseline" in (work / "sweep" / "results.csv").read_text()
    assert "latency=measured: measured on this machine" in cli.refused(
        "-m", "latency=measured", "hydra/launcher=ray", "seed=1", "hydra.sweep.dir=other"
    )
