"""Kills runs again and again, lets them go on, and compares what they leave with what nobody has killed.

    python -m benchmarks.kill_and_resume --kills 100
    python -m benchmarks.kill_and_resume --kills 20 trainer=ddp trainer.devices=2

Every life of a run is a fork of this process, which has imported everything, so that it costs no start-up. Each kill -9
aims at a phase: the data's preparation, the training, the saving of a checkpoint, and after the last step the scores,
the samples, the evaluation and the result; beside them an export, its verification, and the report of a sweep. It comes
at a random moment of the phase, to one process or to its whole tree, as when a machine loses power; then nothing may go
on. Words after the options are overrides of the training. At the end weights, metrics, scores, exported files and
tables must be the same to the bit, and no other files may lie there; only what a clock measures may differ. Exit code 1
if they are not.
"""

import argparse
import csv
import json
import random
import shutil
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from importlib import import_module
from importlib.util import find_spec
from itertools import count, cycle, islice
from pathlib import Path

from benchmarks.lives import Life

CLOCKS = ("seconds", "speed/tokens_per_second", "speed/mfu")
WORDS = [
    *("size=debug", "batch.tokens=512", "budget.tokens=40000", "validation.every=10", "validation.tokens=4096"),
    *("tokenizer.vocab_size=1024", "model.dropout=0.1", "log_every=1", "generation.max_new_tokens=10", "resume=auto"),
]
QUESTION = '{"prompt": "Cats like to drink", "choices": ["petrol", "milk"], "answer": 1}\n'
IN_TRAINING = ["preparation", "training", "saving", "training", "saving", "scores", "sampling", "evaluation", "result"]
IMPORTED = [  # by every life, and slow to import
    *("lightning", "smallgpt.launch.job", "smallgpt.launch.checks", "smallgpt.models.gpt", "smallgpt.data.prepare"),
    *("smallgpt.data.datamodule", "smallgpt.training.trainer", "smallgpt.training.interruption"),
    *("smallgpt.evaluation.run_scores", "smallgpt.inference.generate", "smallgpt.tasks.train"),
]
ALSO_IMPORTED = [
    *("smallgpt.tasks.export", "smallgpt.export.verify_hf", "smallgpt.reporting.report", "smallgpt.reporting.study"),
    *(("lm_eval", "smallgpt.evaluation.evaluate") if find_spec("lm_eval") else ()),
]


@dataclass
class Work:
    """Something that is killed on the way.

    Args:
        words: of the command line, for a name of ours.
        run_dir: what a completed life of that name has made, and has to be removed for another one.
        differences: between what was made under two names.
        seconds: how long each phase takes when nobody kills it.
    """

    folder: Path
    words: Callable[[str], list[str]]
    run_dir: Callable[[str], Path]
    differences: Callable[[str, str], list[str]]
    seconds: dict[str, float] = field(default_factory=dict)

    def whole(self, name: str) -> None:
        """Does it without a kill."""
        life = Life(self.folder, name, self.words(name))
        if life.wait() or life.code:
            raise SystemExit(f"the run failed; see {self.folder / name}.log")
        for (phase, begun), (_, ended) in zip(life.marks, life.marks[1:], strict=False):
            self.seconds[phase] = max(self.seconds.get(phase, 0.0), ended - begun)
        training = [when for phase, when in life.marks if phase in ("training", "scores")]
        if training:
            self.seconds["training"] = (training[-1] - training[0]) / 4  # two kills of it, and more is left

    def killed(self, name: str, phases: list[str], chance: random.Random) -> tuple[list[str], int]:
        """Does it with a kill in each of the phases; returns what differs at the end, and the number of kills."""
        kills = 0
        for phase in phases:
            if phase == "preparation":
                shutil.rmtree(self.folder / f"{name}-cache", ignore_errors=True)
            life = Life(self.folder, name, self.words(name))
            moment = chance.uniform(0.0, self.seconds.get(phase, 0.0))
            if life.wait(phase=phase) and life.wait(moment):
                life.kill(whole_tree=chance.random() < 0.5)
                kills += 1
                print(f"{name}: killed {moment:.2f} s into: {phase}", flush=True)
            elif life.code and not self.is_completed(name):
                return [f"{name} failed, see its log"], kills
            else:  # it was faster
                shutil.rmtree(self.run_dir(name))
        life = Life(self.folder, name, self.words(name))
        life.wait()
        if life.code and not self.is_completed(name):
            return [f"{name} failed, see its log"], kills
        return self.differences("whole", name), kills

    def is_completed(self, name: str) -> bool:
        """Whether a life was killed only after its result was written."""
        path = self.run_dir(name) / "result.json"
        return path.exists() and json.loads(path.read_text())["status"] == "completed"


def training(folder: Path, words: list[str], evaluated: bool) -> Work:
    """The work of a training on a small text, with an evaluation at its end or without one."""
    text = "\n\n".join(f"Sentence {i} of a text with {i % 7} words and {i % 11} others." for i in range(4000))
    (folder / "text.txt").write_text(text)
    (folder / "questions.jsonl").write_text(QUESTION * 4)
    given = [*WORDS, "data=files", f"data.path={folder / 'text.txt'}"]
    if evaluated and find_spec("lm_eval"):
        given += ["eval=own", f"eval.path={folder / 'questions.jsonl'}"]

    def differences(one: str, other: str) -> list[str]:
        return of_runs(folder / one, folder / other) + of_folders(folder, one, other)

    return Work(
        folder, lambda name: [*given, *words, f"hydra.run.dir={folder / name}"], lambda name: folder / name, differences
    )


def exporting(folder: Path, run_dir: Path) -> Work:
    """The work of an export of a run for transformers."""
    folder.mkdir()

    def differences(one: str, other: str) -> list[str]:
        found = of_folders(folder, one, other)
        return found or [
            f"export: {path.name}"
            for path in files_of(folder / one / "hf")
            if path.read_bytes() != (folder / other / path.relative_to(folder / one)).read_bytes()
        ]

    words = ["task=export", f"checkpoint={run_dir}", "format=hf"]
    return Work(
        folder, lambda name: [*words, f"hydra.run.dir={folder / name}"], lambda name: folder / name, differences
    )


def reporting(folder: Path, runs: list[Path]) -> Work:
    """The work of a report on a sweep, of which `runs` are the jobs."""
    folder.mkdir()

    def words(name: str) -> list[str]:
        for number, run_dir in enumerate(runs):
            if not (job := folder / name / str(number)).exists():
                shutil.copytree(run_dir, job, ignore=shutil.ignore_patterns("checkpoints"))
        return ["task=report", f"sweep={folder / name}", f"hydra.run.dir={folder / name}-run"]

    def differences(one: str, other: str) -> list[str]:
        tables = [
            f"report: {name}"
            for name in ("results.csv", "results.md")
            if (folder / one / name).read_text() != (folder / other / name).read_text().replace(other, one)
        ]
        return tables + of_folders(folder, one, other)

    return Work(folder, words, lambda name: folder / f"{name}-run", differences)


def files_of(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file())


def of_folders(folder: Path, one: str, other: str) -> list[str]:
    """What lies in the folder of one run alone, and what a killed one left among temporary files."""
    lists = [{str(path.relative_to(folder / name)) for path in files_of(folder / name)} for name in (one, other)]
    left = [str(path) for path in files_of(folder / f"{other}-tmp")]
    return sorted(f"{other}/{path}" for path in lists[0] ^ lists[1]) + left


def rows_of(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return [{k: v for k, v in row.items() if k not in CLOCKS} for row in csv.DictReader(file)]


def of_runs(one: Path, other: Path) -> list[str]:
    """What is not the same in two run directories."""
    found = []
    for name in ("best", "last"):
        weights = [(d / "checkpoints" / name / "model.safetensors").read_bytes() for d in (one, other)]
        if weights[0] != weights[1]:
            found.append(f"{other.name}/checkpoints/{name}")
    if rows_of(one / "metrics.csv") != rows_of(other / "metrics.csv"):
        found.append(f"{other.name}/metrics.csv")
    results = [json.loads((d / "result.json").read_text()) for d in (one, other)]
    kept = ("status", "val", "test", "samples", "evaluation", "data_fingerprint")
    found += [f"{other.name}: {key}" for key in kept if plain(results[0].get(key)) != plain(results[1].get(key))]
    steps = [(result["train"]["steps"], result["train"]["tokens"], result["train"]["loss"]) for result in results]
    return found + ([f"{other.name}: train"] if steps[0] != steps[1] else [])


def plain(section: object) -> object:
    """A section of a result without times and places."""
    if isinstance(section, dict):
        return {key: plain(value) for key, value in section.items() if key not in ("seconds", "path", "checkpoint")}
    return section


def compare(folder: Path, kills: int, words: list[str], seed: int = 0, minutes: float = 1e6) -> tuple[list[str], int]:
    """Does everything in `folder`; returns what differs, and the number of kills: a life that was faster has none.

    Few kills are all of trainings without an evaluation; of many, one in ten each is of an export and of a report.
    """
    deadline, chance = time.monotonic() + 60 * minutes, random.Random(seed)
    rest = kills // 10
    for name in IMPORTED + (ALSO_IMPORTED if rest else []):
        import_module(name)
    work = training(folder, words, evaluated=rest > 0)
    work.whole("whole")
    print("alone: " + ", ".join(f"{phase} {seconds:.2f} s" for phase, seconds in work.seconds.items()), flush=True)
    found, done = [], 0
    if rest:
        for other, phases in (
            (exporting(folder / "exports", folder / "whole"), ["export", "verification"]),
            (reporting(folder / "reports", [folder / "whole"]), ["report"]),
        ):
            other.whole("whole")
            different, more = other.killed("killed", list(islice(cycle(phases), rest)), chance)
            found, done = found + different, done + more
    for number in count():
        if done >= kills or time.monotonic() > deadline:
            break
        chosen = sorted(chance.sample(range(len(IN_TRAINING)), min(kills - done, len(IN_TRAINING))))
        different, more = work.killed(f"killed{number}", [IN_TRAINING[place] for place in chosen], chance)
        found, done = found + different, done + more
    return found, done


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--minutes", type=float, default=1e6, help="begin no further training after so many")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--folder", type=Path, default=Path("outputs/kill_and_resume"))
    arguments, words = parser.parse_known_args()
    shutil.rmtree(arguments.folder, ignore_errors=True)
    arguments.folder.mkdir(parents=True)
    found, kills = compare(arguments.folder.absolute(), arguments.kills, words, arguments.seed, arguments.minutes)
    print(f"{kills} kills: {'different: ' + ', '.join(found) if found else 'the same bits, and nothing left behind'}")
    sys.exit(bool(found))


if __name__ == "__main__":
    main()
