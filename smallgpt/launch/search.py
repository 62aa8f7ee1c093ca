"""`hydra/sweeper=optuna`: the jobs of a sweep follow from the results of those before, by Optuna's ask and tell.

The study is one file at the top of the sweep's directory, and the number of a trial is that of its job. A trial is told
when its job is completed or pruned. One that failed or was cut off stays open: Optuna's sampler keeps away from it, and
the next start runs it again under its number, as a grid does.
"""

import warnings
from collections.abc import Iterator, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np
import optuna
from filelock import Timeout
from hydra.core.config_loader import ConfigLoader
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.utils import JobReturn
from hydra.plugins.launcher import Launcher
from omegaconf import DictConfig, OmegaConf
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.samplers import BaseSampler, RandomSampler, TPESampler
from optuna.trial import FrozenTrial, TrialState
from pydantic import Field

from smallgpt.errors import UserError, nearest_key
from smallgpt.launch.checks import check_job
from smallgpt.launch.command_line import given
from smallgpt.launch.loading import build
from smallgpt.launch.search_space import distribution, distribution_text, first, spelled
from smallgpt.launch.study import STUDY, cut_torn_line, open_study, refuse_damaged, study_lock
from smallgpt.launch.sweep_job import OVER, SweepJob
from smallgpt.notices import say
from smallgpt.packages import private
from smallgpt.results import validations
from smallgpt.settings import Group

EXAMPLE = "optimizer.lr=tag(log,interval(1e-4,1e-2))"


class Options(Group):
    """Options of `hydra/sweeper=optuna`."""

    n_trials: int = Field(20, gt=0)
    """Number of trials of the study, over all of its starts."""
    sampler: Literal["tpe", "random"] = "tpe"
    metric: str = "val.loss"
    """Dotted key of a number in result.json; the least is the best."""
    seed: int | None = Field(0, ge=0)
    prune: bool = False
    batch: int = Field(1, gt=0)
    """Number of jobs that are chosen together, before the results of any of them are known."""
    params: dict[str, Any] = Field(default_factory=dict)
    """Overrides that a recipe gives; those of the command line replace them."""


class Search:
    """Search over the values of a sweep, with the Optuna study that remembers its trials.

    Args:
        config: composed config of the sweep, with Hydra's own node.
        options: values of `Options`.
    """

    def __init__(self, config: DictConfig, options: dict[str, Any]) -> None:
        plain = OmegaConf.to_container(OmegaConf.create(options))
        self.options = build(Options, "hydra.sweeper", plain)
        self.loader: ConfigLoader = GlobalHydra.instance().config_loader()
        self.config = config
        self.sweep_dir = Path(config.hydra.sweep.dir)
        words = [f"{key}={value}" for key, value in self.options.params.items()]
        overrides = OverridesParser.create(config_loader=self.loader).parse_overrides([*words, *given(config.hydra)])
        self.overrides = {override.get_key_element(): override for override in overrides}
        self.refuse_pruning()
        self.space = {
            key: distribution(override) for key, override in self.overrides.items() if override.is_sweep_override()
        }
        if not self.space:
            raise UserError(f"hydra/sweeper=optuna: nothing to search over; give a key several values, as {EXAMPLE}")
        optuna.logging.set_verbosity(optuna.logging.ERROR)
        warnings.filterwarnings("ignore", category=optuna.exceptions.ExperimentalWarning)

    def refuse_pruning(self) -> None:
        if not self.options.prune:
            return
        if not str(self.config.hydra.launcher._target_).startswith("hydra_plugins.smallgpt_launcher."):
            raise UserError("hydra.sweeper.prune=true: needs hydra/launcher=processes, slurm or ray")
        if not self.options.metric.startswith("val."):
            raise UserError(f"hydra.sweeper.prune=true: a validation does not measure {self.options.metric}")

    def words(self, params: dict[str, Any]) -> list[str]:
        """Overrides that run a trial with these values."""
        return [
            f"{key}={spelled(params[key], self.space[key])}" if key in self.space else str(override.input_line)
            for key, override in self.overrides.items()
        ]

    def known_jobs(self) -> Iterator[tuple[int, list[str]]]:
        """Number and overrides of each job that can be checked before the search.

        These are the next job, with the first value of every key, and those that are done.

        Raises:
            UserError: the study in the directory is another one.
        """
        trials: list[FrozenTrial] = []
        if (self.sweep_dir / STUDY).exists():
            refuse_damaged(self.sweep_dir)
            with suppress(Timeout), study_lock(self.sweep_dir):
                cut_torn_line(self.sweep_dir)
            study = self.study()
            self.refuse_other_study(study)
            trials = study.get_trials(deepcopy=False)
        firsts = {key: first(values) for key, values in self.space.items()}
        yield len(trials), self.words(firsts)
        for key, values in self.space.items():
            for choice in values.choices[1:] if isinstance(values, CategoricalDistribution) else ():
                # finds a choice that no file is there for; whether it goes with the others, its jobs will tell
                self.loader.load_sweep_config(self.config, self.words(firsts | {key: choice}))
        for trial in trials:
            if trial.state.is_finished():
                yield trial.number, self.words(trial.params)

    def study(self) -> optuna.Study:
        return open_study(self.sweep_dir, self.options.prune)

    def refuse_other_study(self, study: optuna.Study) -> None:
        before = study.user_attrs.get("space", {})
        now = {key: distribution_text(values) for key, values in self.space.items()}
        for key in (*now, *before) if before else ():
            if before.get(key) != now.get(key):
                old, new = (f"over {text}" if text else "not at all" for text in (before.get(key), now.get(key)))
                raise UserError(
                    f"hydra.sweep.dir={self.sweep_dir}: its study searches {key} {old}, this one {new}; "
                    "choose another directory"
                )
        metric = study.user_attrs.get("metric")
        told = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE, TrialState.PRUNED))
        if told and metric != self.options.metric:
            raise UserError(
                f"hydra.sweeper.metric={self.options.metric}: the study in {self.sweep_dir} has {metric}; "
                "choose another hydra.sweep.dir"
            )

    def run(self, launcher: Launcher) -> list[list[JobReturn]]:
        self.sweep_dir.mkdir(parents=True, exist_ok=True)
        try:
            with study_lock(self.sweep_dir):
                # left by a search that was killed while it wrote; Optuna would wait for half a minute
                (self.sweep_dir / f"{STUDY}.lock").unlink(missing_ok=True)
                return self.run_alone(launcher)
        except Timeout:
            raise UserError(
                f"hydra.sweep.dir={self.sweep_dir}: another process searches in it; wait for it, or choose another one"
            ) from None

    def run_alone(self, launcher: Launcher) -> list[list[JobReturn]]:
        study = self.study()
        self.refuse_other_study(study)
        study.set_user_attr("space", {key: distribution_text(values) for key, values in self.space.items()})
        study.set_user_attr("metric", self.options.metric)
        returns = []
        # those of former starts together: the launcher skips what is done
        trials = [self.reopened(study, trial) for trial in study.get_trials(deepcopy=False)]
        while True:
            if trials:
                if self.options.prune:
                    launcher.hopeless = partial(self.is_hopeless, trials)  # ty: ignore
                jobs = [self.words(trial.params) for trial in trials]
                self.look_ahead(trials, jobs)
                returns.append(list(launcher.launch(jobs, initial_job_idx=trials[0].number)))
                for trial, job in zip(trials, returns[-1], strict=True):
                    if isinstance(trial, optuna.Trial):
                        self.tell(trial, job.return_value, run_directory(job))
                self.say_best(study)
            begun = len(study.get_trials(deepcopy=False))
            trials = [self.ask(study) for _ in range(min(self.options.batch, self.options.n_trials - begun))]
            if not trials:
                return returns

    def look_ahead(self, trials: Sequence[FrozenTrial | optuna.Trial], jobs: Sequence[list[str]]) -> None:
        """Has match=latency measure before jobs disturb each other; a job that is wrong says so when it runs."""
        for trial, words in zip(trials, jobs, strict=True):
            if isinstance(trial, optuna.Trial):
                with suppress(UserError):
                    check_job(self.loader, self.config, trial.number, words)

    def ask(self, study: optuna.Study) -> optuna.Trial:
        study.sampler = self.sampler(len(study.get_trials(deepcopy=False)))
        trial = study.ask()
        self.suggest(trial)
        return trial

    def reopened(self, study: optuna.Study, trial: FrozenTrial) -> FrozenTrial | optuna.Trial:
        """Trial of an earlier start, which may have been killed before all values of the trial were chosen."""
        if trial.state.is_finished():
            return trial
        study.sampler = self.sampler(trial.number)
        with private("optuna"):
            again = optuna.Trial(study, trial._trial_id)
        self.suggest(again)
        return again

    def suggest(self, trial: optuna.Trial) -> None:
        for key, values in self.space.items():
            if isinstance(values, CategoricalDistribution):
                trial.suggest_categorical(key, values.choices)
            elif isinstance(values, IntDistribution):
                trial.suggest_int(key, values.low, values.high, step=values.step, log=values.log)
            elif isinstance(values, FloatDistribution):
                trial.suggest_float(key, values.low, values.high, step=values.step, log=values.log)

    def sampler(self, number: int) -> BaseSampler:
        """Sampler of one trial, with a seed of its own: a resumed search must not draw its first values again."""
        seed = self.options.seed
        if seed is not None:
            seed = int(np.random.SeedSequence([seed, number]).generate_state(1)[0])
        return RandomSampler(seed) if self.options.sampler == "random" else TPESampler(seed=seed, constant_liar=True)

    def is_hopeless(self, trials: Sequence[FrozenTrial | optuna.Trial], job: SweepJob) -> bool:
        """Whether Optuna's pruner gives up a job at work, from what its validations measured so far."""
        trial = next(trial for trial in trials if trial.number == job.number)
        if not isinstance(trial, optuna.Trial):
            return False
        self.report(trial, job.run_dir)
        return trial.should_prune()

    def report(self, trial: optuna.Trial, run_dir: Path) -> None:
        """Reports validations to Optuna by the tokens seen, since the steps of different trials may differ in size."""
        known = trial.study.get_trials(deepcopy=False)[trial.number].intermediate_values
        name = self.options.metric.replace(".", "/", 1)
        curve = {int(row["tokens"]): row[name] for row in validations(run_dir) if name in row}
        for tokens, value in curve.items():
            if tokens not in known:
                trial.report(value, tokens)

    def tell(self, trial: optuna.Trial, result: dict[str, Any], run_dir: Path) -> None:
        if result.get("status") not in OVER:
            return
        self.report(trial, run_dir)
        if result["status"] == "pruned":
            trial.study.tell(trial.number, state=TrialState.PRUNED)
            return
        value = self.value(trial.number, result)
        trial.study.tell(trial.number, value, TrialState.FAIL if value is None else TrialState.COMPLETE)

    def value(self, number: int, result: dict[str, Any]) -> float | None:
        """Metric of a result; None where it is not finite, which JSON has as null."""
        value: Any = result
        for name in self.options.metric.split("."):
            if not isinstance(value, dict) or name not in value:
                near = nearest_key(self.options.metric, numbers(result))
                raise UserError(f"hydra.sweeper.metric={self.options.metric}: not in the result of job {number}{near}")
            value = value[name]
        if value is not None and not is_number(value):
            raise UserError(f"hydra.sweeper.metric={self.options.metric}: no number in the result of job {number}")
        return value

    def say_best(self, study: optuna.Study) -> None:
        told = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
        if not told:
            return
        best = study.best_trial
        chosen = " ".join(f"{key}={spelled(best.params[key], values)}" for key, values in self.space.items())
        done = f"{len(study.get_trials(deepcopy=False))} of {self.options.n_trials} trials"
        say(f"{done}, best {self.options.metric} {best.value:.4f}: job {best.number} {chosen}")


def run_directory(job: JobReturn) -> Path:
    """Directory of a job of any launcher: `working_dir` of Hydra's own launchers is where the sweep was started."""
    return Path(str(job.hydra_cfg.hydra.runtime.output_dir if job.hydra_cfg else job.working_dir))


def is_number(value: Any) -> bool:
    """Whether a value is a number; a bool is none."""
    return isinstance(value, int | float) and not isinstance(value, bool)


def numbers(result: dict[str, Any], prefix: str = "") -> list[str]:
    """Dotted keys of the numbers in a result."""
    found = []
    for key, value in result.items():
        if isinstance(value, dict):
            found += numbers(value, f"{prefix}{key}.")
        elif is_number(value):
            found.append(f"{prefix}{key}")
    return found
