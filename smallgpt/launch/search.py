"""`hydra/sweeper=optuna`: the jobs of a sweep follow from the results of those before, by Optuna's ask and tell.

The study is one file at the top of the sweep's directory. A trial is told when its job is completed or pruned. One that
failed or was cut off stays open: Optuna's sampler keeps away from it, and the next start runs it again under the number
of its job, as a grid does. A trial whose values make no model fails at once and has no job, so jobs and trials may have
different numbers.
"""

import warnings
from collections.abc import Iterator, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import optuna
from filelock import Timeout
from hydra.core.config_loader import ConfigLoader
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.utils import JobReturn
from hydra.plugins.launcher import Launcher
from omegaconf import DictConfig, OmegaConf
from optuna.samplers import BaseSampler, NSGAIISampler, PartialFixedSampler, RandomSampler, TPESampler
from optuna.trial import FrozenTrial, TrialState

from smallgpt.errors import Impossible, UserError
from smallgpt.files import write_text
from smallgpt.launch.arms import arm_overrides
from smallgpt.launch.command_line import given
from smallgpt.launch.composing import JobComposer
from smallgpt.launch.loading import build
from smallgpt.launch.objectives import objective
from smallgpt.launch.pruning import pruning_for
from smallgpt.launch.search_options import Options
from smallgpt.launch.search_space import ARMS, SearchSpace
from smallgpt.launch.study import STUDY, cut_torn_line, open_study, refuse_damaged, study_lock
from smallgpt.launch.sweep_checks import JobChecks, record_left_out
from smallgpt.launch.sweep_job import OVER, SweepJob
from smallgpt.notices import say
from smallgpt.packages import private
from smallgpt.settings import Settings

EXAMPLE = "optimizer.lr=tag(log,interval(1e-4,1e-2))"
POPULATION = 10  # of nsga2; with Optuna's own, 50, a whole search would be its first, random generation
MOST_IMPOSSIBLE = 100  # choices in a row that make no model
IMPOSSIBLE = "impossible"  # of a trial: why its values make no model
JOB = "job"  # of a trial: the number of its job


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
        self.checks = JobChecks(JobComposer(self.loader, config))
        self.sweep_dir = Path(config.hydra.sweep.dir)
        self.metrics = self.options.metric
        self.metric_text = ",".join(self.metrics)
        self.pruning = pruning_for(self.metrics)
        words = [f"{key}={value}" for key, value in self.options.params.items()]
        overrides = OverridesParser.create(config_loader=self.loader).parse_overrides([*words, *given(config.hydra)])
        shared = list({override.get_key_element(): override for override in overrides}.values())
        self.space = SearchSpace(shared, arm_overrides(self.loader, self.options.arms or [], shared))
        if not self.space.values:
            raise UserError(f"hydra/sweeper=optuna: nothing to search over; give a key several values, as {EXAMPLE}")
        launcher = str(config.hydra.launcher._target_)
        if self.options.prune and not launcher.startswith("hydra_plugins.smallgpt_launcher."):
            raise UserError("hydra.sweeper.prune=true: needs hydra/launcher=processes, slurm or ray")
        optuna.logging.set_verbosity(optuna.logging.ERROR)
        warnings.filterwarnings("ignore", category=optuna.exceptions.ExperimentalWarning)

    def check(self, settings: Settings) -> None:
        """Raises UserError where jobs with these settings cannot be searched over as the options say."""
        if self.options.prune:
            self.pruning.check(settings)

    def known_jobs(self) -> Iterator[tuple[int, list[str]]]:
        """Number and overrides of each job that can be checked before the search.

        These are the next job, with the first value of every key and with each arm, and those that are done.

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
            trials = with_jobs(study)
        for firsts in self.space.firsts():
            yield len(trials), self.space.words(firsts)
        for params in self.space.choices():
            # finds a choice that no file is there for; whether it goes with the others, its jobs will tell
            self.loader.load_sweep_config(self.config, self.space.words(params))
        for trial in trials:
            if trial.state.is_finished():
                yield job_number(trial), self.space.words(trial.params)

    def study(self) -> optuna.Study:
        return open_study(self.sweep_dir, self.options.prune and len(self.metrics) == 1, len(self.metrics))

    def refuse_other_study(self, study: optuna.Study) -> None:
        before = study.user_attrs.get("space", {})
        now = self.space.texts()
        for key in (*now, *before) if before else ():
            if before.get(key) != now.get(key):
                old, new = (f"over {text}" if text else "not at all" for text in (before.get(key), now.get(key)))
                raise UserError(
                    f"hydra.sweep.dir={self.sweep_dir}: its study searches {key} {old}, this one {new}; "
                    "choose another directory"
                )
        metric = study.user_attrs.get("metric")
        told = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE, TrialState.PRUNED))
        if (told and metric != self.metric_text) or len(study.directions) != len(self.metrics):
            raise UserError(
                f"hydra.sweeper.metric={self.metric_text}: the study in {self.sweep_dir} has {metric}; "
                "choose another hydra.sweep.dir"
            )

    def run(self, launcher: Launcher) -> list[list[JobReturn]]:
        self.sweep_dir.mkdir(parents=True, exist_ok=True)
        try:
            with study_lock(self.sweep_dir):
                # left by a search that was killed while it wrote; Optuna would wait for half a minute
                (self.sweep_dir / f"{STUDY}.lock").unlink(missing_ok=True)
                write_text(self.sweep_dir / "multirun.yaml", OmegaConf.to_yaml(self.config))  # as Hydra's sweeper does
                return self.run_alone(launcher)
        except Timeout:
            raise UserError(
                f"hydra.sweep.dir={self.sweep_dir}: another process searches in it; wait for it, or choose another one"
            ) from None

    def run_alone(self, launcher: Launcher) -> list[list[JobReturn]]:
        study = self.study()
        self.refuse_other_study(study)
        study.set_user_attr("space", self.space.texts())
        study.set_user_attr("metric", self.metric_text)
        returns = []
        # those of former starts together: the launcher skips what is done
        trials = [again for trial in with_jobs(study) if (again := self.reopened(study, trial)) is not None]
        while True:
            if trials:
                self.checks.prepare(launcher)
                if self.options.prune:
                    launcher.hopeless = partial(self.is_hopeless, trials)  # ty: ignore
                jobs = [self.space.words(trial.params) for trial in trials]
                returns.append(list(launcher.launch(jobs, initial_job_idx=job_number(trials[0]))))
                for trial, job in zip(trials, returns[-1], strict=True):
                    if isinstance(trial, optuna.Trial):
                        self.tell(trial, job.return_value, run_directory(job))
                self.say_best(study)
            begun = len(with_jobs(study))
            trials = [self.ask(study) for _ in range(min(self.jobs_at_once, self.options.n_trials - begun))]
            if not trials:
                return returns

    @property
    def jobs_at_once(self) -> int:
        """Number of jobs that are chosen together. It is known once a job's settings are checked: GPUs count then."""
        machines = self.checks.machines
        return self.options.batch or (machines and machines.n_jobs) or 1

    def ask(self, study: optuna.Study) -> optuna.Trial:
        """The next trial whose values make a model. Raises UserError where there seems to be none."""
        for _ in range(MOST_IMPOSSIBLE):
            study.sampler = self.sampler(len(study.get_trials(deepcopy=False)))
            trial = study.ask()
            self.space.suggest(trial)
            if self.has_job(trial):
                return trial
        why = study.get_trials(deepcopy=False)[-1].user_attrs[IMPOSSIBLE]
        raise UserError(f"{MOST_IMPOSSIBLE} choices in a row make no model; the last: {why}")

    def reopened(self, study: optuna.Study, trial: FrozenTrial) -> FrozenTrial | optuna.Trial | None:
        """Trial of an earlier start, which may have been killed before all values of the trial were chosen.

        None where these make no model.
        """
        if trial.state.is_finished():
            return trial
        study.sampler = self.sampler(trial.number)
        with private("optuna"):
            again = optuna.Trial(study, trial._trial_id)
        self.space.suggest(again)
        return again if self.has_job(again) else None

    def has_job(self, trial: optuna.Trial) -> bool:
        """Gives a trial the number of its job; one whose values make no model has none, and fails.

        What is measured of a model is measured here, before jobs disturb each other; a job that is wrong says so when
        it runs.
        """
        number = trial.user_attrs.get(JOB, sum(each.number < trial.number for each in with_jobs(trial.study)))
        try:
            settings = self.checks.check(number, self.space.words(trial.params))
        except Impossible as error:
            if JOB not in trial.user_attrs:
                say(f"left out: {error}")
                trial.set_user_attr(IMPOSSIBLE, str(error))
                trial.study.tell(trial.number, state=TrialState.FAIL)
                self.record_impossible(trial.study)
                return False
        except UserError:
            pass
        else:
            self.pruning.expect(trial, settings)
        trial.set_user_attr(JOB, number)
        return True

    def record_impossible(self, study: optuna.Study) -> None:
        """Writes down which choices make no model, for the report."""
        found = [each for each in study.get_trials(deepcopy=False) if IMPOSSIBLE in each.user_attrs]
        words = {tuple(self.space.words(each.params)): each.user_attrs[IMPOSSIBLE] for each in found}
        record_left_out(self.sweep_dir, [(list(each), why) for each, why in words.items()])

    def sampler(self, number: int) -> BaseSampler:
        """Sampler of one trial, with a seed of its own: a resumed search must not draw its first values again.

        The first trials take one arm each, so that none is left untried.
        """
        seed = self.options.seed
        if seed is not None:
            seed = int(np.random.SeedSequence([seed, number]).generate_state(1)[0])
        makers = {
            "tpe": partial(TPESampler, constant_liar=True),
            "random": RandomSampler,
            "nsga2": partial(NSGAIISampler, population_size=POPULATION),
        }
        sampler = makers[self.options.sampler](seed=seed)
        arms = list(self.space.arms)
        return PartialFixedSampler({ARMS: arms[number]}, sampler) if number < len(arms) else sampler

    def is_hopeless(self, trials: Sequence[FrozenTrial | optuna.Trial], job: SweepJob) -> bool:
        """Whether a job at work is given up, from what its validations measured so far."""
        trial = next(trial for trial in trials if job_number(trial) == job.number)
        if not isinstance(trial, optuna.Trial):
            return False
        self.pruning.report(trial, job.run_dir)
        return self.pruning.is_hopeless(trial)

    def tell(self, trial: optuna.Trial, result: dict[str, Any], run_dir: Path) -> None:
        if result.get("status") not in OVER:
            return
        self.pruning.report(trial, run_dir)
        if result["status"] == "pruned":
            trial.study.tell(trial.number, state=TrialState.PRUNED)
            return
        found = [objective(metric, result, job_number(trial)) for metric in self.metrics]
        values = [value for value in found if value is not None]
        if len(values) == len(found):
            trial.study.tell(trial.number, values)
        else:
            trial.study.tell(trial.number, state=TrialState.FAIL)

    def say_best(self, study: optuna.Study) -> None:
        if not study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,)):
            return
        done = f"{len(with_jobs(study))} of {self.options.n_trials} trials"
        if len(self.metrics) > 1:
            jobs = sorted(map(job_number, study.best_trials))
            say(f"{done}, {len(jobs)} on the front of {self.metric_text}: jobs {', '.join(map(str, jobs))}")
            return
        best = study.best_trial
        chosen = self.space.chosen(best.params)
        say(f"{done}, best {self.metric_text} {best.value:.4f}: job {job_number(best)} {chosen}")


def with_jobs(study: optuna.Study) -> list[FrozenTrial]:
    """Trials of a study that have a job, or will have one."""
    return [trial for trial in study.get_trials(deepcopy=False) if IMPOSSIBLE not in trial.user_attrs]


def job_number(trial: FrozenTrial | optuna.Trial) -> int:
    """Number of a trial's job, which is the trial's own as long as all choices before it make a model."""
    return trial.user_attrs.get(JOB, trial.number)


def run_directory(job: JobReturn) -> Path:
    """Directory of a job of any launcher: `working_dir` of Hydra's own launchers is where the sweep was started."""
    return Path(str(job.hydra_cfg.hydra.runtime.output_dir if job.hydra_cfg else job.working_dir))
