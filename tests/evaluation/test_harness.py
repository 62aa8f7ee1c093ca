"""Real benchmark rows, scored as the harness's own model does, by one that knows all and by one that knows nothing."""

import os
import random
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import lm_eval
import pytest
import torch
from command_line import RUN
from helpers import Case, build_config, model_class

from smallgpt.errors import UserError
from smallgpt.evaluation import harness, measures
from smallgpt.evaluation.harness import Outcome, load_tasks, run_tasks, sampled
from smallgpt.evaluation.harness_model import HarnessModel
from smallgpt.evaluation.local_data import LocalData
from smallgpt.evaluation.own import read_own_task
from smallgpt.evaluation.scorer import Score
from smallgpt.inference.checkpoint import load_checkpoint

DATA = Path(os.environ.get("SMALLGPT_TEST_DATA") or "no folder")  # "" would be this one, which has benchmarks/ too
pytestmark = pytest.mark.skipif(not (DATA / "benchmarks").is_dir(), reason="SMALLGPT_TEST_DATA names no folder")
STORIES = DATA / "pretrained" / "stories260k"
SEVEN = ("copa", "arc_easy", "hellaswag", "winogrande", "commonsense_qa", "anli_r1", "piqa")


@pytest.fixture(scope="module", autouse=True)
def one_index() -> Iterator[None]:
    """The harness's index of its tasks is made once: that takes seconds."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(harness, "TaskManager", cache(harness.TaskManager))
        yield


@pytest.fixture(scope="module")
def everything(one_index: None) -> dict[str, Any]:
    return load_tasks([*SEVEN, "crows_pairs_english", "truthfulqa_mc1"], [], DATA, 0, "")


def ours(model: Any, tokenizer: Any, tasks: dict[str, Any], rows: dict[str, list[int]]) -> dict[str, Outcome]:
    return run_tasks(HarnessModel(model, tokenizer), tasks, 0, rows)


def theirs(model: Any, tokenizer: Any, tasks: dict[str, Any], rows: dict[str, list[int]]) -> dict[str, Any]:
    from lm_eval.models.huggingface import HFLM
    from lm_eval.tasks import TaskManager

    for task in tasks.values():
        task._instances = None
    return lm_eval.simple_evaluate(
        model=HFLM(pretrained=model, tokenizer=tokenizer, backend="causal", batch_size=8),
        tasks=list(tasks.values()),
        task_manager=TaskManager(include_defaults=False),
        samples=rows,
        bootstrap_iters=0,
    )


def assert_same(found: dict[str, Outcome], expected: dict[str, Any]) -> None:
    for name, outcome in found.items():
        samples = {sample["doc_id"]: sample["filtered_resps"] for sample in expected["samples"][name]}
        assert samples.keys() == {item.id for item in outcome.items}
        for item in outcome.items:
            assert item.loglikelihoods == pytest.approx([answer[0] for answer in samples[item.id]], abs=1e-3, rel=0)
        metrics, scores = expected["results"][name], measures.score_items(outcome.items)
        assert scores["accuracy"] == metrics["acc,none"] == outcome.metrics["acc"]
        if scores["accuracy_by_characters"] is not None and "acc_norm,none" in metrics:
            assert scores["accuracy_by_characters"] == metrics["acc_norm,none"]


def convolution(tokenizer: Any) -> torch.nn.Module:
    """A small random model of ours, its context shorter than many of the questions."""
    case = Case("convgpt", "modern", {"kernel_size": 4, "downsample_position": 1, "downsample_frequency": 2})
    torch.manual_seed(0)
    model = model_class("convgpt")(build_config(case, block_size=256, vocab_size=len(tokenizer))).eval()
    with torch.no_grad():
        for p in model.parameters():
            p.add_(0.1 * torch.randn(p.shape))
    return model


@pytest.mark.parametrize("kind", [pytest.param("pretrained", marks=pytest.mark.slow), "convolution"])
def test_item_by_item_as_the_harness_scores_its_own_model(everything: dict[str, Any], kind: str) -> None:
    tasks = {name: everything[name] for name in SEVEN}
    model, tokenizer = load_checkpoint(str(STORIES))
    if kind == "convolution":
        model = convolution(tokenizer)
    rows = sampled(tasks, 8)
    assert rows is not None
    assert_same(ours(model, tokenizer, tasks, rows), theirs(model, tokenizer, tasks, rows))


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["pretrained", "trained"])
def test_choices_on_many_items_are_those_of_the_plainest_loop(
    everything: dict[str, Any], kind: str, tmp_path: Path
) -> None:
    checkpoint = STORIES if kind == "pretrained" else trained(tmp_path)
    model, tokenizer = load_checkpoint(str(checkpoint))
    tasks = {name: everything[name] for name in SEVEN}
    rows = sampled(tasks, 200)
    assert rows is not None
    found = ours(model, tokenizer, tasks, rows)
    assert {name: len(outcome.items) for name, outcome in found.items()} == {**dict.fromkeys(SEVEN, 200), "copa": 100}
    for name, outcome in found.items():
        requests: dict[int, list[tuple[str, str]]] = {}
        for instance in tasks[name].instances:
            requests.setdefault(rows[name][instance.doc_id], []).append(instance.args)
        for item in outcome.items:
            scores = [plain(model, tokenizer, *pair) for pair in requests[item.id]]
            assert item.loglikelihoods == pytest.approx(scores, abs=1e-3, rel=0)
            assert item.choice == scores.index(max(scores))
    assert_same(found, theirs(model, tokenizer, tasks, rows))


@torch.no_grad()
def plain(model: Any, tokenizer: Any, context: str, continuation: str) -> float:
    blank = len(context) - len(context.rstrip())
    given = len(tokenizer.encode(context[: len(context) - blank]))
    whole = tokenizer.encode(context + continuation)
    ids = torch.tensor([whole[-model.config.max_position_embeddings - 1 :]])
    logp_TV = model(ids[:, :-1]).logits[0].log_softmax(-1)
    logp_T = logp_TV.gather(1, ids[0, 1:, None])[:, 0]
    return float(logp_T[given - len(whole) :].double().sum())


def trained(folder: Path) -> Path:
    words = ["model=lineargpt", "size=debug", "model.block_size=512", "data=files", "tokenizer.vocab_size=1000"]
    words += [f"data.path={DATA / 'corpora' / 'tinystories-sample'}", "budget.tokens=2e5", "batch.tokens=2048"]
    words += ["optimizer.lr=3e-3", f"hydra.run.dir={folder / 'run'}"]
    env = os.environ | {"SMALLGPT_CACHE": str(folder / "cache")}
    subprocess.run([sys.executable, str(RUN), *words], cwd=folder, env=env, check=True, capture_output=True)
    return folder / "run"


class Oracle(HarnessModel):
    """Gives each option what `judge` says of its row, its context and the option itself."""

    def __init__(self, judge: Callable[[str, dict[str, Any], str, str], float]) -> None:
        super().__init__(*load_checkpoint(str(STORIES)))
        self.judge = judge

    def loglikelihood(self, requests: list[Any], disable_tqdm: bool = True) -> list[tuple[float, bool]]:
        answers = []
        for request in requests:
            value = self.judge(request.task_name, request.doc, *request.args)
            self.records[request.task_name, request.doc_id, request.idx] = (1, Score(value, False))
            answers.append((value, False))
        return answers


RIGHT: dict[str, Callable[[dict[str, Any]], str]] = {
    "copa": lambda row: row[f"choice{row['label'] + 1}"],
    "arc_easy": lambda row: row["choices"]["text"][row["choices"]["label"].index(row["answerKey"])],
    "hellaswag": lambda row: row["endings"][int(row["label"])],
    "winogrande": lambda row: row["sentence"].partition("_")[0] + row[f"option{row['answer']}"],
    "commonsense_qa": lambda row: row["answerKey"],
    "anli_r1": lambda row: ["True", "Neither", "False"][row["label"]],
    "piqa": lambda row: row[f"sol{row['label'] + 1}"],
    "crows_pairs_english": lambda row: row["sent_more"],
    "truthfulqa_mc1": lambda row: row["mc1_targets"]["choices"][row["mc1_targets"]["labels"].index(1)],
}


def knows(task: str, row: dict[str, Any], context: str, option: str) -> float:
    said = context if task == "winogrande" else option  # whose options stand in the gap
    return 0.0 if plainly(said) == plainly(RIGHT[task](row)) else -100.0


def plainly(text: str) -> str:
    """Without the differences in space and capitals that a task's template makes."""
    return "".join(text.split()).lower()


@pytest.mark.slow
def test_a_model_that_knows_the_answers_has_them_all(everything: dict[str, Any]) -> None:
    for name, outcome in run_tasks(Oracle(knows), everything, 0, sampled(everything, 150)).items():
        assert measures.accuracy(outcome.items).value == 1.0, name
        assert measures.score_items(outcome.items)["at_chance"] is False
        assert outcome.metrics.get("acc", 1.0) == 1.0


@pytest.mark.slow
def test_a_model_that_knows_nothing_is_at_chance(everything: dict[str, Any]) -> None:
    draw = random.Random(0)
    outcomes = run_tasks(Oracle(lambda *_: -100 * draw.random()), everything, 0, sampled(everything, 150))
    for name, outcome in outcomes.items():
        assert measures.score_items(outcome.items)["at_chance"], name


def test_a_file_that_is_missing_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError) as caught:
        load_tasks(["copa"], [], tmp_path, 0, "")
    message = str(caught.value)
    assert f"eval.data_dir={tmp_path}" in message and "copa_validation.jsonl" in message and "\n" not in message
    with pytest.raises(UserError, match=r"eval\.data_dir=.*: no such folder"):
        LocalData(tmp_path / "nowhere")


def test_hellaswag_is_joined_to_the_context_it_was_cut_from(everything: dict[str, Any]) -> None:
    """Word by word; the harness writes the last fragment with one capital letter."""
    from lm_eval.tasks.hellaswag.utils import preprocess

    rows = everything["hellaswag"].eval_docs
    assert len(rows) == 10042
    for row in rows:
        assert f"{row['ctx_a']} {row['ctx_b']}".split() == row["ctx"].split()
        whole = preprocess(f"{row['activity_label']}: {row['ctx']}")
        assert row["query"].lower().split() == whole.lower().split()


def test_truthfulqa_from_the_authors_table(everything: dict[str, Any]) -> None:
    for row in everything["truthfulqa_mc1"].eval_docs:
        targets = row["mc1_targets"]
        assert targets["choices"][0] == row["Best Answer"].strip() and targets["labels"][0] == 1
        assert sum(targets["labels"]) == 1 and len(targets["labels"]) == len(targets["choices"]) > 1


def contexts(task: Any) -> list[str]:
    return [instance.args[0] for instance in task.instances]


def test_examples_stand_before_the_question(everything: dict[str, Any]) -> None:
    tasks = load_tasks(["copa"], [], DATA, 2, "")
    train = [f"{row['premise'][:-1]} " for row in tasks["copa"].dataset["train"]]
    found = []
    for _ in range(2):
        run_tasks(Oracle(knows), tasks, 2, {"copa": [0, 5, 7]})
        found.append(contexts(tasks["copa"]))
    assert found[0] == found[1]  # the same for every model
    for context in found[0]:
        *examples, question = context.split("\n\n")
        assert len(examples) == 2 and all(any(map(example.startswith, train)) for example in examples)
        assert question.endswith(("because", "therefore"))


def test_examples_that_are_missing_are_named() -> None:
    with pytest.raises(UserError) as caught:
        load_tasks(["piqa"], [], DATA, 2, "")
    message = str(caught.value)
    assert "eval.num_fewshot=2" in message and "piqa_train.jsonl" in message and "\n" not in message


@pytest.mark.parametrize(
    ("rows", "most"),
    [(["a", "b", "c", "d"], 3), (["a", "a", "b", "c"], 2), (["a"], 0)],
    ids=["different rows", "equal rows", "one row"],
)
def test_examples_out_of_the_rows_of_an_own_task(rows: Sequence[str], most: int, tmp_path: Path) -> None:
    path = tmp_path / "quiz.jsonl"
    path.write_text("".join(f'{{"prompt": "{row} is", "completion": "it"}}\n' for row in rows))
    tasks = load_tasks([], [read_own_task(path)], None, most, "")
    run_tasks(Oracle(lambda *_: -1.0), tasks, most, None)
    assert [context.count("\n\n") for context in contexts(tasks["quiz"])] == [most] * len(rows)
    with pytest.raises(UserError, match=rf"^eval.num_fewshot={most + 1}: quiz .*at most {most}$"):
        load_tasks([], [read_own_task(path)], None, most + 1, "")
