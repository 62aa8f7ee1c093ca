"""Items of a benchmark that the model was trained on are counted."""

import json
import random
from pathlib import Path

from command_line import CommandLine

WORDS = [f"w{number}" for number in range(300)]
TRAIN = ["debug=smoke", "size=debug", "model.block_size=64", "batch.tokens=64", "data=files", "data.path=texts.jsonl"]


def text(seed: int, words: int = 60) -> str:
    return " ".join(random.Random(seed).choices(WORDS, k=words))


def test_items_and_texts_of_the_training_text_are_counted(cli: CommandLine) -> None:
    texts = [text(seed) for seed in range(200)]
    Path("texts.jsonl").write_text("".join(json.dumps({"text": each}) + "\n" for each in texts))
    cli(*TRAIN, "tokenizer.vocab_size=300", "hydra.run.dir=run")
    # a prompt of ten words with the right option has a run of 13 words of its text, with the wrong one it has none
    known, new, short = ([seed for seed in group] for group in (range(0, 6), range(1000, 1004), range(2000, 2003)))
    quiz = [(seed, 10, 10) for seed in known + new] + [(seed, 5, 3) for seed in short]
    rows = []
    for seed, asked, answered in quiz:
        words = text(seed).split()
        right = " ".join(words[asked : asked + answered])
        rows.append({"prompt": " ".join(words[:asked]), "choices": ["no", right], "answer": 1})
    Path("quiz.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    Path("read.jsonl").write_text("".join(json.dumps({"text": text(seed)}) + "\n" for seed in (1, 2, 1001, 1002)))
    held_out = sum(text(seed) not in trained_on(texts) for seed in (1, 2, 1001, 1002))
    words = ["eval=own", "eval.path=quiz.jsonl", "eval.corpora=read.jsonl", "eval.untrained=false", "checkpoint=run"]
    outcome = cli("task=evaluate", *words, "eval.long_options=windows")
    found = outcome.result["evaluation"]
    trained = sum(text(seed) in trained_on(texts) for seed in known)
    assert found["tasks"]["quiz"]["contamination"] == {
        "items": 10,
        "share_of_items": trained / 10,
        "share_of_13_grams": trained / 10,
        "of_training_text": 1.0,
    }
    assert found["corpora"]["read.jsonl"]["contamination"]["share_of_items"] == (4 - held_out) / 4
    assert f"{trained / 10:.0%} of 10" in " ".join(outcome.out.split())


def trained_on(texts: list[str]) -> set[str]:
    from smallgpt.data.corpus_parts import document_hash, hash_share

    return {each for each in texts if hash_share(document_hash(each)) > 0.05}
