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
import os
import random
import select
import shutil
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import wraps
from importlib import import_module
from importlib.util import find_spec
from itertools import count, cycle, islice
from pathlib import Path

from smallgpt.ranks import end_with_the_starter

RUN = str(Path(__file__).parents[1] / "run.py")
CLOCKS = ("seconds", "speed/tokens_per_second", "speed/mfu")
WORDS = [
    *("size=debug", "batch.tokens=512", "budget.tokens=40000", "validation.every=10", "validation.tokens=4096"),
    *("tokenizer.vocab_size=1024", "model.dropout=0.1", "log_every=1", "generation.max_new_tokens=10", "resume=auto"),
]
QUESTION = '{"prompt": "Cats like to drink", "choices": ["petrol", "milk"], "answer": 1}\n'
PHASES = {  # modules and functions with which they begin
    "preparation": ("smallgpt.data.prepare", "prepare"),
    "training": ("lightning", "Trainer.fit"),
    "saving": ("smallgpt.training.checkpoints", "Checkpoints.on_validation_end"),
    "scores": ("smallgpt.tasks.train", "score_sections"),
    "sampling": ("smallgpt.tasks.train", "samples"),
    "evaluation": ("smallgpt.tasks.evaluate", "of_run"),
    "result": ("smallgpt.launch.job", "finish"),
    "export": ("smallgpt.tasks.export", "write_hf"),
    "verification": ("smallgpt.export.verify_hf", "verify_hf"),
    "report": ("smallgpt.reporting.report", "report"),
}
IN_TRAINING = ["preparation", "training", "saving", "training", "saving", "scores", "sampling", "evaluation", "result"]
IMPORTED = [  # by every life, and slow to import
    *("lightning", "smallgpt.launch.job", "smallgpt.launch.checks", "smallgpt.models.gpt", "smallgpt.data.prepare"),
    *("smallgpt.data.datamodule", "smallgpt.training.trainer", "smallgpt.training.interruption"),
    *("smallgpt.evaluation.run_scores", "smallgpt.inference.generate", "smallgpt.tasks.train"),
]
ALSO_IMPORTED = [
    *("smallgpt.tasks.export", "smallgpt.export.verify_hf", "smallgpt.reporting.report", "matplotlib.pyplot"),
    *(("lm_eval", "smallgpt.evaluation.evaluate") if find_spec("lm_eval") else ()),
]
ORPHAN_SECONDS = 10.0


@dataclass
class Life:
    """A fork that does what a command line says.

    Args:
        folder: in which its log, its cache and its temporary files lie, under the name of the run.
    """

    folder: Path
    name: str
    words: list[str]
    marks: list[tuple[str, float]] = field(default_factory=list)
    """When it came to which phase."""

    def __post_init__(self) -> None:
        reader, writer = os.pipe()
        (self.folder / f"{self.name}-tmp").mkdir(exist_ok=True)
        parent = os.getpid()
        self.process = os.fork()
        if self.process == 0:
            end_with_the_starter(signal.SIGKILL, parent)
            os.close(reader)
            self._live(writer)
        os.close(writer)
        self._reader = reader
        self.code: int | None = None

    def _live(self, writer: int) -> None:
        """Is the life itself, in the fork."""
        code: object = 99
        try:
            os.setsid()
            log = os.open(self.folder / f"{self.name}.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
            for stream in (1, 2):
                os.dup2(log, stream)
            sys.stdout, sys.stderr = os.fdopen(1, "w", closefd=False), os.fdopen(2, "w", closefd=False)
            os.environ["TMPDIR"] = str(self.folder / f"{self.name}-tmp")
            tempfile.tempdir = None
            for phase, (module, path) in PHASES.items():
                if module in sys.modules:
                    announce_phase(writer, phase, sys.modules[module], path)
            sys.argv = [RUN, *self.words, f"cache_dir={self.folder / self.name}-cache"]
            from smallgpt.launch.main import main

            code = main()
        except SystemExit as stop:
            code = stop.code
        except BaseException:
            traceback.print_exc()
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(code if isinstance(code, int) else 0)

    def wait(self, seconds: float | None = None, phase: str | None = None) -> bool:
        """Waits for the end, a time, or a phase; returns whether the life goes on."""
        deadline = None if seconds is None else time.monotonic() + seconds
        while True:
            left = None if deadline is None else max(0.0, deadline - time.monotonic())
            if not select.select([self._reader], [], [], left)[0]:
                return True
            names = os.read(self._reader, 1000).decode().split()
            if not names:
                break
            self.marks += [(name, time.monotonic()) for name in names]
            if phase in names:
                return True
        os.close(self._reader)
        _, status = os.waitpid(self.process, 0)
        self.code = os.waitstatus_to_exitcode(status)
        self.marks.append(("end", time.monotonic()))
        return False

    def kill(self, whole_tree: bool) -> None:
        """Kills it, and sees to it that nothing of it goes on."""
        (os.killpg if whole_tree else os.kill)(self.process, signal.SIGKILL)
        os.waitpid(self.process, 0)
        os.close(self._reader)
        deadline = time.monotonic() + ORPHAN_SECONDS
        while works(self.process):
            if time.monotonic() > deadline:
                raise SystemExit(f"killed {self.name}, and something of it goes on: session {self.process}")
            time.sleep(0.01)


def works(group: int) -> bool:
    """Whether a process of a group is left that has not ended."""
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            state, _, its_group, *_ = path.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(its_group) == group and state not in "ZX":
            return True
    return False


def announce_phase(writer: int, phase: str, owner: object, path: str) -> None:
    """Replaces the function with which a phase begins by one that says so."""
    *classes, name = path.split(".")
    for each in classes:
        owner = getattr(owner, each)
    original = getattr(owner, name)

    @wraps(original)
    def announced(*args: object, **options: object) -> object:
        os.write(writer, f"{phase}\n".encode())
        return original(*args, **options)

    setattr(owner, name, announced)


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


def plan(kills: int, chance: random.Random, deadline: float) -> Iterator[tuple[str, list[str]]]:
    """Names of trainings, and the phases in which each is killed: all, or some where few kills are left."""
    for number in count():
        if kills <= 0 or time.monotonic() > deadline:
            return
        chosen = sorted(chance.sample(range(len(IN_TRAINING)), min(kills, len(IN_TRAINING))))
        kills -= len(chosen)
        yield f"killed{number}", [IN_TRAINING[place] for place in chosen]


def compare(folder: Path, kills: int, words: list[str], seed: int = 0, minutes: float = 1e6) -> tuple[list[str], int]:
    """Does everything in `folder`; returns what differs, and the number of kills.

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
    for name, phases in plan(kills - done, chance, deadline):
        different, more = work.killed(name, phases, chance)
        found, done = found + different, done + more
    return found, done


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--minutes", type=float, default=1e6, help="begin no further training after so many")
    parser.add_argument("--folder", type=Path, default=Path("outputs/kill_and_resume"))
    arguments, words = parser.parse_known_args()
    shutil.rmtree(arguments.folder, ignore_errors=True)
    arguments.folder.mkdir(parents=True)
    found, kills = compare(arguments.folder.absolute(), arguments.kills, words, minutes=arguments.minutes)
    print(f"{kills} kills: {'different: ' + ', '.join(found) if found else 'the same bits, and nothing left behind'}")
    sys.exit(bool(found))


if __name__ == "__main__":
    main()
