"""Tasks of EleutherAI's evaluation harness: found, given their data, put to a model, and read back."""

import logging
import random
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cache, partial
from pathlib import Path
from typing import Any

import lm_eval
from lm_eval.api.task import ConfigurableTask
from lm_eval.tasks import TaskManager
from tqdm import tqdm

from smallgpt.data import hub
from smallgpt.errors import UserError, nearest, one_line
from smallgpt.evaluation.harness_model import HarnessModel
from smallgpt.evaluation.local_data import LocalData
from smallgpt.evaluation.own import Own, harness_config
from smallgpt.evaluation.records import ItemRecord, TextRecord
from smallgpt.packages import private

with private("lm-eval"):
    from lm_eval.tasks._index import Entry, Kind
    from lm_eval.tasks._yaml_loader import load_yaml  # the harness merges no settings into a task of its own

SEED = 1234  # of the items that eval.limit takes and of the examples: the same for every model
BY = {"crows_pairs_english": "bias_type"}  # tasks whose items are counted by a column too


@dataclass
class Outcome:
    """Records and metrics of one model on one task."""

    task: str
    items: list[ItemRecord] = field(default_factory=list)
    """Records of a task with multiple choice and one right option."""
    texts: list[TextRecord] = field(default_factory=list)
    """Records of a task that measures likelihood."""
    metrics: dict[str, float] = field(default_factory=dict)
    """Metrics that the harness itself computes."""
    kinds: dict[str, list[ItemRecord]] = field(default_factory=dict)
    """Records of the items by the column that `BY` names."""


def load_tasks(
    names: Sequence[str], own: Sequence[Own], data_dir: Path | None, num_fewshot: int, label_prompt: str
) -> dict[str, Any]:
    """Loads tasks by name: those of the harness, also groups and tags, and a user's own.

    Raises:
        UserError: an unknown name, data that cannot be had, more examples than there are.
    """
    tasks = _loaded(names, own, data_dir, num_fewshot, label_prompt)
    for name, task in tasks.items():
        if isinstance(task, ConfigurableTask) and task.config.process_docs:  # the harness would do it at every look
            task.config.process_docs = cache(task.config.process_docs)
        if num_fewshot and isinstance(task, ConfigurableTask) and task.get_config("num_fewshot") != 0:
            _check_examples(name, task, num_fewshot)
    return tasks


def _loaded(
    names: Sequence[str], own: Sequence[Own], data_dir: Path | None, num_fewshot: int, label_prompt: str
) -> dict[str, Any]:
    logging.getLogger("lm_eval").setLevel(logging.ERROR)
    lm_eval.api.task.tqdm = partial(tqdm, disable=True)  # a bar a task, which nothing switches off
    tasks: dict[str, Any] = {}
    for each in own:
        tasks[each.name] = ConfigurableTask(config=harness_config(each, label_prompt))
    if not names:
        return tasks
    local = LocalData(data_dir) if data_dir else None
    manager = TaskManager()
    known = manager.task_index
    for name in names:
        if name not in known:
            raise UserError(f"eval.tasks={name}: no task of the evaluation harness{nearest(name, known)}")
    for name in names:
        if local is None:
            with hub.errors(f"eval.tasks={name}", "eval.data_dir=<folder with its data>", local=False):
                tasks |= manager.load(name)["tasks"]
            continue
        for config in configs(name, known):
            if "dataset_path" not in config or "class" in config:
                raise UserError(f"eval.tasks={config['task']}: makes its own data; leave eval.data_dir out for it")
            tasks[config["task"]] = of_local_data(config, local, num_fewshot)
    return tasks


def of_local_data(config: dict[str, Any], local: LocalData, num_fewshot: int) -> ConfigurableTask:
    """Makes a task whose data lies in a folder. Raises UserError where its rows have not the hub's columns."""
    redirected = local.redirect(config, num_fewshot)
    try:
        task = ConfigurableTask(config=redirected)
        first = task.eval_docs[0]
        task.doc_to_text(first), task.doc_to_target(first)
        if task.OUTPUT_TYPE == "multiple_choice":
            task.doc_to_choice(first)
    except UserError:
        raise
    except Exception as error:  # of Jinja, datasets and the harness's own functions
        raise UserError(
            f"eval.data_dir={local.folder}: the data of {config['task']} has not the columns of the hub's "
            f"{config['dataset_path']} ({one_line(error)[:120]})"
        ) from error
    return task


def _check_examples(name: str, task: ConfigurableTask, num_fewshot: int) -> None:
    """Raises UserError where a row would get fewer examples: the harness draws them without repetition."""
    pool = task.sampler.df
    room = len(pool)
    if task.fewshot_cfg.split == task.config.test_split:  # a row is no example for itself, nor for an equal one
        room -= max(Counter(map(repr, pool)).values(), default=0)
    if num_fewshot > room:
        raise UserError(f"eval.num_fewshot={num_fewshot}: {name} has too few rows to be examples; use at most {room}")


def configs(name: str, known: dict[str, Entry]) -> list[dict[str, Any]]:
    """Configurations of a task, or of all tasks of a group or tag."""
    entry = known[name]
    if entry.kind == Kind.TAG:
        return [config for child in sorted(entry.tags) for config in configs(child, known)]
    if entry.kind == Kind.GROUP:
        found = []
        for child in (entry.cfg or {})["task"]:
            inner, given = (child, {}) if isinstance(child, str) else (child["task"], child)
            found += [{**config, **given} for config in configs(inner, known)]
        return found
    assert entry.yaml_path is not None  # of every task but a group
    config = load_yaml(entry.yaml_path, resolve_func=True, recursive=True)
    return [{key: value for key, value in config.items() if key not in ("tag", "group", "task_list")}]


def sampled(tasks: dict[str, Any], limit: int | None) -> dict[str, list[int]] | None:
    """Draws the rows that are asked of each task; None: all."""
    if limit is None:
        return None
    chosen = {}
    for name, task in tasks.items():
        number = len(task.eval_docs)
        chosen[name] = sorted(random.Random(SEED).sample(range(number), min(limit, number)))
    return chosen


def run_tasks(
    lm: HarnessModel, tasks: dict[str, Any], num_fewshot: int, rows: dict[str, list[int]] | None
) -> dict[str, Outcome]:
    """Runs a model on all tasks and returns its outcome on each.

    Raises:
        UserError: an option that the model cannot read, by its task and row.
    """
    given = lm.where
    if rows is not None:
        lm.where = lambda task, row: given(task, rows[task][row])
    for task in tasks.values():
        task._instances = None  # the harness keeps another model's answers with the requests
        if task.get_config("num_fewshot") != 0:  # as some tasks want it
            task.set_config(key="num_fewshot", value=num_fewshot)
        task.set_fewshot_seed(seed=SEED)
    asked: Any = {"tasks": tasks, "groups": {}, "group_map": {}}
    done = lm_eval.evaluate(lm=lm, task_dict=asked, samples=rows, bootstrap_iters=0, log_samples=True)
    lm.where = given
    return {name: outcome(lm, name, task, done) for name, task in tasks.items()}


def outcome(lm: HarnessModel, name: str, task: Any, done: dict[str, Any]) -> Outcome:
    """Translates the harness's answer on one task into our records."""
    result = Outcome(name)
    for key, value in done["results"][name].items():
        metric, _, kind = key.partition(",")
        if kind == "none" and isinstance(value, int | float) and not metric.endswith("_stderr"):
            result.metrics[metric] = float(value)
    for place, sample in enumerate(done["samples"][name]):
        doc, row = sample["doc"], sample["doc_id"]
        if task.OUTPUT_TYPE == "multiple_choice" and (task.config.process_results is None or name in BY):
            item = item_of(lm, name, task, place, row, doc)
            result.items.append(item)
            if name in BY:
                result.kinds.setdefault(str(doc[BY[name]]), []).append(item)
        elif task.OUTPUT_TYPE in ("loglikelihood", "loglikelihood_rolling"):
            tokens, score = lm.records[name, place, 0]
            rolling = task.OUTPUT_TYPE == "loglikelihood_rolling"
            text = task.doc_to_target(doc)
            result.texts.append(
                TextRecord(
                    row,
                    score.loglikelihood,
                    len(text.encode()),
                    tokens,
                    None if rolling else score.greedy,
                    lm.reader.lost(text, lm.reader.encode(text)),
                )
            )
    return result


def text_of(task: Any, doc: dict[str, Any]) -> str:
    """A row as one text: what is asked, with the right answer."""
    question, target = task.doc_to_text(doc), task.doc_to_target(doc)
    if task.OUTPUT_TYPE == "multiple_choice":
        options = task.doc_to_choice(doc)
        if task.multiple_input:
            return f"{options[question]} {target}"
        if isinstance(target, int) and 0 <= target < len(options):
            target = options[target]
    return f"{question} {target}"


def item_of(lm: HarnessModel, name: str, task: Any, place: int, row: int, doc: dict[str, Any]) -> ItemRecord:
    """Makes the record of one multiple-choice item. Raises UserError where its right option is not one of them."""
    options = task.doc_to_choice(doc)
    fills = bool(task.multiple_input)  # the options stand in the context, and what follows them is scored
    gold = task.doc_to_text(doc) if fills else task.doc_to_target(doc)
    if isinstance(gold, str):
        gold = options.index(gold)
    if not (isinstance(gold, int) and 0 <= gold < len(options)):
        raise UserError(f"{lm.where(name, place)}: answer {gold}: out of range, there are {len(options)} options")
    records = [lm.records[name, place, i] for i in range(len(options))]
    return ItemRecord(
        id=row,
        options=tuple(options),
        gold=gold,
        loglikelihoods=tuple(score.loglikelihood for _, score in records),
        tokens=tuple(number for number, _ in records),
        scored=(str(task.doc_to_target(doc)),) * len(options) if fills else tuple(options),
        faulty=tuple(score.faulty for _, score in records) if lm.reader.scorer.faulty else None,
        cut=max(score.cut for _, score in records),
    )
