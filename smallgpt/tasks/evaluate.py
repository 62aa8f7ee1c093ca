"""`task=evaluate` measures what checkpoints know, and how sure that is."""

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from smallgpt.errors import UserError
from smallgpt.packages import require
from smallgpt.settings import Settings

if TYPE_CHECKING:
    import torch

    from smallgpt.evaluation.evaluate import Answers, Plan


def run(settings: Settings, run_dir: Path) -> dict[str, Any]:
    """Asks every checkpoint the same items, prints tables, keeps each item in `evaluation/`, returns `evaluation`.

    What a run directory's checkpoint knows also goes into the result.json of that run, if it runs as it was trained.
    """
    from smallgpt.evaluation.table import print_evaluation
    from smallgpt.inference.checkpoint import check_checkpoints, variant_of, wanted
    from smallgpt.machine.allocator import keep_freed_memory
    from smallgpt.machine.cores import use_threads
    from smallgpt.machine.device import device
    from smallgpt.results import add_section

    use_threads(settings.trainer.threads)
    where = device(settings.trainer.accelerator)
    check_evaluation(settings, where)
    if not settings.checkpoint:
        raise UserError("checkpoint=null: task=evaluate needs run directories, model folders or hub names")
    if len(set(settings.checkpoint)) < len(settings.checkpoint):
        raise UserError(f"checkpoint={list(settings.checkpoint)}: one is there twice")
    asked = wanted(settings)
    check_checkpoints(settings.checkpoint, asked, settings.cache_dir)
    plan = plan_of(settings, where)
    keep_freed_memory()
    from smallgpt.evaluation.evaluate import ask, compare_models, evaluation_section

    known: dict[str, Answers] = {}
    trained_on = TrainedOn(plan, settings.cache_dir)
    everyone = []
    sections: dict[str, dict[str, Any]] = {}
    alone = len(settings.checkpoint) == 1
    for checkpoint, name in zip(settings.checkpoint, names_of(settings.checkpoint), strict=True):
        answers = ask(plan, checkpoint, name, known, wanted=asked)
        everyone.append(answers)
        sections[name] = trained_on.added(evaluation_section(plan, answers), Path(checkpoint).expanduser())
        keep_items(plan, answers, run_dir / "evaluation" / ("" if alone else name.replace("/", "_")))
        if not asked.at_inference:
            add_section(Path(checkpoint), "evaluation", sections[name], with_parts)
    comparisons = compare_models(plan, everyone)
    print_evaluation(sections, comparisons)
    if alone:
        ((checkpoint, found),) = zip(settings.checkpoint, sections.values(), strict=True)
        return {"checkpoint": checkpoint, "variant": variant_of(checkpoint), "evaluation": found}
    checkpoints = dict(zip(sections, settings.checkpoint, strict=True))
    return {"checkpoints": checkpoints, "evaluations": sections, "comparisons": comparisons}


class TrainedOn:
    """Looks for what is asked in the text that runs were trained on, once for each text."""

    def __init__(self, plan: "Plan", cache_dir: Path) -> None:
        self.plan, self.cache_dir = plan, cache_dir
        self.known: dict[str, dict[tuple[str, str], dict[str, Any]]] = {}

    def added(self, section: dict[str, Any], run_dir: Path, fingerprint: str | None = None) -> dict[str, Any]:
        """A section `evaluation` with the contamination of each entry, where the run's prepared data is at hand."""
        from smallgpt.data.prepared_data import prepared_of
        from smallgpt.evaluation.contamination import shares_of_plan
        from smallgpt.results import read_result

        fingerprint = fingerprint or (read_result(run_dir) or {}).get("data_fingerprint")
        if fingerprint is None:
            return section
        if fingerprint not in self.known:
            prepared = prepared_of(fingerprint, self.cache_dir)
            self.known[fingerprint] = {} if isinstance(prepared, str) else shares_of_plan(self.plan, prepared)
        for (part, label), shares in self.known[fingerprint].items():
            section[part][label]["contamination"] = shares
        return section


def of_run(
    settings: Settings, run_dir: Path, where: "torch.device", fingerprint: str
) -> tuple[dict[str, Any], dict[str, list[dict[str, Any]]]]:
    """The section `evaluation` of a run that has just been trained, and the items of each task, for a logger."""
    from smallgpt.evaluation.evaluate import ask, evaluation_section
    from smallgpt.evaluation.table import print_evaluation

    plan = plan_of(settings, where)
    answers = ask(plan, str(run_dir), run_dir.name, {})
    found = TrainedOn(plan, settings.cache_dir).added(evaluation_section(plan, answers), run_dir, fingerprint)
    keep_items(plan, answers, run_dir / "evaluation")
    print_evaluation({run_dir.name: found}, [])
    items = {plan.label(name): [item.to_dict() for item in done.items] for name, done in answers.outcomes.items()}
    return found, items


def check_evaluation(settings: Settings, where: "torch.device") -> None:
    """Raises UserError where an evaluation cannot begin."""
    if settings.eval is None:
        raise UserError("eval=null: give eval=quick, or paper, language, safety, own, tasks")
    require("eval", "lm_eval")
    if settings.quantize != "none":
        from smallgpt.inference.weight_formats import check_quantize

        check_quantize(settings.quantize, where)
        if settings.eval.precision != "fp32":
            raise UserError(
                f"eval.precision={settings.eval.precision}: quantize={settings.quantize} says it; leave it out"
            )


def plan_of(settings: Settings, where: "torch.device") -> "Plan":
    """Plan of the evaluation that the settings ask for."""
    from smallgpt.evaluation.evaluate import make_plan

    assert settings.eval is not None
    return make_plan(settings.eval, settings.generation, settings.seed, where, settings.quantize)


def names_of(checkpoints: Sequence[str]) -> list[str]:
    """Names of checkpoints in tables: their paths without the folders that all of them begin with."""
    paths = [Path(checkpoint).expanduser() for checkpoint in checkpoints]
    if any(path.is_absolute() for path in paths):
        paths = [path.absolute() for path in paths]
    shared = Path(os.path.commonpath([path.parent for path in paths])) if paths else Path()
    if shared == Path(shared.anchor):  # they have nothing in common: an absolute path keeps its slash
        return [path.as_posix() for path in paths]
    return [path.relative_to(shared).as_posix() for path in paths]


def keep_items(plan: "Plan", answers: "Answers", folder: Path) -> None:
    """Writes a file of JSON lines for each task, with one line for each item and the model's choice."""
    from smallgpt.files import write_text

    folder.mkdir(parents=True, exist_ok=True)
    records: dict[str, list[Any]] = {
        plan.label(name): [*done.items, *done.texts] for name, done in answers.outcomes.items()
    }
    records |= dict(answers.corpora.items())
    for name, found in records.items():
        if found:
            write_text(folder / f"{name}.jsonl", "".join(json.dumps(each.to_dict()) + "\n" for each in found))
    if answers.continuations:
        pairs = zip(plan.prompts, answers.continuations, strict=True)
        lines = [json.dumps({"prompt": prompt, "continuations": texts}) + "\n" for prompt, texts in pairs]
        write_text(folder / "continuations.jsonl", "".join(lines))


def with_parts(before: dict[str, Any], found: dict[str, Any]) -> dict[str, Any]:
    """Section `evaluation` with later results added; the result of the same task is replaced."""
    for part, entries in found.items():
        entries = entries if part == "continuations" else {**before.get(part, {}), **entries}
        before = {**before, part: entries}
    return before
