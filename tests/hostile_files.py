"""Broken files, over all tasks: what a stranger sends, and what a full disk leaves."""

import json
from collections.abc import Iterator

import torch
from damage import (
    Damage,
    a_pickle,
    a_torch_pickle,
    both,
    brings_code,
    cut,
    edited,
    filled,
    in_the_state,
    interrupted,
    noise,
    remove,
    renamed,
    sharded,
    state,
    tokenizer_with_code,
    weights,
    wider,
    without_first,
    write,
)
from hostile_cases import OUT, SMALL, TEXT, TRAIN, HostileCase

BEST = "run/checkpoints/best"
CONFIG, WEIGHTS, TOKENIZER = f"{BEST}/config.json", f"{BEST}/model.safetensors", f"{BEST}/tokenizer.json"
MODEL_DAMAGES: dict[str, tuple[Damage, str]] = {
    "config empty": (write(CONFIG, ""), "config.json"),
    "config cut": (cut(CONFIG, 50), "config.json"),
    "config noise": (noise(CONFIG), "config.json"),
    "config a list": (write(CONFIG, "[]"), "config.json"),
    "config null": (write(CONFIG, "null"), "config.json"),
    "config of no model": (write(CONFIG, "{}"), "config.json"),
    "unknown norm": (edited(CONFIG, norm="quantumnorm"), "norm=quantumnorm"),
    "unknown activation": (edited(CONFIG, activation="gleu"), "activation"),
    "layers as text": (edited(CONFIG, n_layer="two"), "n_layer"),
    "no layers": (edited(CONFIG, n_layer=0), "n_layer"),
    "layers null": (edited(CONFIG, n_layer=None), "n_layer"),
    "other width": (edited(CONFIG, n_embd=128), "weights"),
    "more layers": (edited(CONFIG, n_layer=3), "weights"),
    "unknown type": (edited(CONFIG, model_type="unheard-of"), "unheard-of"),
    "code with it": (brings_code(BEST), ""),
    "weights empty": (write(WEIGHTS, ""), "model.safetensors"),
    "weights cut": (cut(WEIGHTS, 5000), "model.safetensors"),
    "weights noise": (noise(WEIGHTS), "model.safetensors"),
    "weights gone": (remove(WEIGHTS), "model.safetensors"),
    "weights a pickle": (a_pickle(WEIGHTS), "model.safetensors"),
    "weights NaN": (weights(WEIGHTS, filled(float("nan"))), "NaN"),
    "weights infinite": (weights(WEIGHTS, filled(float("inf"))), "infinity"),
    "a weight gone": (weights(WEIGHTS, without_first), "missing"),
    "weights twice as tall": (weights(WEIGHTS, wider), "weights"),
    "weights of another": (weights(WEIGHTS, renamed), "weights"),
    "a pickle beside it": (
        lambda folder: ((folder / WEIGHTS).unlink(), a_pickle(f"{BEST}/pytorch_model.bin")(folder)),
        "pickle",
    ),
    "index leaves the folder": (sharded("../elsewhere.safetensors"), "outside"),
    "index leaves for the root": (sharded("/etc/passwd"), "outside"),
    "index names nothing": (sharded("gone.safetensors"), "gone.safetensors"),
    "tokenizer empty": (write(TOKENIZER, ""), "tokenizer.json"),
    "tokenizer cut": (cut(TOKENIZER, 300), "tokenizer.json"),
    "tokenizer noise": (noise(TOKENIZER), "tokenizer.json"),
    "tokenizer a list": (write(TOKENIZER, "[]"), "tokenizer.json"),
}


def damaged_checkpoints() -> Iterator[HostileCase]:
    for name, (damage, says) in MODEL_DAMAGES.items():
        yield HostileCase(f"generate {name}", ("task=generate", "checkpoint=run", "prompt=a", OUT), damage, says)
    for name in (
        "unknown norm",
        "weights NaN",
        "weights cut",
        "tokenizer cut",
        "index leaves the folder",
        "code with it",
    ):
        damage, says = MODEL_DAMAGES[name]
        yield HostileCase(f"export {name}", ("task=export", "checkpoint=run", OUT), damage, says)
        words = ("task=evaluate", "checkpoint=run", "eval=own", "eval.corpora=[text.txt]", OUT)
        yield HostileCase(f"evaluate {name}", words, damage, says)
        words = ("task=benchmark", "checkpoint=run", "benchmark.batches=[1]", "benchmark.rounds=1", OUT)
        yield HostileCase(f"benchmark {name}", words, damage, says)


def damaged_state() -> Iterator[HostileCase]:
    last = "run/checkpoints/last.ckpt"
    for name, damage in {
        "cut": cut(last, 5000),
        "empty": write(last, ""),
        "noise": noise(last),
        "text": write(last, "hello"),
        "a pickle": a_pickle(last),
        "a pickle in a zip": a_torch_pickle(last),
        "a list": state(lambda _: [1, 2]),
        "no weights": state(lambda saved: {key: value for key, value in saved.items() if key != "state_dict"}),
        "no clock": state(lambda saved: {key: value for key, value in saved.items() if key != "seconds"}),
        "another shape": in_the_state(lambda tensor: torch.cat([tensor, tensor])),
        "NaN": in_the_state(lambda tensor: tensor * float("nan")),
        "another model": state(lambda saved: {**saved, "state_dict": {"model.x": torch.zeros(2)}}),
    }.items():
        words = (*TRAIN, "hydra.run.dir=run", "resume=auto")
        yield HostileCase(name, words, both(interrupted, damage), "last.ckpt")
    for name, words, damage, says in (
        ("no run", (*TRAIN, "resume=last"), None, "resume"),
        ("completed", (*TRAIN, "hydra.run.dir=run"), None, "completed"),
        ("cut off", (*TRAIN, "hydra.run.dir=run"), interrupted, "resume=auto"),
        ("another lr", (*TRAIN, "hydra.run.dir=run", "resume=auto", "optimizer.lr=1e-5"), interrupted, "optimizer.lr"),
        ("result damaged", (*TRAIN, "hydra.run.dir=run"), write("run/result.json", "{"), "result.json"),
        (
            "config damaged",
            (*TRAIN, "hydra.run.dir=run", "resume=auto"),
            both(interrupted, noise("run/config.yaml")),
            "config",
        ),
    ):
        yield HostileCase(name, words, damage, says)


def damaged_graphs() -> Iterator[HostileCase]:
    for name, damage in {
        "graph empty": write("onnx/model.onnx", ""),
        "graph cut": cut("onnx/model.onnx", 1000),
        "graph noise": noise("onnx/model.onnx"),
        "graph a pickle": a_pickle("onnx/model.onnx"),
        "config cut": cut("onnx/config.json", 50),
        "config a list": write("onnx/config.json", "[]"),
        "config gone": remove("onnx/config.json"),
        "no end of text": edited("onnx/config.json", eos_token_id=None),
        "no context": edited("onnx/config.json", block_size="long"),
        "no cache": edited("onnx/config.json", cache=[{"past": "x"}]),
        "tokenizer cut": cut("onnx/tokenizer.json", 200),
        "tokenizer gone": remove("onnx/tokenizer.json"),
    }.items():
        yield HostileCase(name, ("task=generate", "checkpoint=onnx", "prompt=a", OUT), damage, "checkpoint=onnx")
    for word in ("quantize=int8_weight", "compile=true", "generation.num_beams=3", "model.n_layer=3", "model=convgpt"):
        yield HostileCase(word, ("task=generate", "checkpoint=onnx", "prompt=a", OUT, word))
    yield HostileCase("exported again", ("task=export", "checkpoint=onnx", OUT))


def damaged_sweeps() -> Iterator[HostileCase]:
    loggers = {"report": (), "dashboard": ("logger=wandb", "dry_run=true"), "log": ("logger=wandb",)}
    for task, logger in loggers.items():
        for name in ("/nowhere", "swep", "run", "text.txt", "empty", "[]", "''"):
            damage = lambda folder: (folder / "empty").mkdir()  # noqa: E731
            yield HostileCase(f"{task} {name}", (f"task={task}", f"sweep={name}", *logger, OUT), damage)
    report = ("task=report", "sweep=sweep", OUT)
    yield HostileCase("no sweep", ("task=report", OUT), says="sweep")
    yield HostileCase("unknown baseline", (*report, "baseline=nothing"), says="baseline")
    yield HostileCase("unknown key to tune", (*report, "tune=nothing"), says="tune")
    for name, content in {"cut": "{", "list": "[]", "empty": "", "text": '"a"'}.items():
        every = both(write("sweep/0/result.json", content), write("sweep/1/result.json", content))
        yield HostileCase(f"every result {name}", report, every, "damaged")


def directories() -> Iterator[HostileCase]:
    mine = "a user's own"
    for name, path in {
        "config.yaml": "out/config.yaml",
        "metrics.csv": "out/metrics.csv",
        "result.json": "out/result.json",
        "onnx": "out/onnx/thesis.txt",
        "hf": "out/hf/thesis.txt",
        "checkpoints": "out/checkpoints/thesis.txt",
        "evaluation": "out/evaluation/thesis.txt",
    }.items():
        yield HostileCase(f"train into {name}", (*TRAIN, OUT), write(path, mine), name)
        words = ("task=generate", "checkpoint=run", "prompt=a", OUT)
        yield HostileCase(f"generate into {name}", words, write(path, mine), name)
    for form in ("hf", "onnx"):
        words = ("task=export", "checkpoint=run", f"format={form}", OUT)
        yield HostileCase(f"export {form} into one's own", words, write(f"out/{form}/thesis.txt", mine), form)
    for name, damage, words in (
        ("a file", write("out", mine), (OUT,)),
        ("below a file", write("out", mine), ("hydra.run.dir=out/deeper",)),
        ("a device", None, ("hydra.run.dir=/dev/null",)),
        ("of the kernel's", None, ("hydra.run.dir=/proc/smallgpt",)),
        ("too long", None, (f"hydra.run.dir={'x' * 300}",)),
        ("the cache a file", write("cash", mine), (OUT, "cache_dir=cash")),
        ("the cache of the kernel's", None, (OUT, "cache_dir=/proc/cache")),
    ):
        yield HostileCase(name, (*TRAIN, *words), damage)
    for name in ("results.csv", "report.html", "multirun.yaml", "0/config.yaml", "0/metrics.csv"):
        words = ("-m", *TRAIN, "seed=1,2", "hydra.sweep.dir=mine")
        yield HostileCase(f"sweep into {name}", words, write(f"mine/{name}", mine), name.rpartition("/")[2])


def texts() -> Iterator[HostileCase]:
    for task in ("train", "prepare"):
        for name, damage in {
            "gone": remove("text.txt"),
            "empty": write("text.txt", ""),
            "blank": write("text.txt", "\n\n  \n"),
            "of zeros": write("text.txt", bytes(5000)),
            "one word": write("text.txt", "word"),
        }.items():
            words = (
                (*SMALL, *TEXT, OUT) if task == "train" else ("task=prepare", *TEXT, "tokenizer.vocab_size=300", OUT)
            )
            yield HostileCase(f"{task} {name}", words, damage)
    prepare = ("task=prepare", "data=files", "tokenizer.vocab_size=300", OUT)
    good = '{"text": "a good line"}\n' * 50
    for name, path, content in (
        ("bad JSON lines", "rows.jsonl", good + "{\n"),
        ("JSON lines of another field", "rows.jsonl", '{"body": "x"}\n' * 50),
        ("JSON lines of numbers", "rows.jsonl", '{"text": 3}\n' * 50),
        ("JSON that is cut", "rows.json", '[{"text": "a"'),
        ("Parquet that is none", "rows.parquet", "PAR1 or not"),
        ("gzip that is none", "rows.txt.gz", "not compressed"),
        ("gzip that is cut", "rows.txt.gz", b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\x03\x4b"),
        ("zstd that is none", "rows.jsonl.zst", "not compressed"),
        ("zip that is none", "rows.zip", b"PK\x03\x04\x00\x00\xff\xfe"),
        ("a picture", "rows.png", b"\x89PNG\r\n\x1a\n" + bytes(64)),
    ):
        yield HostileCase(name, (*prepare, f"data.path={path}"), write(path, content), path)
    for word in ("data.path=nowhere", "data.path=null", "data.path=''", "data.path=/proc/self/mem", "data.path=[a]"):
        yield HostileCase(word, (*prepare, word))
    hub = ("task=prepare", "tokenizer.vocab_size=300", OUT, "data=shakespeare")
    for word in ("data.repository=./nowhere", "data.document_start='('", "data.limit_bytes=0", "data.train_split=[1]"):
        yield HostileCase(word, (*hub, word))


def tokenizers() -> Iterator[HostileCase]:
    words = ("task=prepare", *TEXT, "tokenizer=pretrained", "tokenizer.name=tok", OUT)
    vocabulary = json.dumps({"a": 0, "b": 1, "<|endoftext|>": 2})
    for name, damage in {
        "gone": None,
        "empty folder": lambda folder: (folder / "tok").mkdir(),
        "empty": write("tok/tokenizer.json", ""),
        "noise": noise("tok/tokenizer.json"),
        "a list": write("tok/tokenizer.json", "[]"),
        "no model": write("tok/tokenizer.json", "{}"),
        "no merges": write("tok/vocab.json", vocabulary),
        "wrong merges": both(write("tok/vocab.json", vocabulary), write("tok/merges.txt", "x y\nq r\n")),
        "wrong vocabulary": both(write("tok/vocab.json", "[]"), write("tok/merges.txt", "")),
        "config noise": both(write("tok/tokenizer.json", "{}"), noise("tok/tokenizer_config.json")),
        "code with it": tokenizer_with_code,
    }.items():
        yield HostileCase(name, words, damage, "tok")
    for name in ("''", "null", "/nowhere", "a/b/c", "text.txt"):
        yield HostileCase(f"name {name}", (*words, f"tokenizer.name={name}"))


def evaluations() -> Iterator[HostileCase]:
    own = ("task=evaluate", "checkpoint=run", "eval=own", OUT)
    choice = '{"prompt": "a", "choices": ["b", "c"], "answer": 0}\n'
    for name, content in {
        "gone": None,
        "empty": "",
        "no JSON": "{\n",
        "a list": "[1, 2]\n",
        "no known keys": '{"question": "x"}\n',
        "two kinds": choice + '{"text": "x"}\n',
        "answer too large": choice + '{"prompt": "a", "choices": ["b", "c"], "answer": 5}\n',
        "answer no number": '{"prompt": "a", "choices": ["b", "c"], "answer": "z"}\n',
        "one choice": '{"prompt": "a", "choices": ["b"], "answer": 0}\n',
        "choices no list": '{"prompt": "a", "choices": "b", "answer": 0}\n',
        "a number for a text": '{"text": 3}\n',
        "not UTF-8": b'{"text": "\xff\xfe"}\n',
    }.items():
        damage = None if content is None else write("items.jsonl", content)
        yield HostileCase(name, (*own, "eval.path=items.jsonl"), damage, "items.jsonl")
    for word in (
        *(
            "eval=nothing",
            "eval.split=tests",
            "eval.limit=0",
            "eval.num_fewshot=-1",
            "eval.precision=fp8",
            "eval.samples=0",
        ),
        *("eval.corpora=nowhere.txt", "eval.document_start='('", "eval.long_options=cut", "eval.tasks=[no_such_task]"),
        *("eval.prompts=nowhere.txt", "eval.words=nowhere.txt", "eval.data_dir=nowhere", "eval.path=null"),
    ):
        yield HostileCase(word, (*own, "eval.path=items.jsonl", word), write("items.jsonl", choice))
