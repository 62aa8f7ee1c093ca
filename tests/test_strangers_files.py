"""What a stranger made never runs, and what a user made is never written over."""

import ast
import json
import pickle
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
from damage import Planted
from filelock import FileLock
from helpers import Case
from omegaconf import OmegaConf
from small_checkpoints import save_checkpoint

from smallgpt import targets
from smallgpt.errors import UserError
from smallgpt.launch import job, process
from smallgpt.launch.process import BUSY, without_interpolations
from smallgpt.launch.slurm import SlurmProcess
from smallgpt.reporting.jobs import read_jobs
from smallgpt.run_directory import is_run, refuse_foreign, write_config

PACKAGE = Path(targets.__file__).parent


def test_no_library_is_let_to_ask_whether_foreign_code_may_run():
    """Each call that could bring code says that it may not; an export's own text is for its user to decide."""
    forgotten = []
    for path in PACKAGE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)):
                continue
            owner = ast.unparse(node.func.value)
            if node.func.attr in ("from_pretrained", "from_config") and owner.startswith("Auto"):
                said = {word.arg: ast.unparse(word.value) for word in node.keywords}
                if said.get("trust_remote_code") != "False":
                    forgotten.append(f"{path.name}:{node.lineno}")
    assert not forgotten


@pytest.mark.parametrize(("status", "code"), [("completed", 0), ("failed", 1), (None, 1)])
def test_a_planted_pickle_says_nothing_of_a_slurm_job(tmp_path, monkeypatch, status, code):
    run_dir, folder = tmp_path / "sweep" / "0", tmp_path / "sweep" / ".submitit"
    folder.mkdir(parents=True)
    run_dir.mkdir()
    mark = tmp_path / "code-ran"
    monkeypatch.setenv("HOSTILE_MARK", str(mark))
    (folder / "100_0_0_result.pkl").write_bytes(pickle.dumps(Planted()))
    if status:
        (run_dir / "result.json").write_text(json.dumps({"status": status}))
    from submitit import SlurmJob

    job = SlurmProcess(SlurmJob(folder, "100_0"), run_dir)
    job.job = SimpleNamespace(job_id="100_0", watcher=SimpleNamespace(is_done=lambda _: False))
    assert job.poll() == (0 if code == 0 else None)
    job.job.watcher.is_done = lambda _: True
    assert job.poll() == code
    assert not mark.exists()
    if code:
        with FileLock(run_dir / ".lock"):
            assert job.poll() == BUSY


def test_a_task_of_ones_own_is_marked_as_one(tmp_path, monkeypatch):
    (tmp_path / "of_mine.py").write_text(
        "from smallgpt.targets import task\n@task\ndef run(settings, run_dir):\n    return {}\ndef other(): pass\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    assert targets.imported_task("of_mine.run").__name__ == "run"
    with pytest.raises(UserError, match=r"task\._target_=of_mine\.other: not a task; the decorator"):
        targets.imported_task("of_mine.other")
    del sys.modules["of_mine"]


@pytest.mark.parametrize(
    "text",
    [r"${oc.env:HOME}", r"\${x}", r"a\\b${x}c\d", r"\\${x}\\", "${", "a$b{", "${a}${b}", "end\\", "'${x}'", "'\"${:}"],
)
def test_text_that_looks_like_an_interpolation_stays_text_in_a_job(text):
    config = OmegaConf.create(without_interpolations({"a": [text], "b": {"c": text}}))
    assert OmegaConf.to_container(config, resolve=True) == {"a": [text], "b": {"c": text}}


def test_an_escaped_secret_is_not_in_the_files_of_a_sweep(cli, monkeypatch):
    monkeypatch.setenv("HOSTILE_SECRET", "of-the-user-alone")
    words = ("size=debug", "model.n_layer=1", "tokenizer.vocab_size=300", "batch.tokens=512", "task=inspect")
    done = cli("-m", *words, r"question='\${oc.env:HOSTILE_SECRET}'", "hydra.sweep.dir=sweep")
    assert done.code == 0, done.err
    assert json.loads(Path("sweep/0/result.json").read_text())["question"] == "${oc.env:HOSTILE_SECRET}"
    for path in Path("sweep").rglob("*"):
        assert path.is_dir() or b"of-the-user-alone" not in path.read_bytes(), path


def test_a_job_of_a_sweep_reads_its_config_as_text(tmp_path, monkeypatch):
    write_config(tmp_path, {"prompt": "${oc.env:HOME}"})
    (tmp_path / ".job.json").write_text(json.dumps({"overrides": [], "choices": {}}))
    seen = []
    monkeypatch.setattr(job, "execute", lambda config, *_, **__: seen.append(config.prompt) or {"status": "completed"})
    assert process.run(tmp_path) == 0
    assert seen == ["${oc.env:HOME}"]


def test_a_prompt_cannot_command_the_terminal(cli):
    save_checkpoint(Case("gpt", "gpt2", {"n_layer": 1}), cli.folder / "model")
    words = ("task=generate", "checkpoint=model", "generation.max_new_tokens=3")
    for prompts in ("prompt='\x1b[31mred\x07'", "prompt=['\x1b[31mred','\x9bblue']"):
        done = cli(*words, prompts)
        assert done.code == 0, done.err
        assert "\\x1b[31mred" in done.out
        assert not {"\x1b", "\x07", "\x9b"} & set(done.out + done.err)


def test_a_refused_run_leaves_the_config_of_the_one_before(cli):
    save_checkpoint(Case("gpt", "gpt2", {"n_layer": 1}), cli.folder / "model")
    run_dir = cli.folder / "run"
    run_dir.mkdir()
    write_config(run_dir, {"task": {"_target_": "smallgpt.tasks.generate.run"}, "cache_dir": "cache", "seed": 7})
    before = (run_dir / "config.yaml").read_bytes()
    cli.refused("task=generate", "checkpoint=model", "prompt=a", "model=convgpt", "hydra.run.dir=run")
    assert (run_dir / "config.yaml").read_bytes() == before


def test_only_a_runs_directory_is_written_over(tmp_path):
    refuse_foreign(tmp_path)
    (tmp_path / "notes.txt").write_text("mine")
    refuse_foreign(tmp_path)
    (tmp_path / "metrics.csv").write_text("mine")
    with pytest.raises(UserError, match=r"holds a metrics\.csv that is not a run's"):
        refuse_foreign(tmp_path)
    (tmp_path / "config.yaml").write_text("seed: 1\n")
    assert not is_run(tmp_path)
    write_config(tmp_path, {"task": {"_target_": "x"}, "cache_dir": "cache"})
    refuse_foreign(tmp_path)


DAMAGED = {
    "cut": '{"status": "completed", "val": {"lo',
    "a list": "[]",
    "a text for a loss": '{"status": "completed", "val": {"loss": "low"}}',
    "a number for a section": '{"status": "completed", "cost": 3}',
    "a number for the words": '{"status": "completed", "overrides": 3}',
    "a list for the seed": '{"status": "completed", "seed": [1]}',
    "a list for the status": '{"status": []}',
}


@pytest.mark.parametrize("content", DAMAGED.values(), ids=DAMAGED)
def test_a_damaged_result_is_one_job_of_a_report(tmp_path, content):
    for name in "01":
        (tmp_path / name).mkdir()
    (tmp_path / "0" / "result.json").write_text(json.dumps({"status": "completed", "val": {"loss": 2.0}}))
    (tmp_path / "1" / "result.json").write_text(content)
    good, bad = read_jobs(tmp_path)
    assert good.completed and good.section("val") == {"loss": 2.0}
    assert bad.status == "damaged" and bad.result["error"].startswith("result.json is damaged: ")


def test_damaged_metrics_are_one_job_of_a_report(tmp_path):
    (tmp_path / "0").mkdir()
    (tmp_path / "0" / "result.json").write_text('{"status": "completed"}')
    (tmp_path / "0" / "metrics.csv").write_bytes(bytes(range(256)))
    [job] = read_jobs(tmp_path)
    assert job.status == "damaged" and job.curve == [] and "metrics.csv is damaged" in job.result["error"]
