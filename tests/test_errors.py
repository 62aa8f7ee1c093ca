"""What a user gets wrong: refused before any work, on one line that says what would be right."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from command_line import RUN, CommandLine

from smallgpt.errors import nearest_divisors

TINY = (
    "size=debug",
    "model.n_layer=2",
    "tokenizer.vocab_size=300",
    "batch.tokens=512",
    "data=files",
    "data.holdout=0.3",
)
TRAINED = "trained"


@pytest.mark.parametrize(
    ("words", "parts"),
    [
        (["model.n_layr=6"], ["model.n_layr=6", "did you mean 'model.n_layer'?"]),
        (["+model.n_layr=6"], ["model.n_layr=6", "did you mean 'model.n_layer'?"]),
        (["model.active_paths=[0]"], ["model.active_paths=[0]: unknown key", "known to model=parallelgpt"]),
        (["model.downsample_times=1"], ["known to model=convgpt and model=lineargpt"]),
        (["++optimizer.weight_deacy=0"], ["optimizer.weight_deacy=0", "did you mean 'optimizer.weight_decay'?"]),
        (["trainer.devcies=2"], ["trainer.devcies=2", "did you mean 'trainer.devices'?"]),
        (["sede=3"], ["sede=3", "did you mean 'seed'?"]),
        (["lr=1e-3"], ["lr=1e-3", "did you mean 'optimizer.lr'?"]),
        (["+foo=1"], ["foo=1", "unknown key"]),
        (["budget.foo=1"], ["budget.foo=1", "tokens, flops, epochs, seconds"]),
        (["data=tinystories", "data.limit_bytes=9"], ["data.limit_bytes=9", "write +data.limit_bytes=9"]),
        (["modle=gpt"], ["modle=gpt", "did you mean 'model'?"]),
        (["model=convgtp"], ["model=convgtp", "gpt, lineargpt", "did you mean 'convgpt'?"]),
        (["hydra.run.dri=x"], ["hydra.run.dri=x", "did you mean 'hydra.run.dir'?"]),
        (["model=gpt,lineargpt"], ["model=gpt,lineargpt", "-m"]),
        (["model=[gpt,lineargpt]"], ["model=[gpt,lineargpt]: several choices", "-m model=A,B runs a job for each"]),
        (["model.n_layer=[1"], ["model.n_layer=[1", "close brackets"]),
        (["model.n_layer"], ["model.n_layer=<value>"]),
        (["--modle=gpt"], ["modle=gpt", "did you mean 'model'?"]),
        (["--optimizer={'lrr': 0.001}"], ["optimizer.lrr=0.001", "did you mean 'optimizer.lr'?"]),
        (["--config-dri=x"], ["--config-dri=x: no such option"]),
        (["--multirn"], ["--multirn: no such option"]),
        (["~optimizer"], ["optimizer: nothing is chosen"]),
        (["~modle"], ["~modle: nothing of that name; did you mean 'model'?"]),
        (["+model=convgpt"], ["+model=convgpt", "write model=convgpt"]),
        (["++size=tiny"], ["++size=tiny", "write size=tiny"]),
        (["budget=5e6"], ["budget=5e6: no such choice; there is epochs", "budget.tokens=5e6 is a value"]),
        (["model=null"], ["model=null: no such choice; there is "]),
        (["match=null"], ["match=null: leave it out"]),
        (["++hydra.foo=x"], ["++hydra.foo=x: unknown key"]),
        (["+hydra.run.dri=x"], ["+hydra.run.dri=x: unknown key; did you mean 'hydra.run.dir'?"]),
        (["hydra.run.dir=null"], ["hydra.run.dir: field", "not Optional"]),
        (["tokenizer=pretrained"], ["tokenizer.name=???", "give tokenizer.name=<value>"]),
        (["seed=${nothing}"], ["seed: ", "nothing"]),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else None,
)
def test_what_cannot_be_composed(cli: CommandLine, words: list[str], parts: list[str]):
    message = cli.refused(*words)
    for part in parts:
        assert part in message


@pytest.mark.parametrize(
    ("words", "parts"),
    [
        (["model.n_layer=abc"], ["model.n_layer=abc", "whole number"]),
        (["model.n_layer=2.5"], ["model.n_layer=2.5", "whole number"]),
        (["model.n_layer=true"], ["model.n_layer=true"]),
        (["model.norm=layernrom"], ["model.norm=layernrom", "layernorm, rmsnorm", "did you mean 'layernorm'?"]),
        (["model.n_embd=250"], ["model.n_embd=250", "248 and 252"]),
        (["model=gpt", "model.n_embd=16"], ["model.n_", "=", "allow_narrow=true"]),
        (["model=gpt", "model.n_layer=0"], ["model.n_layer=0", "at least 1"]),
        (["model.vocab_size=100"], ["model.vocab_size=100", "4096"]),
        (["batch.tokens=1000"], ["batch.tokens=1000", "128", "896 and 1024"]),
        (["batch.micro=3"], ["batch.micro=3", "8 sequences", "2 and 4"]),
        (["budget.tokens=-5"], ["budget.tokens=-5", "over 0"]),
        (["budget.tokens=5", "budget.epochs=1"], ["budget.tokens=5", "budget.epochs", "null"]),
        (["optimizer.lr=nan"], ["optimizer.lr=nan", "finite number"]),
        (["optimizer.lr=fast"], ["optimizer.lr=fast", "a number"]),
        (["trainer.precision=fp61"], ["trainer.precision=fp61", "auto, fp32, bf16"]),
        (["seed=-1"], ["seed=-1", "at least 0"]),
        (["compile=maybe"], ["compile=maybe", "true or false"]),
        (["model._target_=smallgpt.models.gtp.GPT"], ["model._target_=smallgpt.models.gtp.GPT"]),
        (["data=files"], ["data.path=null"]),
        (["data=files", "data.path=missing.txt"], ["data.path=missing.txt"]),
        (["data=files", "data.path=empty.txt"], ["data.path=empty.txt", "empty"]),
        (["data=files", "data.path=binary.txt"], ["data.path=binary.txt", "text"]),
        (["hydra.run.dir=/proc/nothing/here"], ["hydra.run.dir=/proc/nothing/here", "cannot be written"]),
        (["hydra.run.dir=text.txt/run"], ["hydra.run.dir=text.txt/run", "cannot be written"]),
        (["hydra/launcher=slurm"], ["hydra/launcher=slurm: belongs to a sweep; add -m"]),
        (["hydra.launcher.n_jobs=2"], ["hydra.launcher.n_jobs=2", "add -m"]),
        (["experiment=paths"], ["experiment=paths: a sweep over model.n_path, model.active_paths, seed; add -m"]),
        (["task=generate"], ["checkpoint=null"]),
        (["task=generate", "checkpoint=outputs"], ["checkpoint=outputs: no model here"]),
        (["task=generate", "checkpoint=tetx.txt"], ["checkpoint=tetx.txt: no such folder; did you mean 'text.txt'?"]),
        (["task=generate", "checkpoint={a:1}"], ["checkpoint={'a': 1}: must be one value or a list"]),
        (["tokenizer=pretrained", "tokenizer.name=outputs/a"], ["tokenizer.name=outputs/a: no such folder"]),
        (["generation.stop=['']"], ["generation.stop=['']: an empty text would end every continuation"]),
        (["model.n_layer=1e8"], ["model.n_layer=100000000: must be at most 1024"]),
        (["model.n_embd=1e9"], ["model.n_embd=1000000000: one matrix of this size takes 4e+09 GB"]),
        (["model=convgpt", "model.kernel_size=1e6"], ["model.kernel_size=1000000", "at most block_size=128"]),
        (["model.mlp_ratio=1e300"], ["model.mlp_ratio=1e+300: one matrix"]),
        (["tokenizer.vocab_size=1e12"], ["tokenizer.vocab_size=1000000000000.0: must be at most 8000000"]),
        (["model.n_layer=96", "model.n_embd=16384"], ["parameters take", "GB of memory; a smaller size needs less"]),
        (["trainer=ddp", "trainer.devices=64000", "batch.tokens=8192000"], ["trainer.devices=64000: at most"]),
        (["trainer.threads=1000000"], ["trainer.threads=1000000: at most"]),
        (["trainer.workers=100000"], ["trainer.workers=100000: at most"]),
        (["schedule.warmup=1e6"], ["schedule.warmup=1e+06: longer than the run, which has 684 steps"]),
        (["schedule.warmup=1e30"], ["schedule.warmup=1e+30: must be at most 1000000000"]),
        (["budget.tokens=1e30"], ["budget.tokens=1e+30: must be a smaller number"]),
        (["task=export", "format=gguf"], ["format=gguf", "must be one of hf, onnx"]),
        (["task=benchmark", "size=debug", "benchmark.batches=1000000000"], ["benchmark.batches=1000000000", "memory"]),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else None,
)
def test_values_that_do_not_work(cli: CommandLine, words: list[str], parts: list[str]):
    Path("text.txt").write_text("a text")
    Path("empty.txt").touch()
    Path("binary.txt").write_bytes(bytes(range(256)) * 9)
    message = cli.refused(*words)
    for part in parts:
        assert part in message


@pytest.mark.parametrize(
    ("words", "part"),
    [
        (["model=gpt,convgtp"], "model=convgtp"),
        (["model.n_embd=250,251"], "model.n_embd=250"),
        (["seed=1,x"], "seed=x"),
        (["data=files", "data.path=missing.txt,other.txt"], "data.path=missing.txt"),
        (["model.n_layr=1,2"], "model.n_layer"),
        (["seed=range(1,3"], "seed=range(1,3"),
        (["+hydra.launcher.n_job=2"], "hydra.launcher.n_job=2: unknown key; did you mean 'hydra.launcher.n_jobs'?"),
        (["hydra.launcher.n_jobs=x"], "hydra.launcher.n_jobs=x: must be a whole number"),
        (["hydra.launcher.n_jobs=0"], "hydra.launcher.n_jobs=0: must be over 0"),
        (["hydra.launcher.n_jobs=10000", "trainer.accelerator=cpu"], "hydra.launcher.n_jobs=10000: at most"),
        (["+hydra.sweeper.foo=2"], "hydra.sweeper.foo=2: unknown key; hydra.sweeper has params, arms"),
        (["hydra.sweeper.params=5"], "hydra.sweeper.params=5: must name keys"),
        (["hydra.sweep.dir=/proc/nothing"], "hydra.sweep.dir=/proc/nothing"),
    ],
)
def test_a_sweep_with_a_bad_value_starts_no_job(cli: CommandLine, words: list[str], part: str):
    assert part in cli.refused("task=inspect", "-m", *words)


def test_a_sweep_leaves_out_what_cannot_exist_and_says_so(cli: CommandLine):
    words = ["model=convgpt", "model.downsample_operator=linear,conv", "model.kernel_size=1,3", "size=nano"]
    done = cli("task=inspect", "-m", *words, "hydra/launcher=basic", "hydra.sweep.dir=sweep")
    assert done.code == 0 and done.result["jobs"] == 3
    assert "left out, 1 of 4 jobs: model.kernel_size=3: belongs to downsample_operator=conv" in done.err


def test_a_checkpoint_of_another_variant_or_a_damaged_one(cli: CommandLine):
    Path("text.txt").write_text("\n\n".join(f"Line {i} of a text." for i in range(3000)))
    words = ("model=convgpt", *TINY, "data.path=text.txt", "budget.tokens=1024", f"hydra.run.dir={TRAINED}")
    trained = cli(*words)
    assert trained.code == 0 and trained.result["variant"] == "convgpt"

    assert f"hydra.run.dir={TRAINED}: holds a completed run" in cli.refused(*words)
    generated = cli("task=generate", f"checkpoint={TRAINED}", "hydra.run.dir=generated", "generation.max_new_tokens=3")
    assert generated.code == 0 and generated.result["samples"]

    message = cli.refused("task=generate", f"checkpoint={TRAINED}", "model=gpt")
    assert "smallgpt-conv" in message and "smallgpt-gpt" in message
    weights = next(Path(TRAINED).rglob("best/*.safetensors"))
    weights.write_bytes(weights.read_bytes()[:-1000])
    assert f"checkpoint={TRAINED}" in cli.refused("task=generate", f"checkpoint={TRAINED}")


def test_the_traceback_is_there_for_who_asks(tmp_path: Path):
    words = [sys.executable, str(RUN), "model=convgtp"]
    plain = {key: value for key, value in os.environ.items() if key != "HYDRA_FULL_ERROR"}
    start = time.perf_counter()
    done = subprocess.run(words, cwd=tmp_path, env=plain, capture_output=True, text=True)
    assert time.perf_counter() - start < 10
    assert done.returncode == 1 and len(done.stderr.splitlines()) == 1
    full = subprocess.run(words, cwd=tmp_path, env=plain | {"HYDRA_FULL_ERROR": "1"}, capture_output=True, text=True)
    assert full.returncode == 1 and "Traceback" in full.stderr
    assert full.stderr.splitlines()[-1] == done.stderr.strip()
    assert not list(tmp_path.iterdir())


def test_nearest_divisors_around_a_value():
    assert nearest_divisors(5, 32) == "4 and 8"
    assert nearest_divisors(100, 32) == "32"
