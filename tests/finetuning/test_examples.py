"""Examples out of a user's files: what is made of rows, how they are split, and what is wrong with them."""

import csv
import json
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tokenizers import Tokenizer, decoders, models
from transformers import PreTrainedTokenizerFast

from smallgpt.data.corpora import Corpus
from smallgpt.data.example_encoding import ExampleEncoder
from smallgpt.data.example_set import Example, example_set, first_examples, read_set
from smallgpt.data.examples import Examples
from smallgpt.data.files import Files
from smallgpt.errors import UserError
from smallgpt.finetuning.few_shot import shot_prompts

TEMPLATE = r"{text}\nLabel: {label}"
WORDS = [
    *("alpha", "beta", "gamma", "delta", "epsilon", "zeta", "eta", "theta", "iota", "kappa"),
    *("lambda", "mu", "nu", "xi", "omicron", "pi", "rho", "sigma", "tau"),
]


def tickets(number: int = 120) -> list[dict[str, Any]]:
    numbers = np.random.default_rng(0)
    return [
        {"text": " ".join(numbers.choice(WORDS, 12)) + f" {i}", "label": "bug" if i % 3 else "wish", "user": i // 4}
        for i in range(number)
    ]


def written(path: Path, rows: list[dict[str, Any]]) -> str:
    if path.suffix == ".jsonl":
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    elif path.suffix == ".parquet":
        import pyarrow as pa
        import pyarrow.parquet as pq

        pq.write_table(pa.Table.from_pylist(rows), path)
    else:
        with path.open("w", newline="") as file:
            table = csv.DictWriter(file, rows[0], delimiter="\t" if path.suffix == ".tsv" else ",")
            table.writeheader()
            table.writerows(rows)
    return str(path)


def own(path: str, **values: Any) -> Examples:
    return Examples(path=path, **{"template": TEMPLATE, **values})


@pytest.mark.parametrize("suffix", [".csv", ".tsv", ".jsonl", ".parquet"])
def test_rows_of_every_format_are_the_same_examples(tmp_path: Path, suffix: str):
    found = read_set(own(written(tmp_path / f"tickets{suffix}", tickets())))
    assert (found.kind, found.labels, found.name) == ("classification", ("bug", "wish"), "tickets")
    first = found.examples[0]
    assert (first.prompt, first.completion) == (f"{tickets()[0]['text']}\nLabel:", " wish")
    assert (first.head, first.tail, first.references) == (tickets()[0]["text"], "\nLabel:", ("wish",))
    counts = Counter(each.split for each in found.examples)
    assert sum(counts.values()) == 120 and counts["train"] > 80 and min(counts.values()) >= 5


def test_what_belongs_together_lies_in_one_split(tmp_path: Path):
    rows = tickets()
    for i in range(0, 120, 2):  # nearly the same again
        rows.append({**rows[i], "text": rows[i]["text"] + " please", "user": 1000 + i})
    found = read_set(own(written(tmp_path / "t.csv", rows), group="user"))
    splits = {each.head: each.split for each in found.examples}
    assert len(set(splits.values())) == 3
    by_user: dict[int, set[str]] = {}
    for row in rows:
        by_user.setdefault(row["user"], set()).add(splits[row["text"]])
        assert splits.get(row["text"] + " please", splits[row["text"]]) == splits[row["text"]]
    assert all(len(found) == 1 for found in by_user.values())


def test_a_held_out_file_reports_and_what_is_near_it_is_not_trained_on(tmp_path: Path):
    rows = tickets()
    written(tmp_path / "train.jsonl", rows)
    written(tmp_path / "validation.jsonl", [{**rows[0], "text": rows[0]["text"].upper()}, *tickets(140)[120:]])
    found = read_set(own(str(tmp_path)))
    counts = Counter(each.split for each in found.examples)
    assert counts["test"] == 21 and counts["validation"] > 0 and found.left_out == 1
    assert rows[0]["text"] not in {each.head for each in found.of("train")}


def test_an_example_stays_where_it_is_when_others_are_added(tmp_path: Path):
    one, two = (read_set(own(written(tmp_path / f"{n}.csv", tickets(n)))) for n in (120, 200))
    splits = {each.prompt: each.split for each in two.examples}
    assert all(splits[each.prompt] == each.split for each in one.examples)


def test_fewer_examples_are_part_of_more(tmp_path: Path):
    every = read_set(own(written(tmp_path / "t.csv", tickets()))).of("train")
    few, more = ({each.place for each in first_examples(every, n, seed=3)} for n in (8, 32))
    assert len(few) == 8 and few < more and few != {each.place for each in first_examples(every, 8, seed=4)}
    with pytest.raises(UserError, match=r"data\.examples=9999: there are \d+ training examples"):
        first_examples(every, 9999, seed=1)


def test_read_once_and_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    data = own(written(tmp_path / "t.csv", tickets()))
    first = example_set(data, tmp_path / "cache")
    monkeypatch.setattr(Examples, "rows", None)
    assert example_set(data, tmp_path / "cache") == first
    (kept,) = (tmp_path / "cache" / "examples").iterdir()
    kept.write_text(kept.read_text()[:-200])
    monkeypatch.undo()
    assert example_set(data, tmp_path / "cache") == first


@pytest.mark.parametrize(
    ("rows", "values", "message"),
    [
        ([{"text": "a"}], {}, "data.template={label}: no such field in {path}, line 1; there is text"),
        ([{"txt": "a", "label": "x"}], {}, "data.template={text}: no such field in {path}, line 1; there is txt"),
        ([{"text": "", "label": "x"}], {}, "data.path={path}, line 1: nothing in text; give a text"),
        ([{"text": "a", "label": None}], {}, "data.path={path}, line 1: label is empty; give a label"),
        ([{"text": ["a"], "label": "x"}], {}, "data.template=text: holds a list, not text, in {path}, line 1"),
        ([{"text": "a", "label": 2}], {"labels": ("no", "yes")}, "{path}, line 1: label=2; data.labels has 2"),
        ([{"text": "a", "label": "yess"}], {"labels": ("no", "yes")}, "not in data.labels; did you mean 'yes'?"),
        ([{**row, "label": f"only {i}"} for i, row in enumerate(tickets())], {}, "is never seen in training"),
        ([{**row, "label": "bug"} for row in tickets()], {}, "{path}, line 1: bug, and so is every other training"),
        (tickets(2), {}, "{path}, line 2: no validation example among the 2 up to this one; give more, a larger"),
        (tickets(2), {"template": "{text}"}, "data.template={text}: must end with the field that is to follow"),
        (tickets(2), {"template": "{text} {label} x"}, "must end with the field that is to follow"),
        (tickets(2), {"template": "{text"}, "data.template={text: not a template (expected '}' before end of string)"),
        (tickets(2), {"template": "{} {label}"}, "braces hold the name of a field, as in {text}"),
        (tickets(2), {"template": None}, "data.template=null: says nothing of what is learnt"),
        (tickets(2), {"group": "usr"}, "data.group=usr: no such field in {path}, line 1; there is text, label, user"),
        ([{"m": [{"role": "user"}]}], {"messages": "m"}, "{path}, line 1: message 1 of m has no role"),
        ([{"m": [{"role": "user", "content": "a"}]}], {"messages": "m"}, "the last message of m is user's"),
        ([{"m": "hello"}], {"messages": "m"}, "data.path={path}, line 1: m holds a text, not a list of messages"),
        ([{"q": "a", "a": ""}], {"template": None, "prompt": "q", "completion": "a"}, "{path}, line 1: a is empty"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_one_line_with_file_and_row(tmp_path: Path, rows: list, values: dict, message: str):
    path = written(tmp_path / "t.jsonl", rows)
    with pytest.raises(UserError) as error:
        read_set(own(path, **values))
    assert message.replace("{path}", path) in str(error.value) and "\n" not in str(error.value)


def test_plain_text_and_a_missing_file_are_refused(tmp_path: Path):
    (tmp_path / "notes.txt").write_text("words")
    for path, part in (("notes.txt", "plain text, and examples are rows"), ("note.txt", "did you mean 'notes.txt'?")):
        with pytest.raises(UserError, match=part.replace("?", r"\?")):
            read_set(own(str(tmp_path / path)))
    with pytest.raises(UserError, match="no examples in this folder"):
        read_set(own(str(tmp_path)))


def test_prompt_and_completion_lists_and_the_text_of_a_corpus(tmp_path: Path):
    rows = [{"q": f"What is {i}?", "a": [str(i), f"number {i}"]} for i in range(80)]
    data = own(written(tmp_path / "qa.jsonl", rows), template=None, prompt="q", completion="a")
    found = read_set(data)
    assert found.kind == "completion" and found.examples[7].text == "What is 7? 7"
    assert found.examples[7].references == ("7", "number 7")
    assert isinstance(data, Corpus) and "What is 7? 7" in {
        text for part in data.parts() for _, text in part.documents()
    }


def test_a_table_becomes_documents_by_a_template(tmp_path: Path):
    written(tmp_path / "t.csv", tickets(40))
    data = Files(path=str(tmp_path / "t.csv"), template=TEMPLATE)
    documents = {text for part in data.parts() for _, text in part.documents()}
    assert f"{tickets()[1]['text']}\nLabel: bug" in documents and len(documents) == 40
    assert data.fingerprint(tmp_path) != Files(path=data.path).fingerprint(tmp_path)
    with pytest.raises(UserError, match=r"data\.template=\{lable\}: no such field in .*; did you mean 'label'\?"):
        Files(path=data.path, template="{lable}").check()


@pytest.fixture(scope="module")
def tokenizer() -> PreTrainedTokenizerFast:
    """Tokens are words and what stands between them."""
    from tokenizers import Regex, pre_tokenizers

    words = [
        "<end>",
        "<unk>",
        *WORDS,
        *[f" {word}" for word in WORDS],
        "\nLabel:",
        " bug",
        " wish",
        *map(str, range(10)),
    ]
    model = models.WordLevel({word: number for number, word in enumerate(words)}, "<unk>")
    built = Tokenizer(model)
    built.decoder = decoders.Fuse()
    built.pre_tokenizer = pre_tokenizers.Split(Regex(r"\nLabel:| ?\w+|\s"), "isolated")
    return PreTrainedTokenizerFast(tokenizer_object=built, eos_token="<end>", unk_token="<unk>")


def example(words: int) -> Example:
    return Example("t.csv, line 2", "train", " ".join(WORDS[:words]), "\nLabel:", " bug", ("bug",))


def test_a_long_example_is_cut_in_its_first_field_or_refused(tokenizer):
    encoder = ExampleEncoder(tokenizer, 8, ("bug", "wish"))
    whole, cut = encoder.encode([example(6), example(7)])
    assert not whole.cut and tokenizer.decode(whole.ids) == f"{example(6).text}<end>" and len(whole.ids) == 9
    assert cut.cut and tokenizer.decode(cut.ids) == f"{example(6).text}<end>" and cut.learnt.sum() == 2
    assert cut.prompt == whole.prompt
    head = ExampleEncoder(tokenizer, 8, ("bug", "wish"), prompts_alone=True)
    (alone,) = head.encode([example(10)])
    assert tokenizer.decode(alone.ids) == " ".join(WORDS[:7]) + "\nLabel:" and alone.label == 0
    refusing = ExampleEncoder(tokenizer, 8, too_long="refuse")
    with pytest.raises(
        UserError, match=r"data\.path=t\.csv, line 2: 10 tokens, and the model's context has room for 9"
    ):
        refusing.encode([example(7)])


def test_shots_are_as_many_as_fit(tokenizer):
    encoder = ExampleEncoder(tokenizer, 32, ("bug", "wish"))
    shots = [example(n) for n in (4, 12, 3, 5)]
    made = shot_prompts(encoder, [example(5), example(2)], shots, context=37, room=2)
    assert made.fitted == [2, 3]
    assert tokenizer.decode(made.prompts[0]).endswith(example(5).prompt) and len(made.prompts[0]) + 2 <= 37


def test_chats_are_written_by_the_tokenizer_s_template_and_only_answers_are_learnt(tokenizer):
    turns = [("user", "alpha beta"), ("assistant", "gamma"), ("user", "delta"), ("assistant", "eta theta")]
    chat = Example("c", "train", messages=tuple({"role": role, "content": text} for role, text in turns))
    encoder = ExampleEncoder(tokenizer, 64)
    with pytest.raises(UserError, match="tokenizer has no chat template"):
        encoder.encode([chat])
    tokenizer.chat_template = (
        "{% for m in messages %}{% if m.role == 'user' %}<unk>{{ m.content }}<unk>{% else %}{{ m.content }}<end>"
        "{% endif %}{% endfor %}"
    )
    (found,) = encoder.encode([chat])
    learnt = tokenizer.decode(found.ids[found.learnt])
    assert learnt == "gamma<end>eta theta<end>"
    assert tokenizer.decode(found.prompt).endswith("delta<unk>")
