"""Wrong command lines, over all tasks: what a hurried user types."""

from collections.abc import Iterator

from damage import both, write
from hostile_cases import OUT, TRAIN, HostileCase


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
