"""Evaluating checkpoints: what is asked is made and checked once, then every model is asked the same."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from transformers import AutoModelForCausalLM, PreTrainedModel, PreTrainedTokenizerBase

from smallgpt.errors import UserError
from smallgpt.evaluation import measures
from smallgpt.evaluation.continuations import continuations, continuations_of_graph, read_lines
from smallgpt.evaluation.continuations import score_continuations as score_continuations
from smallgpt.evaluation.corpora import read_corpora
from smallgpt.evaluation.harness import (
    Outcome,
    load_tasks,
    run_tasks,
    sampled,
)
from smallgpt.evaluation.harness_model import HarnessModel
from smallgpt.evaluation.onnx_model import GraphModel
from smallgpt.evaluation.own import read_own_task
from smallgpt.evaluation.records import ItemRecord, TextRecord
from smallgpt.inference.checkpoint import ANY, Wanted, load_checkpoint, which_weights
from smallgpt.inference.onnx_engine import OnnxEngine
from smallgpt.inference.weight_formats import for_inference
from smallgpt.reporting.statistics import holm
from smallgpt.settings import Evaluation, Generation


@dataclass
class Plan:
    """Plan of an evaluation: all that every model is asked."""

    settings: Evaluation
    generation: Generation
    """Settings with which the prompts are continued."""
    seed: int
    """Seed of the continuations and of the untrained model's weights."""
    device: torch.device
    quantize: str
    """Format in which the weights are stored."""
    tasks: dict[str, Any]
    """The harness's task objects, by name."""
    rows: dict[str, list[int]] | None
    """Rows of each task that are asked; None: all."""
    lines: dict[str, list[int]]
    """Line in its file of each row of a user's own task, by task."""
    corpora: dict[str, list[str]]
    prompts: list[str]
    words: list[str]

    def where(self, task: str, row: int) -> str:
        """Words for a message that say where a row of a task stands."""
        return f"{task} line {self.lines[task][row]}" if task in self.lines else f"{task} row {row}"

    def label(self, task: str) -> str:
        """Name of a task's result: what was asked, so that other results of the task may stand beside it."""
        settings = self.settings
        fixed = self.tasks[task].get_config("num_fewshot") == 0  # as some tasks want it
        shots = [f"{settings.num_fewshot}-shot"] if settings.num_fewshot and not fixed else []
        limit = [f"{len(self.rows[task])} items"] if self.rows and len(self.rows[task]) < self.items(task) else []
        return f"{task} ({', '.join(asked)})" if (asked := shots + limit + self._kind) else task

    def corpus_label(self, corpus: str) -> str:
        """Name of a corpus's result: what was asked, so that other results of the corpus may stand beside it."""
        documents = len(self.corpora[corpus])
        limit = [f"{documents} documents"] if documents == self.settings.limit else []
        return f"{corpus} ({', '.join(asked)})" if (asked := limit + self._kind) else corpus

    @property
    def _kind(self) -> list[str]:
        return [] if self.quantize == "none" else [self.quantize]

    def items(self, task: str) -> int:
        """Number of items that a task has, before `eval.limit`."""
        return len(self.tasks[task].eval_docs)


@dataclass
class Answers:
    """Answers of one model to a plan."""

    name: str
    precision: str
    """Precision of the matrix products."""
    checkpoint: str | None = None
    """Weights of a run that they are of, such as `best, step 900`."""
    outcomes: dict[str, Outcome] = field(default_factory=dict)
    corpora: dict[str, list[TextRecord]] = field(default_factory=dict)
    continuations: list[list[str]] = field(default_factory=list)
    untrained: "Answers | None" = None
    """Answers of an untrained model of the same config, where they are asked for."""


def make_plan(
    settings: Evaluation, generation: Generation, seed: int, device: torch.device, quantize: str = "none"
) -> Plan:
    """Makes an evaluation's plan. Raises UserError for the first thing that cannot be asked."""
    own = [read_own_task(path.expanduser()) for path in settings.path]
    names = [each.name for each in own]
    if twice := [name for name in names if names.count(name) > 1 or name in settings.tasks]:
        raise UserError(f"eval.path: two tasks are called {twice[0]}; rename a file")
    corpora = read_corpora(settings)
    prompts = read_lines(settings.prompts.expanduser(), "eval.prompts") if settings.prompts else []
    words = read_lines(settings.words.expanduser(), "eval.words") if settings.words else []
    tasks = load_tasks(settings.tasks, own, settings.data_dir, settings.num_fewshot, settings.label_prompt)
    return Plan(
        settings=settings,
        generation=generation,
        seed=seed,
        device=device,
        quantize=quantize,
        tasks=tasks,
        rows=sampled(tasks, settings.limit),
        lines={each.name: each.lines for each in own},
        corpora=corpora,
        prompts=prompts,
        words=words,
    )


def ask(
    plan: Plan,
    checkpoint: str,
    name: str,
    known: dict[str, Answers],
    shown: bool = True,
    wanted: Wanted = ANY,
) -> Answers:
    """Asks a checkpoint all of a plan, and beside it an untrained model of the same config.

    Args:
        name: what tables call it.
        known: answers of untrained models by their config and tokenizer; new ones are put in.
        shown: progress on standard error.
        wanted: how its model is to run.

    Raises:
        UserError: the checkpoint cannot be loaded, or cannot read an option.
    """
    model, tokenizer = load_checkpoint(checkpoint, wanted)
    answers = answers_of(plan, name, model, tokenizer, shown)
    answers.checkpoint = which_weights(checkpoint)
    if plan.settings.untrained:
        key = f"{model.config.to_json_string()} {sorted(tokenizer.get_vocab().items())}"
        if key not in known:
            with torch.random.fork_rng():
                torch.manual_seed(plan.seed)
                fresh = AutoModelForCausalLM.from_config(model.config, trust_remote_code=False)
            known[key] = answers_of(plan, "untrained", fresh, tokenizer, shown)
        answers.untrained = known[key]
    return answers


def answers_of(
    plan: Plan, name: str, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, shown: bool
) -> Answers:
    """Asks a loaded model all of a plan."""
    dtype = torch.bfloat16 if plan.settings.precision == "bf16" else torch.float32
    model = model.to(plan.device, dtype).eval()
    if plan.quantize != "none":
        model = for_inference(model, plan.quantize)
    precision = "bf16" if model.dtype == torch.bfloat16 else "fp32"
    answers = scores_of(plan, Answers(name, precision), model, tokenizer, shown)
    if plan.prompts:
        answers.continuations = continuations(
            model, tokenizer, plan.prompts, plan.settings.samples, plan.generation, plan.seed
        )
    return answers


def answers_of_graph(plan: Plan, name: str, engine: OnnxEngine, tokenizer: PreTrainedTokenizerBase) -> Answers:
    """Asks an exported graph all of a plan."""
    answers = scores_of(plan, Answers(name, "fp32"), GraphModel(engine), tokenizer, shown=False)
    if plan.prompts:
        answers.continuations = continuations_of_graph(
            engine, plan.prompts, plan.settings.samples, plan.generation, plan.seed
        )
    return answers


def scores_of(plan: Plan, answers: Answers, model: Any, tokenizer: PreTrainedTokenizerBase, shown: bool) -> Answers:
    """Answers with the scores of a plan's tasks and corpora, by a model or by what answers as one."""
    settings, title = plan.settings, answers.name if shown else None
    windows = settings.long_options == "windows"
    lm = HarnessModel(model, tokenizer, faulty=settings.paper_scoring, windows=windows, title=title)
    lm.where = plan.where
    if plan.tasks:
        answers.outcomes = run_tasks(lm, plan.tasks, settings.num_fewshot, plan.rows)
    for corpus, texts in plan.corpora.items():
        answers.corpora[corpus] = lm.reader.likelihood_of_texts(texts)
    return answers


def evaluation_section(plan: Plan, answers: Answers) -> dict[str, Any]:
    """Section `evaluation` of a result: tasks, corpora and continuations by name, with every measure."""
    untrained = answers.untrained
    how = {"checkpoint": answers.checkpoint, "precision": answers.precision, "quantize": plan.quantize}
    tasks = {}
    for name, outcome in answers.outcomes.items():
        entry = {
            "num_fewshot": plan.tasks[name].get_config("num_fewshot"),
            **how,
            **task_measures(outcome),
        }
        if untrained:
            entry["untrained"] = short(task_measures(untrained.outcomes[name]))
            if outcome.items:
                entry["over_untrained"] = measures.compare_items(untrained.outcomes[name].items, outcome.items)
        tasks[plan.label(name)] = entry
    corpora = {}
    for name, texts in answers.corpora.items():
        entry = {**how, **measures.text_score(texts)}
        if untrained:
            entry["untrained"] = short(measures.text_score(untrained.corpora[name]))
        corpora[plan.corpus_label(name)] = entry
    found: dict[str, Any] = {"tasks": tasks, "corpora": corpora}
    if answers.continuations:
        found["continuations"] = score_continuations(answers.continuations, plan.words)
        if untrained:
            found["continuations"]["untrained"] = score_continuations(untrained.continuations, plan.words)
    return {key: value for key, value in found.items() if value}


def task_measures(outcome: Outcome) -> dict[str, Any]:
    """Every measure of one task, and the harness's own under `harness`."""
    scores: dict[str, Any] = {}
    if outcome.items:
        scores |= measures.score_items(outcome.items)
    if outcome.texts:
        scores |= measures.text_score(outcome.texts)
    if outcome.kinds:
        scores["by"] = {kind: short(measures.score_items(items)) for kind, items in sorted(outcome.kinds.items())}
        scores["bits_per_byte"] = measures.text_score(sentences(outcome.items))["bits_per_byte"]
    return {**scores, "harness": outcome.metrics}


def short(scores: dict[str, Any]) -> dict[str, Any]:
    """The few measures that are shown of an untrained model, or of one kind of items."""
    kept = ("accuracy", "interval", "n", "at_chance", "bits_per_byte", "bits_per_byte_interval", "harness")
    return {key: scores[key] for key in kept if key in scores}


def sentences(items: Sequence[ItemRecord]) -> list[TextRecord]:
    """Turns the options of items without a context into texts, so that bias is read beside how well they are known."""
    texts = []
    for item in items:
        for option, loglikelihood, tokens in zip(item.options, item.loglikelihoods, item.tokens, strict=True):
            texts.append(TextRecord(len(texts), loglikelihood, len(option.encode()), tokens))
    return texts


def compare_models(plan: Plan, everyone: Sequence[Answers]) -> list[dict[str, Any]]:
    """Compares each later model with the first on the same items.

    p is corrected by Holm's method for the number of tests.
    """
    first, *others = everyone
    found = []
    for other in others:
        names = {"first": first.name, "second": other.name}
        for task, outcome in other.outcomes.items():
            if outcome.items:
                gap = measures.compare_items(first.outcomes[task].items, outcome.items)
                found.append({**names, "task": plan.label(task), **gap})
        for corpus, texts in other.corpora.items():
            label = plan.corpus_label(corpus)
            found.append({**names, "corpus": label, **measures.compare_texts(first.corpora[corpus], texts)})
    tested = [gap for gap in found if "p" in gap]
    for gap, p in zip(tested, holm([float(gap["p"]) for gap in tested]), strict=True):
        gap["p_corrected"] = p
        if p > 1 - measures.LEVEL and gap["verdict"] != "no difference":
            gap["verdict"] = "not certain"
    return found
