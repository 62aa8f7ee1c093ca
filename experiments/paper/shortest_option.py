"""Accuracy of always taking the option with the fewest GPT-2 tokens: `python shortest_option.py DATA TOKENIZER`.

DATA is a folder with the benchmarks as `eval.data_dir=` reads them, TOKENIZER one with
GPT-2's vocab.json and merges.txt.
"""

import gzip
import json
import sys
from pathlib import Path

from tokenizers import ByteLevelBPETokenizer

data, tokenizer = (Path(word) for word in sys.argv[1:])
encode = ByteLevelBPETokenizer(str(tokenizer / "vocab.json"), str(tokenizer / "merges.txt")).encode

READ = {  # the options of a row, and the index of the right one
    "copa_validation": lambda row: ([row["choice1"], row["choice2"]], int(row["label"])),
    "arc_easy_validation": lambda row: (row["choices"]["text"], row["choices"]["label"].index(row["answerKey"])),
    "hellaswag_validation": lambda row: (row["endings"], int(row["label"])),
    "winogrande_validation": lambda row: ([row["option1"], row["option2"]], int(row["answer"]) - 1),
    "commonsense_qa_validation": lambda row: (row["choices"]["text"], row["choices"]["label"].index(row["answerKey"])),
    "piqa_validation": lambda row: ([row["sol1"], row["sol2"]], int(row["label"])),
}

print("task,items,chance,shortest")
for name, read in READ.items():
    path = next(data.glob(f"{name}.jsonl*"))
    with gzip.open(path, "rt") if path.suffix == ".gz" else path.open() as file:
        items = [read(json.loads(line)) for line in file]
    right = chance = 0.0
    for options, gold in items:
        tokens = [len(encode(f" {option}").ids) for option in options]
        fewest = [i for i, n in enumerate(tokens) if n == min(tokens)]
        right += (gold in fewest) / len(fewest)
        chance += 1 / len(options)
    print(f"{name},{len(items)},{chance / len(items):.3f},{right / len(items):.3f}")
