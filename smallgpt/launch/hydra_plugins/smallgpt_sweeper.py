"""Hydra sweepers for grids and searches; Hydra looks for sweepers in the namespace package `hydra_plugins` alone."""

from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

from hydra.core.override_parser.types import Override
from hydra.core.plugins import Plugins
from hydra.plugins.sweeper import Sweeper
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig

from smallgpt.errors import UserError
from smallgpt.packages import private

with private("hydra-core"):
    from hydra._internal.core_plugins.basic_sweeper import BasicSweeper


class GridSweeper(BasicSweeper):
    """Sweeper over every combination of the values on the command line, all checked before the first of them runs.

    Arms are sets of values that belong together: each is combined with everything else, and none with another; they go
    before the axes of a recipe. With `tuned`, each takes its values of the keys in `tune` from the sweep in that
    directory, where they were tried. With `front`, the points on the Pareto front of the search in that directory are
    arms too.
    """

    def __init__(
        self, params: Any = None, arms: Any = None, tuned: str | None = None, front: str | None = None, **unknown: Any
    ):
        super().__init__(max_batch_size=None, params=params if hasattr(params, "items") else None)
        self.arms, self.tuned, self.front = arms or [], tuned, front
        self.given, self.unknown = params, unknown

    def refuse_unknown(self) -> None:
        from smallgpt.errors import nearest_key, shown
        from smallgpt.launch.arms import refuse_no_list

        for key, value in self.unknown.items():
            near = nearest_key(
                f"hydra.sweeper.{key}", [f"hydra.sweeper.{name}" for name in ("params", "arms", "tuned", "front")]
            )
            raise UserError(f"hydra.sweeper.{key}={shown(value)}: unknown key{near}")
        if self.given is not None and not hasattr(self.given, "items"):
            raise UserError(f"hydra.sweeper.params={shown(self.given)}: must name keys and their values")
        refuse_no_list(self.arms)

    def sweep(self, arguments: list[str]) -> Any:
        from smallgpt.launch.resolvers import jobs_of

        assert self.config is not None
        self.refuse_unknown()
        with jobs_of(self.config):
            return super().sweep(arguments)

    def split_arguments(self, overrides: list[Override], max_batch_size: int | None) -> list[list[list[str]]]:
        from smallgpt.launch.arms import arm_overrides, refuse_several
        from smallgpt.launch.composing import JobComposer
        from smallgpt.launch.sweep_checks import JobChecks, check_grid

        assert self.hydra_context is not None and self.config is not None
        loader = self.hydra_context.config_loader
        axes, given = overrides[: len(self.params)], overrides[len(self.params) :]  # the recipe's, the command line's
        refuse_several(given)
        jobs, best, front = [], self.tuned_arms(), None
        if best is not None:
            self.refuse_tuned(given, best.keys)
            axes = without(best.keys, axes)
        arms = arm_overrides(loader, self.arms, given)
        if self.front is not None:
            from smallgpt.launch.front_arms import FrontArms

            front = FrontArms(Path(self.front))
            arms = front.with_points(loader, arms, [*axes, *given])
        for arm in arms or [[]]:
            own = without({override.get_key_element() for override in arm}, axes)
            jobs += BasicSweeper.split_arguments([*arm, *own, *given], max_batch_size)[0]
        if not jobs:
            empty = " ".join(str(override.input_line) for override in overrides if override.is_sweep_override())
            raise UserError(f"{empty or 'hydra.sweeper.arms'}: has no values, so there is no job; give one at least")
        if best is not None:
            jobs = [[*words, *best.words(words)] for words in jobs]
        if front is not None:
            front.refuse_known_seeds(jobs, self.config.seed)
        checks = JobChecks(JobComposer(loader, self.config))
        checks.prepare(self.launcher)
        return [check_grid(checks, jobs)]

    def validate_batch_is_legal(self, batch: Sequence[Sequence[str]]) -> None:
        """Does not compose the jobs once more, as Hydra's own sweeper would: the checks have composed them."""

    def tuned_arms(self) -> Any:
        """The earlier sweep that the arms take their best values from; None where there is none."""
        from smallgpt.launch.tuned_arms import TunedArms
        from smallgpt.settings.group import one_or_several

        if self.tuned is None:
            return None
        assert self.config is not None
        return TunedArms(Path(self.tuned), one_or_several(self.config.tune), {key for arm in self.arms for key in arm})

    def refuse_tuned(self, given: Sequence[Override], keys: Sequence[str]) -> None:
        """Raises UserError for a word of the command line that gives a tuned axis."""
        for override in given:
            if (key := override.get_key_element()) in keys:
                raise UserError(
                    f"{override.input_line}: hydra.sweeper.tuned={self.tuned} chooses {key}; leave one of them out"
                )


def without(keys: Collection[str], overrides: Sequence[Override]) -> list[Override]:
    """Overrides of all keys but these."""
    return [override for override in overrides if override.get_key_element() not in keys]


class OptunaSweeper(Sweeper):
    """Sweeper that searches with Optuna; its options are those of `smallgpt.launch.search_options.Options`."""

    def __init__(self, **options: Any):
        self.options = options

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        self.config, self.hydra_context = config, hydra_context
        self.launcher = Plugins.instance().instantiate_launcher(
            hydra_context=hydra_context, task_function=task_function, config=config
        )

    def search(self, config: DictConfig) -> Any:
        from smallgpt.packages import require

        require("hydra/sweeper=optuna", "optuna")
        from smallgpt.launch.search import Search

        return Search(config, self.options)

    def sweep(self, arguments: Sequence[str]) -> Any:
        from smallgpt.launch.resolvers import jobs_of
        from smallgpt.run_directory import refuse_foreign_sweep

        assert self.config is not None and self.launcher is not None and self.hydra_context is not None
        refuse_foreign_sweep(Path(self.config.hydra.sweep.dir))
        with jobs_of(self.config):
            search = self.search(self.config)
            for number, words in search.known_jobs():
                search.check(search.checks.check(number, words))
                search.checks.directories.clear()
                for each in (number, number + 1):  # a search may draw values twice: the number tells them apart
                    search.checks.refuse_shared(each, words)
            return search.run(self.launcher)
