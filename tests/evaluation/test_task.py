"""task=evaluate, and eval= of a training, as a user calls them."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from command_line import CommandLine

pytest.importorskip("lm_eval")
TINY = ("size=debug", "model.n_layer=2", "tokenizer.vocab_size=300", "batch.tokens=512", "budget.tokens=5000")
QUICK = "eval.untrained=false"
ROWS = [
    {"prompt": f"Line {i} of", "choices": ["a text.", "the wild sea"], "answer": "a text." if i % 3 else 1}
    for i in range(12)
]


def jsonl(name: str, *rows: Any) -> str:
    Path(name).write_text("".join(f"{row if isinstance(row, str) else json.dumps(row)}\n" for row in rows))
    return name


def train(cli: CommandLine, folder: Path, *words: str) -> Any:
    Path("text.txt").write_text("\n\n".join(f"Line {i} of a text." for i in range(3000)))
    return cli(*TINY, "data=files", "data.holdout=0.3", "data.path=text.txt", f"hydra.run.dir={folder}", *words)


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("kept")


@pytest.fixture
def run(cli: CommandLine, kept: Path) -> str:
    """A trained run of this test's own: all have been trained once."""
    if not (kept / "run").exists():
        assert train(cli, kept / "run").code == 0
    shutil.copytree(kept / "run", "run")
    return "run"


def result_of(run: str) -> dict[str, Any]:
    return json.loads((Path(run) / "result.json").read_text())


def items_of(folder: str, name: str = "quiz") -> list[dict[str, Any]]:
    return [json.loads(line) for line in (Path(folder) / "evaluation" / f"{name}.jsonl").read_text().splitlines()]


def test_a_training_is_asked_at_its_end(cli: CommandLine) -> None:
    done = train(cli, Path("run"), "eval=own", f"eval.path={jsonl('quiz.jsonl', *ROWS)}")
    assert done.code == 0, done.err
    entry = done.result["evaluation"]["tasks"]["quiz"]
    assert result_of("run")["evaluation"] == done.result["evaluation"] and done.result["val"]["loss"] > 0
    assert entry["n"] == 12 and entry["chance"] == 0.5 and entry["num_fewshot"] == 0
    assert {"accuracy", "interval"} <= entry["untrained"].keys() and entry["over_untrained"]["n"] == 12
    items = items_of("run")
    assert [item["gold"] for item in items] == [1 if i % 3 == 0 else 0 for i in range(12)]
    assert entry["accuracy"] == sum(item["choice"] == item["gold"] for item in items) / 12
    assert "multiple choice" in done.out and "quiz" in done.out


def test_a_run_is_asked_later_and_keeps_everything_else(cli: CommandLine, run: str) -> None:
    before = result_of(run)
    jsonl("quiz.jsonl", *ROWS)
    jsonl("verse.jsonl", {"prompt": "Line 1 of a", "completion": "text."}, {"prompt": "A", "completion": "b"})
    ask = ("task=evaluate", f"checkpoint={run}", "eval=own", QUICK)
    done = cli(*ask, "eval.path=[quiz.jsonl,verse.jsonl]", "hydra.run.dir=first")
    assert done.code == 0, done.err
    first = result_of(run)
    assert first == {**before, "evaluation": done.result["evaluation"]}
    assert first["evaluation"]["tasks"].keys() == {"quiz", "verse"}
    assert 0 <= first["evaluation"]["tasks"]["verse"]["exact_match"] <= 1
    assert len(items_of("first")) == 12 and len(items_of("first", "verse")) == 2

    # another task is added, and what was asked of a part is kept beside the whole
    jsonl("text.jsonl", {"text": "Line 5 of a text."})
    done = cli(*ask, "eval.path=[quiz.jsonl,text.jsonl]", "eval.limit=5", "hydra.run.dir=second")
    assert done.code == 0, done.err
    second = result_of(run)["evaluation"]["tasks"]
    assert second.keys() == {"quiz", "verse", "quiz (5 items)", "text"}
    assert second["quiz"] == first["evaluation"]["tasks"]["quiz"] and second["quiz (5 items)"]["n"] == 5


def test_two_checkpoints_are_compared_on_the_same_items(cli: CommandLine, run: str) -> None:
    jsonl("quiz.jsonl", *ROWS)
    jsonl("text.txt", *(f"Line {i} of a text." for i in range(9)))
    folders = f"checkpoint=[{run}/checkpoints/best,{run}/checkpoints/last]"
    done = cli("task=evaluate", folders, "eval=own", "eval.path=quiz.jsonl", "eval.corpora=text.txt", QUICK)
    assert done.code == 0, done.err
    assert done.result["checkpoints"].keys() == done.result["evaluations"].keys() == {"best", "last"}
    quiz, text = done.result["comparisons"]
    for gap in (quiz, text):
        assert (gap["first"], gap["second"]) == ("best", "last")
    assert (quiz["task"], quiz["difference"], quiz["verdict"], quiz["n"]) == ("quiz", 0, "no difference", 12)
    assert quiz["p_corrected"] == 1 and quiz["items_needed"] is None
    assert text["corpus"] == "text.txt" and text["difference"] == 0
    assert "against best, on the same items" in done.out and "no difference" in done.out


def test_quantized_weights_are_asked_beside_the_others(cli: CommandLine, run: str) -> None:
    jsonl("quiz.jsonl", *ROWS)
    jsonl("text.jsonl", *({"text": f"Line {i} of a text."} for i in range(9)))
    ask = ("task=evaluate", f"checkpoint={run}", "eval=own", "eval.path=quiz.jsonl", "eval.corpora=text.jsonl", QUICK)
    for kind in ("none", "int8_dynamic", "int8_weight"):
        done = cli(*ask, f"quantize={kind}", f"hydra.run.dir={kind}", "eval.limit=8")
        assert done.code == 0, done.err
    found = result_of(run)["evaluation"]
    plain, dynamic, weight = (
        found["corpora"][f"text.jsonl (8 documents{kind})"] for kind in ("", ", int8_dynamic", ", int8_weight")
    )
    assert found["tasks"].keys() == {f"quiz (8 items{kind})" for kind in ("", ", int8_dynamic", ", int8_weight")}
    assert (plain["quantize"], dynamic["quantize"], weight["quantize"]) == ("none", "int8_dynamic", "int8_weight")
    assert (plain["precision"], dynamic["precision"], weight["precision"]) == ("fp32", "fp32", "bf16")
    assert len({entry["bits_per_byte"] for entry in (plain, dynamic, weight)}) == 3
    for entry in (dynamic, weight):
        assert entry["bits_per_byte"] == pytest.approx(plain["bits_per_byte"], rel=0.05)


@pytest.mark.parametrize(
    ("words", "parts"),
    [
        (["task=evaluate"], ["eval=null", "eval=quick"]),
        (["eval=tasks"], ["eval.tasks=null", "nothing to evaluate"]),
        (["eval=quik"], ["eval=quik", "did you mean 'quick'?"]),
        (
            ["eval=own", "eval.path=quizz.jsonl"],
            ["eval.path=quizz.jsonl", "no such file", "did you mean 'quiz.jsonl'?"],
        ),
        (["eval=tasks", "eval.tasks=[hellaswga]"], ["eval.tasks=hellaswga", "did you mean 'hellaswag'?"]),
        (["eval=paper", "eval.data_dir=nowhere"], ["eval.data_dir=nowhere", "no such folder"]),
        (["eval=tasks", "eval.corpora=quiz.json"], ["eval.corpora=quiz.json", "did you mean 'quiz.jsonl'?"]),
        (["eval=tasks", "eval.corpora=prose", "eval.data_dir=."], ["eval.corpora=prose", "not in eval.data_dir=."]),
        (["eval=own", "eval.path=quiz.jsonl", "eval.num_fewshot=12"], ["eval.num_fewshot=12", "quiz", "at most"]),
        (["eval=own", "eval.path=quiz.jsonl", "eval.limit=0"], ["eval.limit=0"]),
        (["eval=tasks", "eval.prompts=quiz.jsonl"], ["eval.prompts=quiz.jsonl", "eval.words"]),
        (["eval=own", "eval.path=quiz.jsonl", "quantize=int4"], ["quantize=int4", "int8_dynamic"]),
        (
            ["eval=own", "eval.path=quiz.jsonl", "quantize=bf16", "eval.precision=bf16"],
            ["eval.precision=bf16", "quantize=bf16"],
        ),
    ],
    ids=lambda value: " ".join(value),
)
def test_what_cannot_be_asked(cli: CommandLine, run: str, words: list[str], parts: list[str]) -> None:
    jsonl("quiz.jsonl", *ROWS)
    message = cli.refused("task=evaluate", f"checkpoint={run}", *words)
    for part in parts:
        assert part in message


@pytest.mark.parametrize(
    ("checkpoint", "parts"),
    [
        ([], ["checkpoint=null", "run directories"]),
        (["checkpoint=gone/run"], ["checkpoint=gone/run"]),
        (["checkpoint=[run,gone/run]"], ["checkpoint=gone/run"]),
        (["checkpoint=[run,run]"], ["there twice"]),
    ],
    ids=lambda value: " ".join(value),
)
def test_a_checkpoint_that_is_not_there(cli: CommandLine, run: str, checkpoint: list[str], parts: list[str]) -> None:
    jsonl("quiz.jsonl", *ROWS)
    message = cli.refused("task=evaluate", *checkpoint, "eval=own", "eval.path=quiz.jsonl")
    for part in parts:
        assert part in message


@pytest.mark.parametrize(
    ("row", "parts"),
    [
        ('{"prompt": "x", "choices"', ["not JSON"]),
        ({**ROWS[0], "choices": ["a text.", ""]}, ["choices[1]: is empty"]),
        ({**ROWS[0], "choices": ["same", "same"]}, ["'same' is there twice"]),
        ({**ROWS[0], "answer": 2}, ["answer=2", "0 to 1"]),
        ({"prompt": "x", "choices": ["a", "b"]}, ["no 'answer'"]),
    ],
    ids=["not JSON", "empty choice", "equal choices", "answer out of range", "no answer"],
)
def test_a_bad_row_is_named_by_its_line(cli: CommandLine, run: str, row: Any, parts: list[str]) -> None:
    jsonl("quiz.jsonl", *ROWS[:2], row, *ROWS[2:])
    message = cli.refused("task=evaluate", f"checkpoint={run}", "eval=own", "eval.path=quiz.jsonl")
    assert message.startswith("eval.path=quiz.jsonl line 3: ")
    for part in parts:
        assert part in message


def test_a_choice_longer_than_the_context_is_named_by_its_line(cli: CommandLine, run: str) -> None:
    jsonl("quiz.jsonl", *ROWS[:2], "", {**ROWS[0], "choices": ["a text.", "the wild sea " * 60]}, *ROWS[2:])
    ask = ("task=evaluate", f"checkpoint={run}", "eval=own", "eval.path=quiz.jsonl", QUICK)
    message = cli.refused(*ask)
    assert "quiz line 4: option 2 has" in message and "64" in message and "eval.long_options=windows" in message
    done = cli(*ask, "eval.long_options=windows", "hydra.run.dir=windows")
    assert done.code == 0 and items_of("windows")[2]["tokens"][1] > 64
