"""Points on the front of an earlier search as arms, to be trained on fresh seeds: `hydra.sweeper.front=DIRECTORY`."""

from collections.abc import Sequence
from pathlib import Path

from hydra.core.config_loader import ConfigLoader
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override

from smallgpt.errors import UserError
from smallgpt.files import nearest_beside
from smallgpt.reporting.arms import group
from smallgpt.reporting.front import key_of, on_the_front, words_of_point
from smallgpt.reporting.jobs import read_jobs
from smallgpt.reporting.searches import searched_metrics


class FrontArms:
    """Points on the Pareto front of a search with several metrics.

    What all jobs of the search have in common, such as their text and their budget, is that of every arm beside them
    too, unless the command line says otherwise.
    """

    def __init__(self, search_dir: Path):
        """Reads a search. Raises UserError where there is none with a point."""
        self.name = f"hydra.sweeper.front={search_dir}"
        if not search_dir.is_dir():
            raise UserError(f"{self.name}: no such directory{nearest_beside(search_dir)}")
        metrics = searched_metrics(search_dir)
        if not metrics:
            raise UserError(f"{self.name}: no search with several metrics; give the directory of one")
        jobs = read_jobs(search_dir)
        self.seeds = {job.seed for job in jobs}
        points = [arm.jobs[0] for arm in on_the_front(group(jobs)[0], metrics)]
        if not points:
            raise UserError(f"{self.name}: no job of it is completed")
        every = [words_of_point(job) for job in jobs if job.words]
        self.common = [word for word in every[0] if all(word in words for words in every)]
        self.points = [[word for word in words_of_point(job) if word not in self.common] for job in points]

    def with_points(
        self, loader: ConfigLoader, arms: Sequence[list[Override]], given: Sequence[Override]
    ) -> list[list[Override]]:
        """The arms and the points, each with what the search had in common.

        Raises:
            UserError: the command line gives a key whose values the search has chosen.
        """
        chosen = {key_of(word) for words in self.points for word in words}
        for word in given:
            if (key := word.get_key_element()) in chosen:
                raise UserError(f"{word.input_line}: {self.name} chooses {key}; leave it out")
        parser = OverridesParser.create(config_loader=loader)
        common, known = parser.parse_overrides(self.common), {word.get_key_element() for word in given}
        found = []
        for arm in [*arms, *map(parser.parse_overrides, self.points)]:
            own = known | {word.get_key_element() for word in arm}
            found.append([*(word for word in common if word.get_key_element() not in own), *arm])
        return found

    def refuse_known_seeds(self, jobs: Sequence[Sequence[str]], default: int) -> None:
        """Raises UserError for a seed of the search: luck on it has put points on the front."""
        for words in jobs:
            seeds = [word.partition("=")[2] for word in words if key_of(word) == "seed"] or [str(default)]
            if seeds[-1] in map(str, self.seeds):
                raise UserError(f"seed={seeds[-1]}: {self.name} was chosen on it; take fresh ones, seed=11,12,13")
