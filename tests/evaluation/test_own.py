"""A user's own task: what is read, what is refused, and what the harness then asks of a model."""

import gzip
import json
from pathlib import Path
from typing import Any

import pytest

from smallgpt.errors import UserError
from smallgpt.evaluation.own import harness_config, joined_option, read_own_task

CHOICE = {"prompt": "2 + 2 is", "choices": ["three", "four"], "answer": 1}
COMPLETION = {"prompt": "Roses are", "completion": "red"}
TEXT = {"text": "Once {{upon}} a time."}
LABELS = [{"text": "Good.", "label": "pos"}, {"text": "Bad.", "label": "neg"}]


def rows_file(folder: Path, *rows: Any, name: str = "quiz.jsonl") -> Path:
    path = folder / name
    path.write_text("".join(f"{row if isinstance(row, str) else json.dumps(row)}\n" for row in rows))
    return path


def refusal(path: Path) -> str:
    with pytest.raises(UserError) as caught:
        read_own_task(path)
    message = str(caught.value)
    assert "\n" not in message and message.startswith(f"eval.path={path}")
    return message.removeprefix(f"eval.path={path}").lstrip(": ")


@pytest.mark.parametrize(
    ("kind", "rows"),
    [("choice", [CHOICE]), ("completion", [COMPLETION]), ("text", [TEXT]), ("label", LABELS)],
)
def test_the_keys_tell_the_kind(kind: str, rows: list[dict[str, Any]], tmp_path: Path) -> None:
    own = read_own_task(rows_file(tmp_path, *[{**row, "source": {"page": 3}} for row in rows]))
    assert (own.name, own.kind, own.rows) == ("quiz", kind, rows)


def test_compressed_with_blank_lines(tmp_path: Path) -> None:
    path = tmp_path / "my.quiz.jsonl.gz"
    row = json.dumps({"text": "a\u2028b"}, ensure_ascii=False).encode()  # a line break to str.splitlines, not to JSON
    path.write_bytes(gzip.compress(b"\xef\xbb\xbf\n" + row + b"\r\n  \n" + row))
    own = read_own_task(path)
    assert (own.name, own.lines) == ("my.quiz", [2, 4])
    assert own.rows == [{"text": "a\u2028b"}] * 2


def test_an_answer_is_an_index_or_a_text(tmp_path: Path) -> None:
    answers = [0, 1, "three", "four"]
    own = read_own_task(rows_file(tmp_path, *[{**CHOICE, "answer": answer} for answer in answers]))
    assert [row["answer"] for row in own.rows] == [0, 1, 0, 1]
    digits = {"prompt": "2 + 2 is", "choices": ["4", "1"], "answer": "1"}
    assert read_own_task(rows_file(tmp_path, digits)).rows[0]["answer"] == 1


FAULTS = [
    ("{", "not JSON (", "give one object a line"),
    ('{"text": 1', "not JSON (", "give one object a line"),
    ("[" * 100_000, "not JSON (", ""),
    ("[1]", "[1] is not an object", "like {"),
    ({}, "has no keys; give prompt, choices and answer, or prompt and completion, or text and label, or text", ""),
    ({"prompt": "a"}, "has prompt; give prompt, choices and answer, or", ""),
    ({"prompt": "a", "choices": ["b", "c"], "anwser": 0}, "unknown key 'anwser'", "did you mean 'answer'?"),
    ({"promt": "a", "completion": "b", "text_id": 1}, "unknown key 'promt'", "did you mean 'prompt'?"),
    ({**CHOICE, "prompt": 5}, "prompt=5: must be a text", ""),
    ({**CHOICE, "prompt": " \n"}, "prompt: is blank", ""),
    ({**CHOICE, "choices": "ab"}, "choices=ab: must be a list of texts", ""),
    ({**CHOICE, "choices": ["a", 4]}, "choices[1]=4: must be a text", ""),
    ({**CHOICE, "choices": ["a", ""]}, "choices[1]: is empty", "give it a text"),
    ({**CHOICE, "choices": ["a", "b", "a"]}, "choices: 'a' is there twice", ""),
    ({**CHOICE, "choices": ["a", " a"]}, "choices: 'a' is there twice", ""),
    ({**CHOICE, "choices": ["a"]}, "choices: 1; give at least two", ""),
    ({**CHOICE, "answer": 2}, "answer=2: must be from 0 to 1", ""),
    ({**CHOICE, "answer": -1}, "answer=-1: must be from 0 to 1", ""),
    ({**CHOICE, "answer": True}, "answer=true: must be the index of a choice, 0 to 1, or its text", ""),
    ({**CHOICE, "answer": 1.0}, "answer=1.0: must be the index of a choice", ""),
    ({**CHOICE, "answer": "fuor"}, "answer=fuor: is none of the choices", "did you mean 'four'?"),
    ({**CHOICE, "answer": "x"}, "answer=x: is none of the choices; or give its index, 0 to 1", ""),
    ({**CHOICE, "choices": ["a\nbcdef", "b"], "answer": "a\nbcdeg"}, "did you mean 'a bcdef'?", ""),
    ({**COMPLETION, "completion": ""}, "completion: is empty", "give it a text"),
    ({**COMPLETION, "completion": None}, "completion=null: must be a text", ""),
    ({**COMPLETION, "prompt": ""}, "prompt: is empty", "rows with text alone"),
    ({"text": ""}, "text: is empty", "give it a text"),
    ('{"text": "a\\ud83d"}', "text: \\ud83d is half a character", ""),
    ({"text": "a", "label": 1}, "label=1: must be the word", "positive"),
    ({"text": "a", "label": " pos"}, "label=pos: begins or ends with white space", ""),
]


@pytest.mark.parametrize(("row", "fault", "remedy"), FAULTS, ids=[str(n) for n in range(len(FAULTS))])
def test_faults_name_their_line(row: Any, fault: str, remedy: str, tmp_path: Path) -> None:
    message = refusal(rows_file(tmp_path, "", row))
    assert message.startswith("line 2: ") and fault in message and remedy in message


@pytest.mark.parametrize(
    ("first", "second", "fault"),
    [
        (CHOICE, COMPLETION, "has prompt and completion, but the rows before have prompt, choices and answer"),
        (TEXT, LABELS[0], "has text and label, but the rows before have text; a file holds one kind"),
        (LABELS[0], TEXT, "has text, but the rows before have text and label"),
        (COMPLETION, {"prompt": "a", "complet": "b"}, "unknown key 'complet'; did you mean 'completion'?"),
        (COMPLETION, {"prompt": "a"}, "no 'completion'; a row of this file has prompt and completion"),
    ],
)
def test_a_file_is_of_one_kind(first: Any, second: Any, fault: str, tmp_path: Path) -> None:
    assert f"line 3: {fault}" in refusal(rows_file(tmp_path, first, "", second))


def test_files_that_are_none(tmp_path: Path) -> None:
    path = rows_file(tmp_path, "", "  ")
    assert "no rows; give one JSON object a line" in refusal(path)
    assert "no such file; did you mean 'quiz.jsonl'?" in refusal(tmp_path / "quizz.jsonl")
    assert "no such file" in refusal(tmp_path / "nowhere" / "quiz.jsonl")
    assert "is a folder" in refusal(tmp_path)
    path.write_bytes(b'{"text": "a"}\n{"text": "\xe9"}')
    assert refusal(path).startswith("line 2: not UTF-8")
    broken = tmp_path / "a.jsonl.gz"
    broken.write_bytes(gzip.compress(b'{"text": "a"}' * 1000)[:-20])
    assert "cannot be read" in refusal(broken)
    assert "'pos' is the only label" in refusal(rows_file(tmp_path, LABELS[0], LABELS[0]))


@pytest.mark.parametrize(
    ("context", "option", "follows"),
    [("a", "b", " b"), ("a ", "b", "b"), ("a\n", "b", "b"), ("", "b", "b"), ("a", " b", " b"), ("a", "\nb", "\nb")],
)
def test_one_space_apart(context: str, option: str, follows: str) -> None:
    assert joined_option(context, option) == follows


def task(path: Path, label_prompt: str = "\nLabel:", shots: int | None = None) -> Any:
    """The harness's own task, with its requests built."""
    from lm_eval.api.task import ConfigurableTask

    made = ConfigurableTask(config=harness_config(read_own_task(path), label_prompt))
    if shots is not None:
        made.set_config("num_fewshot", shots)
        made.set_fewshot_seed(1)
    made.build_all_requests()
    return made


def requests(made: Any) -> list[tuple[str, ...]]:
    return [instance.args for instance in made.instances]


def test_choices_as_the_harness_asks_them(tmp_path: Path) -> None:
    templated = {"prompt": "{{answer}} {% if", "choices": ["[1]", "{{x}}", "2"], "answer": "2"}
    spaced = {"prompt": "Say:\n", "choices": ["a", " b"], "answer": 0}
    empty = {"prompt": "", "choices": ["a", "b"], "answer": 0}
    digits = {"prompt": "7", "choices": ["8", "9"], "answer": "9"}
    made = task(rows_file(tmp_path, templated, spaced, empty, digits))
    assert made.OUTPUT_TYPE == "multiple_choice"
    assert requests(made) == [
        *[("{{answer}} {% if", option) for option in (" [1]", " {{x}}", " 2")],
        *[("Say:\n", "a"), ("Say:\n", " b")],
        *[("", "a"), ("", "b")],
        *[("7", " 8"), ("7", " 9")],
    ]
    docs = list(made.eval_docs)
    assert [made.doc_to_target(doc) for doc in docs] == [2, 0, 0, 1]
    results = made.process_results(docs[3], [(-3.0, False), (-1.0, True)])
    assert results == {"acc": 1.0, "acc_norm": 1.0, "acc_bytes": 1.0}


def test_completions_as_the_harness_asks_them(tmp_path: Path) -> None:
    made = task(rows_file(tmp_path, COMPLETION, {"prompt": "[1, ", "completion": "2]"}))
    assert made.OUTPUT_TYPE == "loglikelihood"
    assert requests(made) == [("Roses are", " red"), ("[1, ", "2]")]
    assert made.process_results(made.eval_docs[0], [(-2.0, True)]) == {"perplexity": -2.0, "acc": 1}


def test_texts_as_the_harness_asks_them(tmp_path: Path) -> None:
    made = task(rows_file(tmp_path, TEXT, {"text": "[1, 2]"}))
    assert made.OUTPUT_TYPE == "loglikelihood_rolling"
    assert requests(made) == [("Once {{upon}} a time.",), ("[1, 2]",)]
    scores = made.process_results(made.eval_docs[0], [-2.0])
    assert scores == {"bits_per_byte": (-2.0, 21), "byte_perplexity": (-2.0, 21)}


def test_labels_as_the_harness_asks_them(tmp_path: Path) -> None:
    path = rows_file(tmp_path, *LABELS)
    made = task(path)
    contexts = ["Good.\nLabel:", "Bad.\nLabel:"]
    assert requests(made) == [(context, label) for context in contexts for label in (" neg", " pos")]
    assert [made.doc_to_target(doc) for doc in made.eval_docs] == [1, 0]
    assert requests(task(path, "\nLabel: "))[0] == ("Good.\nLabel: ", "neg")


def test_examples_are_other_rows(tmp_path: Path) -> None:
    """With all other rows as examples, each row sees each other one once and never itself."""
    rows = [{"prompt": f"Number {n} is", "choices": ["odd", "even"], "answer": 1 - n % 2} for n in range(6)]
    made = task(rows_file(tmp_path, *rows), shots=5)
    shown = [f"{row['prompt']} {row['choices'][row['answer']]}" for row in rows]
    for number, (context, _) in enumerate(requests(made)[::2]):
        *examples, question = context.split("\n\n")
        assert question == rows[number]["prompt"]
        assert sorted(examples) == sorted(example for example in shown if example != shown[number])


def test_examples_with_labels_and_completions(tmp_path: Path) -> None:
    assert requests(task(rows_file(tmp_path, *LABELS), shots=1))[0][0] == "Bad.\nLabel: neg\n\nGood.\nLabel:"
    two = rows_file(tmp_path, COMPLETION, {"prompt": "Violets are", "completion": "blue"})
    assert requests(task(two, shots=1))[0] == ("Violets are blue\n\nRoses are", " red")
