"""Wrong command lines and broken files, over all tasks: what a hurried user types and what a stranger sends."""

import json
import os
import pickle
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file

Damage = Callable[[Path], None]
SMALL = ("size=debug", "model.n_layer=2", "tokenizer.vocab_size=300", "batch.tokens=512", "budget.tokens=1024")
TEXT = ("data=files", "data.path=text.txt")
TRAIN = (*SMALL, *TEXT, "validation.every=1", "generation.max_new_tokens=5", "trainer.threads=1")
OUT = "hydra.run.dir=out"
RUN_FOLDERS = ("run", "onnx", "hf", "sweep")


@dataclass(frozen=True)
class HostileCase:
    """Words of a command line, and what is done to the files that they name."""

    name: str
    words: tuple[str, ...]
    damage: Damage | None = None
    says: str = ""
    """Words that the message must have."""


class Planted:
    """Pickle that would run a command, and so leave a file, where somebody opens it."""

    def __reduce__(self) -> Any:
        return os.system, (f"touch {os.environ.get('HOSTILE_MARK', '/dev/null')}",)


# -- what is done to files -------------------------------------------------------------------------------------------


def cut(path: str, size: int = 100) -> Damage:
    return lambda folder: os.truncate(folder / path, size)


def write(path: str, content: str | bytes) -> Damage:
    def damage(folder: Path) -> None:
        target = folder / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(content if isinstance(content, bytes) else content.encode())

    return damage


def noise(path: str) -> Damage:
    return write(path, bytes((i * 167 + 89) % 256 for i in range(4096)))


def remove(path: str) -> Damage:
    def damage(folder: Path) -> None:
        shutil.rmtree(folder / path) if (folder / path).is_dir() else (folder / path).unlink()

    return damage


def a_pickle(path: str) -> Damage:
    return lambda folder: (folder / path).write_bytes(pickle.dumps(Planted()))


def a_torch_pickle(path: str) -> Damage:
    return lambda folder: torch.save({"state_dict": Planted()}, folder / path)


def edited(path: str, **changes: Any) -> Damage:
    """A JSON file with other values; a name with `__` goes into a section."""

    def damage(folder: Path) -> None:
        record = json.loads((folder / path).read_text())
        for name, value in changes.items():
            *sections, last = name.split("__")
            place = record
            for section in sections:
                place = place[section]
            place[last] = value
        (folder / path).write_text(json.dumps(record))

    return damage


def weights(path: str, change: Callable[[dict[str, torch.Tensor]], dict[str, torch.Tensor]]) -> Damage:
    def damage(folder: Path) -> None:
        file = folder / path
        save_file(change(load_file(file)), file, metadata={"format": "pt"})

    return damage


def filled(value: float) -> Callable[[dict[str, torch.Tensor]], dict[str, torch.Tensor]]:
    return lambda all_of_them: {
        name: torch.full_like(tensor, value) if number == 0 else tensor
        for number, (name, tensor) in enumerate(sorted(all_of_them.items()))
    }


def without_first(all_of_them: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return dict(sorted(all_of_them.items())[1:])


def wider(all_of_them: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {name: torch.cat([tensor, tensor]) for name, tensor in all_of_them.items()}


def renamed(all_of_them: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {f"other.{name}": tensor for name, tensor in all_of_them.items()}


def state(change: Callable[[dict[str, Any]], Any]) -> Damage:
    """A changed last.ckpt."""

    def damage(folder: Path) -> None:
        path = folder / "run/checkpoints/last.ckpt"
        torch.save(change(torch.load(path, weights_only=True)), path)

    return damage


def in_the_state(change: Callable[[torch.Tensor], torch.Tensor]) -> Damage:
    def changed(saved: dict[str, Any]) -> dict[str, Any]:
        name = next(iter(saved["state_dict"]))
        return {**saved, "state_dict": {**saved["state_dict"], name: change(saved["state_dict"][name])}}

    return state(changed)


def interrupted(folder: Path) -> None:
    """A run that was cut off, as resume=auto finds it."""
    edited("run/result.json", status="interrupted")(folder)


def both(*damages: Damage) -> Damage:
    def damage(folder: Path) -> None:
        for each in damages:
            each(folder)

    return damage


def sharded(name: str) -> Damage:
    """Weights with an index that names a file."""

    def damage(folder: Path) -> None:
        best = folder / "run/checkpoints/best"
        names = load_file(best / "model.safetensors")
        (best / "model.safetensors").rename(folder / "run/checkpoints/elsewhere.safetensors")
        index = {"metadata": {}, "weight_map": dict.fromkeys(names, name)}
        (best / "model.safetensors.index.json").write_text(json.dumps(index))

    return damage


def brings_code(path: str) -> Damage:
    """A model folder whose config asks for code that lies with it."""

    def damage(folder: Path) -> None:
        mark = "import os\nos.system('touch ' + os.environ['HOSTILE_MARK'])\n"
        (folder / path / "code.py").write_text(mark + "class C: pass\nclass T: pass\n")
        edited(
            f"{path}/config.json",
            model_type="unheard-of",
            auto_map={"AutoConfig": "code.C", "AutoModelForCausalLM": "code.C"},
        )(folder)

    return damage


def tokenizer_with_code(folder: Path) -> None:
    (folder / "tok").mkdir()
    shutil.copy(folder / "run/checkpoints/best/tokenizer.json", folder / "tok/vocab.txt")
    (folder / "tok/code.py").write_text("import os\nos.system('touch ' + os.environ['HOSTILE_MARK'])\nclass T: pass\n")
    config = {"tokenizer_class": "T", "auto_map": {"AutoTokenizer": ["code.T", None]}}
    (folder / "tok/tokenizer_config.json").write_text(json.dumps(config))
    (folder / "tok/config.json").write_text(json.dumps({"model_type": "unheard-of", **config}))


# -- the cases -------------------------------------------------------------------------------------------------------


def all_cases() -> list[HostileCase]:
    """Every case, kind after kind; names are unique."""
    kinds = (
        *(syntax, choices, values, unknown_keys, targets, wrong_checkpoints, damaged_checkpoints, damaged_state),
        *(damaged_graphs, damaged_sweeps, directories, texts, tokenizers, evaluations, sweeps, exports, combinations),
    )
    return [
        HostileCase(f"{kind.__name__}: {case.name}", case.words, case.damage, case.says)
        for kind in kinds
        for case in kind()
    ]


def syntax() -> Iterator[HostileCase]:
    for word in (
        *(
            "model",
            "=",
            "=3",
            "model=",
            "seed=[1",
            "seed={a:",
            "prompt='a",
            'prompt="a',
            "a=b=c",
            "seed=1,2",
            "++",
            "~",
        ),
        *(
            "~modle",
            "~seed.x",
            "+model=convgpt",
            "+seed=3",
            "++nothing.at.all=1",
            "+nothing=1",
            "model@=gpt",
            "model/x=1",
        ),
        *("--no-such-option", "-x", "--config-name=nothing", "--config-dir=nowhere", "--config-path=/nowhere"),
        *("hydra/launcher=nothing", "hydra/sweeper=nothing", "hydra.nothing=1", "hydra.run.dirr=x", "hydra.job=3"),
        *("hydra.searchpath=[file://nowhere]", "hydra.searchpath=[pkg://no.such.package]", "hydra.searchpath=3"),
        *("model.n_layer=${nothing}", "seed=${oc.env:NO_SUCH_VARIABLE}", "seed=${", "study=${now:", "prompt=${prompt}"),
        *("model=[gpt]", "model={a:1}", "seed=\u202e1", "seed=\x1b[31m1", "mod\x1b]0;x\x07el=gpt", "seed=1 2"),
        *("hydra.sweep.dir=x", "hydra.launcher.n_jobs=2", "hydra/sweeper=optuna", "experiment=matched_params", "-m"),
    ):
        yield HostileCase(repr(word), ("-m", *TRAIN, OUT, "model=nothing") if word == "-m" else (*TRAIN, OUT, word))


def choices() -> Iterator[HostileCase]:
    groups = (
        *(
            "task",
            "model",
            "block",
            "size",
            "data",
            "tokenizer",
            "optimizer",
            "schedule",
            "trainer",
            "logger",
            "budget",
        ),
        *("match", "eval", "experiment", "debug"),
    )
    for group in groups:
        yield HostileCase(f"{group}=nothing", (*TRAIN, OUT, f"{group}=nothing"))
    for group in groups[:11]:
        yield HostileCase(f"{group}=null", (*TRAIN, OUT, f"{group}=null"))
        yield HostileCase(f"{group}=5e6", (*TRAIN, OUT, f"{group}=5e6"))


def values() -> Iterator[HostileCase]:
    wrong = {
        "seed": ("-1", "1.5", "abc", "null", "true", "1e30"),
        "model.n_layer": ("0", "-3", "2.5", "abc", "null", "[2]", "true"),
        "model.n_embd": ("0", "33", "nan"),
        "model.n_head": ("0", "7"),
        "model.block_size": ("0", "-1", "null"),
        "model.dropout": ("1", "-0.1", "nan", "inf", "abc"),
        "model.norm": ("quantumnorm", "null", "3"),
        "model.activation": ("gleu",),
        "model.position_encoding": ("ropes",),
        "model.mlp_ratio": ("0", "-1", "nan"),
        "model.vocab_size": ("10", "-5"),
        "batch.tokens": ("0", "-5", "500", "abc", "null", "nan"),
        "batch.micro": ("0", "7", "abc"),
        "budget.tokens": ("0", "-1", "abc", "nan", "inf"),
        "optimizer.lr": ("0", "-1", "nan", "inf", "abc", "null"),
        "schedule.warmup": ("-1", "abc", "nan", "null"),
        "validation.every": ("0", "-1", "abc"),
        "validation.tokens": ("0", "abc"),
        "trainer.devices": ("0", "-1", "abc"),
        "trainer.precision": ("fp8", "null"),
        "trainer.strategy": ("ddpp",),
        "trainer.clip": ("0", "-1", "nan"),
        "trainer.threads": ("0", "abc"),
        "trainer.workers": ("-1", "abc"),
        "trainer.accelerator": ("tpu",),
        "log_every": ("0", "abc"),
        "compile": ("maybe",),
        "resume": ("yes", "last"),
        "tokenizer.vocab_size": ("0", "100", "abc", "null"),
        "data.holdout": ("0", "1", "2", "abc", "nan"),
        "data.dedupe": ("most",),
        "generation.temperature": ("-1", "abc", "nan"),
        "generation.top_p": ("0", "2"),
        "generation.top_k": ("0", "1.5"),
        "generation.max_new_tokens": ("0", "-1", "abc"),
    }
    for key, texts in wrong.items():
        for text in texts:
            yield HostileCase(f"{key}={text}", (*TRAIN, OUT, f"{key}={text}"), says=key.rpartition(".")[2])


def unknown_keys() -> Iterator[HostileCase]:
    for key in (
        *("seeed", "batch.token", "model.n_layers", "trainer.device", "optimizer.learning_rate", "schedule.warmups"),
        *(
            "validation.evry",
            "generation.temp",
            "budget.token",
            "data.paths",
            "tokenizer.vocab",
            "logger.project",
            "evil",
        ),
        *("trainer", "model", "model.n_layer.x", "data.path.x", "budget.tokens.x"),
    ):
        yield HostileCase(f"{key}=1", (*TRAIN, OUT, f"{key}=1"))
    yield HostileCase("a file's key", (*TRAIN, OUT, "model.kernel_size=3"), says="kernel_size")


def targets() -> Iterator[HostileCase]:
    for path in (
        *(
            "os.system",
            "subprocess.run",
            "builtins.exec",
            "shutil.rmtree",
            "antigravity.fly",
            "smallgpt.files.write_text",
        ),
        *(
            "smallgpt.tasks.train",
            "smallgpt.tasks.trained.samples",
            "no.such.module",
            "train",
            "",
            "3",
            "...",
            "torch.load",
        ),
    ):
        yield HostileCase(f"task {path}", (*TRAIN, OUT, f"task._target_={path}"), says="task")
    for group in ("model", "data", "tokenizer", "optimizer", "schedule", "logger"):
        for path in ("os.system", "smallgpt.data.tokenizers.TrainedBPE", "torch.nn.Linear", "no.such.Thing"):
            if (group, path) != ("tokenizer", "smallgpt.data.tokenizers.TrainedBPE"):
                yield HostileCase(f"{group} {path}", (*TRAIN, OUT, f"{group}._target_={path}"), says="_target_")


def wrong_checkpoints() -> Iterator[HostileCase]:
    for task in ("generate", "evaluate", "export", "benchmark"):
        eval_too = ("eval=own", "eval.corpora=[text.txt]") if task == "evaluate" else ()
        for name in (
            "/nowhere",
            "./nowhere",
            "run/result.json",
            "text.txt",
            "empty",
            ".",
            "''",
            "[]",
            "[run,run]",
            "run/x/y/z",
        ):
            if (task, name) in (("benchmark", "[]"), ("evaluate", "[run,run]"), ("benchmark", "[run,run]")):
                continue
            damage = lambda folder: (folder / "empty").mkdir()  # noqa: E731
            yield HostileCase(f"{task} {name}", (f"task={task}", f"checkpoint={name}", *eval_too, OUT), damage)
        yield (
            HostileCase(f"{task} none", (f"task={task}", *eval_too, OUT))
            if task != "benchmark"
            else HostileCase("benchmark of nothing", ("task=benchmark", "benchmark.to=nothing", OUT))
        )
        yield HostileCase(
            f"{task} another variant",
            (f"task={task}", "checkpoint=run", "model=convgpt", *eval_too, OUT),
            says="model=",
        )
        yield HostileCase(
            f"{task} another size",
            (f"task={task}", "checkpoint=run", "model.n_layer=3", *eval_too, OUT),
            says="n_layer",
        )


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


def sweeps() -> Iterator[HostileCase]:
    base = ("-m", *TRAIN, "hydra.sweep.dir=swept")
    optuna = (*base, "hydra/sweeper=optuna")
    for words in (
        (*base, "seed=1,abc"),
        (*base, "model=gpt,nothing"),
        (*base, "optimizer.lr=1e-3,-1"),
        (*base, "seed=range(0)"),
        (*base, "seed=choice()"),
        (*base, "seed=glob(*)"),
        (*base, "modle=gpt,convgpt"),
        (*base, "seed=1,2", "hydra.launcher.n_job=2"),
        (*base, "seed=1,2", "hydra.launcher.n_jobs=abc"),
        (*base, "seed=1,2", "hydra.launcher.n_jobs=0"),
        (*base, "seed=1,2", "hydra.sweep.subdir=same"),
        (*base, "seed=1,2", "hydra/launcher=slurm"),
        (*base, "seed=1,2", "tune=nothing"),
        (*base, "seed=1,2", "trainer.num_nodes=2"),
        (*base, "model.n_head=7,11"),
        (*base, "match=params", "match.to=nothing"),
        (*base, "match=params", "match.baseline={n_layer:x}"),
        (*base, "match=latency", "match.exclude_embeddings=true"),
        (*base, "experiment=nothing"),
        (*base, "seed=1,2", "hydra.sweep.dir=text.txt"),
        (*base, "seed=1,2", "hydra.sweep.dir=/proc/x"),
        (*optuna,),
        (*optuna, "optimizer.lr=interval(1,0)"),
        (*optuna, "optimizer.lr=interval(-1,1)"),
        (*optuna, "optimizer.lr=tag(lgo,interval(1e-4,1e-2))"),
        (*optuna, "model=gpt,nothing"),
        (*optuna, "seed=1,2", "hydra.sweeper.n_trials=0"),
        (*optuna, "seed=1,2", "hydra.sweeper.n_trial=3"),
        (*optuna, "seed=1,2", "hydra.sweeper.sampler=best"),
        (*optuna, "seed=1,2", "hydra.sweeper.metric=train.loss", "hydra.sweeper.prune=true"),
    ):
        yield HostileCase(" ".join(words[len(base) :]) or "nothing", words)
    for name, content in {"noise": bytes(range(256)), "text": "hello\n", "JSON": "{}\n", "list": "[]\n"}.items():
        damage = both(write("swept/study.log", content), write("swept/0/.job.json", "{}"))
        yield HostileCase(f"study.log {name}", (*optuna, "seed=1,2"), damage, "study.log")


def exports() -> Iterator[HostileCase]:
    export = ("task=export", "checkpoint=run", OUT)
    for word in (
        "format=gguf",
        "format=null",
        "quantize=int4",
        "quantize=int3",
        "quantize=int8_dynamic",
        "format=[hf,onnx]",
    ):
        yield HostileCase(word, (*export, word))
    yield HostileCase("bf16 graph", (*export, "format=onnx", "quantize=bf16"), says="quantize")
    yield HostileCase("two", ("task=export", "checkpoint=[run,hf]", OUT), says="checkpoint")


def combinations() -> Iterator[HostileCase]:
    for words in (
        ("budget.seconds=5",),
        ("budget.flops=1e9", "budget.epochs=1"),
        ("trainer=ddp", "trainer.num_nodes=2"),
        ("trainer=gpu",),
        ("trainer=fsdp", "trainer.devices=2", "compile=true", "trainer.accelerator=cpu"),
        ("model.position_encoding=rope", "model.n_head=64", "model.allow_narrow=true"),
        ("model=lineargpt", "model.downsample_position=-1"),
        ("model=lineargpt", "model.downsample_position=90"),
        ("model=convgpt", "model.kernel_size=0"),
        ("model=parallelgpt", "model.n_path=0"),
        ("model=parallelgpt", "model.n_path=3"),
        ("model=parallelgpt", "model.active_paths=[7]"),
        ("model=lineargpt", "model.tie_word_embeddings=true", "model.output_head=direct"),
        ("prompt={a:1}",),
        ("task=inspect", "model.n_head=0"),
        ("task=inspect", "match=params", "match.to=nothing"),
        ("task=inspect", "match=params", "match.tolerance=0"),
        ("task=benchmark", "benchmark.batches=[]"),
        ("task=benchmark", "benchmark.batches=[0]"),
        ("task=benchmark", "benchmark.prompts=[-1]"),
        ("task=benchmark", "benchmark.rounds=0"),
        ("task=benchmark", "quantize=int9"),
        ("logger=wandb", "logger.mode=sometimes"),
        ("logger=wandb", "logger.mode=online"),
    ):
        yield HostileCase(" ".join(words), (*TRAIN, OUT, *words))
    generate = ("task=generate", "checkpoint=run", OUT)
    for words in (
        ("generation.stop=['']",),
        ("generation.num_beams=0",),
        ("generation.num_beams=100000",),
        ("quantize=int9",),
        ("quantize=int8_dynamic", "compile=true", "trainer=gpu"),
        (f"prompt={'word ' * 400}",),
        ("prompt=[a,{b:1}]",),
    ):
        yield HostileCase(" ".join(words)[:40], (*generate, *words))
