"""EleutherAI's evaluation harness, with a model of ours behind its interface."""

import logging
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import lm_eval
import torch
from lm_eval.api.instance import Instance
from lm_eval.api.model import TemplateLM
from lm_eval.api.task import ConfigurableTask
from lm_eval.tasks import TaskManager
from lm_eval.tasks._index import Entry, Kind
from lm_eval.tasks._yaml_loader import load_yaml  # the harness merges no settings into a task of its own
from lm_eval.utils import get_rolling_token_windows, make_disjoint_window
from tqdm import tqdm
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from smallgpt.data import hub
from smallgpt.data.progress import Progress
from smallgpt.errors import UserError, nearest
from smallgpt.evaluation.items import Item, Text
from smallgpt.evaluation.local_data import LocalData
from smallgpt.evaluation.own import Own, harness_config
from smallgpt.evaluation.scorer import Request, Score, Scorer, pieces, total

SAMPLE_SEED = 1234  # of the items that eval.limit takes: the same for every model
BY = {"crows_pairs_english": "bias_type"}  # tasks whose items are counted by a column too
DEFAULT_CONTEXT = 2048  # tokens, where neither the model nor its tokenizer says


@dataclass
class Outcome:
    """What one model did on one task."""

    task: str
    items: list[Item] = field(default_factory=list)
    """Of multiple choice with one right option."""
    texts: list[Text] = field(default_factory=list)
    """Of likelihood."""
    metrics: dict[str, float] = field(default_factory=dict)
    """The harness's own."""
    kinds: dict[str, list[Item]] = field(default_factory=dict)
    """The items by the column of `BY`."""


class HarnessModel(TemplateLM):
    """The harness's interface to `Scorer`; tokens are split as its own `HFLM` does."""

    def __init__(
        self,
        model: PreTrainedModel,
        tokenizer: PreTrainedTokenizerBase,
        share: bool = True,
        faulty: bool = False,
        windows: bool = False,
        title: str | None = None,
    ):
        """
        Args:
            share, faulty: see `Scorer`.
            windows: score options that are longer than the model's context in pieces; else they are refused.
            title: of a progress bar on standard error; None: no bar.
        """
        super().__init__()
        self.model, self.tokenizer, self.windows, self.title = model, tokenizer, windows, title
        self.max_length = context_length(model, tokenizer)
        self.scorer = Scorer(model, self.max_length, share, faulty)
        self.where: Callable[[str, int], str] = lambda task, row: f"{task}: row {row}"
        self.records: dict[tuple[str, int, int], tuple[int, Score]] = {}
        self._latest: list[tuple[int, Score]] = []

    @property
    def eot_token_id(self) -> int:
        return self.tokenizer.eos_token_id

    @property
    def prefix_token_id(self) -> int:
        bos = self.tokenizer.bos_token_id
        return self.tokenizer.eos_token_id if bos is None else bos

    def tok_encode(self, string: str, add_special_tokens: bool | None = None, **_: Any) -> list[int]:
        if add_special_tokens is None and string.startswith(self.tokenizer.decode(self.prefix_token_id)):
            add_special_tokens = False
        given = {} if add_special_tokens is None else {"add_special_tokens": add_special_tokens}
        return self.tokenizer.encode(string, **given)

    def loglikelihood(self, requests: list[Instance], disable_tqdm: bool = True) -> list[tuple[float, bool]]:
        self._latest = []
        self._asked = requests
        answers = super().loglikelihood(requests, disable_tqdm=True)
        for request, record in zip(requests, self._latest, strict=True):
            self.records[str(request.task_name), int(request.doc_id or 0), request.idx] = record
        return answers

    def _loglikelihood_tokens(self, requests: list[Any], **_: Any) -> list[tuple[float, bool]]:
        asked: list[list[Request]] = []
        for place, (_pair, context, continuation) in enumerate(requests):
            if not continuation:
                raise UserError(f"{self._name(place)} no token of its own")
            if len(continuation) > self.max_length and not self.windows:
                raise UserError(
                    f"{self._name(place)} {len(continuation)} tokens; the model's context has {self.max_length}, "
                    "and eval.long_options=windows scores it piece by piece"
                )
            asked.append(pieces(Request(tuple(context), tuple(continuation)), self.max_length))
        scores = iter(self.score([piece for each in asked for piece in each]))
        self._latest = []
        for each in asked:
            parts = [next(scores) for _ in each]
            self._latest.append((sum(len(piece.continuation) for piece in each), total(parts)))
        return [(score.loglikelihood, score.greedy) for _, score in self._latest]

    def score(self, requests: Sequence[Request]) -> list[Score]:
        with Progress(self.title or "", len(requests), shown=self.title is not None) as progress:
            return self.scorer.score(requests, progress.advance)

    def _name(self, place: int) -> str:
        instance = self._asked[place]
        return f"{self.where(str(instance.task_name), int(instance.doc_id or 0))}: option {instance.idx + 1} has"

    def loglikelihood_rolling(self, requests: list[Instance], disable_tqdm: bool = True) -> list[float]:
        texts = likelihood_of_texts(self, [request.args[0] for request in requests])
        for request, text in zip(requests, texts, strict=True):
            score = Score(text.loglikelihood, False)
            self.records[str(request.task_name), int(request.doc_id or 0), request.idx] = (text.tokens, score)
        return [text.loglikelihood for text in texts]

    @torch.inference_mode()
    def generate_until(self, requests: list[Instance], disable_tqdm: bool = True) -> list[str]:
        answers = []
        for request in requests:
            context, given = request.args
            new = min(int(given.get("max_gen_toks", 256)), self.max_length - 1)
            ids = torch.tensor([self.tok_encode(context)[new - self.max_length :]], device=self.model.device)
            until = given.get("until") or []
            stops = [until] if isinstance(until, str) else until
            sampling = {"temperature": given.get("temperature", 1.0)} if given.get("do_sample") else {}
            out = self.model.generate(
                ids,
                attention_mask=torch.ones_like(ids),
                max_new_tokens=new,
                pad_token_id=self.eot_token_id,
                stop_strings=stops or None,
                tokenizer=self.tokenizer,
                do_sample=bool(sampling),
                **sampling,
            )
            text = self.tokenizer.decode(out[0, ids.shape[1] :], skip_special_tokens=True)
            answers.append(min((text.partition(stop)[0] for stop in stops), key=len, default=text))
        return answers


def context_length(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> int:
    """Tokens that the model can read."""
    config = model.config.get_text_config()
    longest = getattr(config, "max_position_embeddings", None) or tokenizer.model_max_length
    return int(longest) if longest and longest < 10**9 else DEFAULT_CONTEXT


def likelihood_of_texts(lm: HarnessModel, texts: Sequence[str]) -> list[Text]:
    """Of whole documents, each on its own, in windows of the model's context; every token is scored once."""
    requests: list[Request] = []
    counts, tokens = [], []
    for text in texts:
        ids = lm.tok_encode(text)
        windows = [
            make_disjoint_window(window)
            for window in get_rolling_token_windows(ids, lm.prefix_token_id, lm.max_length, context_len=1)
        ]
        requests += [Request(tuple(context), tuple(scored)) for context, scored in windows]
        counts.append(len(windows))
        tokens.append(len(ids))
    scores = iter(lm.score(requests))
    totals = [sum(next(scores).loglikelihood for _ in range(count)) for count in counts]
    return [
        Text(i, total, len(text.encode()), number)
        for i, (text, total, number) in enumerate(zip(texts, totals, tokens, strict=True))
    ]


def load_tasks(
    names: Sequence[str], own: Sequence[Own], data_dir: Path | None, num_fewshot: int, label_prompt: str
) -> dict[str, Any]:
    """The harness's tasks by name: its own, also groups and tags, and a user's.

    Raises:
        UserError: an unknown name, data that cannot be had.
    """
    logging.getLogger("lm_eval").setLevel(logging.ERROR)
    lm_eval.api.task.tqdm = partial(tqdm, disable=True)  # a bar a task, which nothing switches off
    tasks: dict[str, Any] = {}
    for each in own:
        tasks[each.name] = ConfigurableTask(config=harness_config(each, label_prompt))
    if not names:
        return tasks
    manager = TaskManager()
    known = manager.task_index
    local = LocalData(data_dir) if data_dir else None
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
            tasks[config["task"]] = ConfigurableTask(config=local.redirect(config, num_fewshot))
    return tasks


def configs(name: str, known: dict[str, Entry]) -> list[dict[str, Any]]:
    """The configurations of a task, or of all tasks of a group or tag."""
    entry = known[name]
    if entry.kind == Kind.TAG:
        return [config for child in sorted(entry.tags) for config in configs(child, known)]
    if entry.kind == Kind.GROUP:
        found = []
        for child in (entry.cfg or {})["task"]:
            inner, given = (child, {}) if isinstance(child, str) else (child["task"], child)
            found += [{**config, **given} for config in configs(inner, known)]
        return found
    config = load_yaml(entry.yaml_path, resolve_func=True, recursive=True)
    return [{key: value for key, value in config.items() if key not in ("tag", "group", "task_list")}]


def sampled(tasks: dict[str, Any], limit: int | None) -> dict[str, list[int]] | None:
    """The rows that are asked of each task; None: all."""
    if limit is None:
        return None
    chosen = {}
    for name, task in tasks.items():
        number = len(task.eval_docs)
        chosen[name] = sorted(random.Random(SAMPLE_SEED).sample(range(number), min(limit, number)))
    return chosen


def run_tasks(
    lm: HarnessModel, tasks: dict[str, Any], num_fewshot: int, rows: dict[str, list[int]] | None
) -> dict[str, Outcome]:
    """What the model does on each task.

    Raises:
        UserError: an option that the model cannot read, by its task and row.
    """
    given = lm.where
    if rows is not None:
        lm.where = lambda task, row: given(task, rows[task][row])
    for task in tasks.values():
        task._instances = None  # the harness keeps another model's answers with the requests
    done = lm_eval.simple_evaluate(
        model=lm,
        tasks=list(tasks.values()),
        task_manager=TaskManager(include_defaults=False),
        num_fewshot=num_fewshot,
        samples=rows,
        bootstrap_iters=0,
        log_samples=True,
    )
    lm.where = given
    return {name: outcome(lm, name, task, done) for name, task in tasks.items()}


def outcome(lm: HarnessModel, name: str, task: Any, done: dict[str, Any]) -> Outcome:
    """The harness's answer on one task as our records."""
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
                Text(row, score.loglikelihood, len(text.encode()), tokens, None if rolling else score.greedy)
            )
    return result


def item_of(lm: HarnessModel, name: str, task: Any, place: int, row: int, doc: dict[str, Any]) -> Item:
    options = task.doc_to_choice(doc)
    fills = bool(task.multiple_input)  # the options stand in the context, and what follows them is scored
    gold = task.doc_to_text(doc) if fills else task.doc_to_target(doc)
    if isinstance(gold, str):
        gold = options.index(gold)
    if not (isinstance(gold, int) and 0 <= gold < len(options)):
        raise UserError(f"{lm.where(name, place)}: answer {gold}: out of range, there are {len(options)} options")
    records = [lm.records[name, place, i] for i in range(len(options))]
    return Item(
        id=row,
        options=tuple(options),
        gold=gold,
        loglikelihoods=tuple(score.loglikelihood for _, score in records),
        tokens=tuple(number for number, _ in records),
        scored=(str(task.doc_to_target(doc)),) * len(options) if fills else tuple(options),
        faulty=tuple(score.faulty for _, score in records) if lm.scorer.faulty else None,
    )
