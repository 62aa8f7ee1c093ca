"""README's commands, one after the other in a fresh directory, small where they would take minutes."""

import os
import re
import shlex
import subprocess
from pathlib import Path

import pytest
from command_line import CommandLine
from documentation import ROOT, commands

README = (ROOT / "README.md").read_text()
SMALL = [
    *("size=debug", "model.n_layer=2", "batch.tokens=512", "validation.tokens=2000", "validation.final_tokens=2000"),
    *("generation.max_new_tokens=5", "trainer.threads=1"),
]
TEXT = ["data=files", "data.path=text.txt", "data.holdout=0.3", "tokenizer.vocab_size=300", "budget.tokens=1024"]
INSTEAD: dict[str, dict[str, list[str]]] = {
    # of the command that begins so: words that another takes the place of, and words that are added
    "task=inspect": {},
    "-m": {"seed=1,2,3": ["seed=1"], "": [*SMALL, *TEXT, "hydra/launcher=basic"]},
    "task=report": {},
    "task=evaluate": {"": ["eval.tasks=[copa]", "eval.limit=2", "eval.untrained=false", "eval.long_options=windows"]},
    "task=finetune": {"": ["batch.examples=8", "budget.examples=16", "finetune.shots=null", *SMALL[-2:]]},
    "task=export": {},
}


def small(words: list[str]) -> list[str]:
    """A command of README with smaller numbers."""
    instead = INSTEAD[words[0]]
    return [each for word in words for each in instead.get(word, [word])] + instead.get("", [])


def write_texts() -> None:
    sentences = "\n\n".join(f"Sentence {i} of a text with {i % 7} words and {i % 11} others." for i in range(1000))
    Path("text.txt").write_text(sentences)
    rows = [f"number {i} is {'even' if i % 2 else 'odd'},{i % 2}" for i in range(60)]
    Path("tickets.csv").write_text("\n".join(["text,label", *rows]) + "\n")


def test_every_command_is_tested():
    assert [words[0] for words in commands(ROOT / "README.md")] == list(INSTEAD)


def test_the_commands_work_one_after_the_other(cli: CommandLine):
    write_texts()
    for words in commands(ROOT / "README.md"):
        words = small(words)
        if words[0] == "task=evaluate":
            data = Path(os.environ.get("SMALLGPT_TEST_DATA", ""), "benchmarks")
            if not data.is_dir():
                continue  # they come from the hub
            pytest.importorskip("lm_eval")
            words.append(f"eval.data_dir={data}")
        done = cli(*words)
        assert done.code == 0, (words, done.err)
        assert done.result["status"] == "completed"
    assert Path("multirun_outputs/first/report.html").exists()
    assert list(Path("outputs").rglob("hf/config.json"))


def test_the_lines_of_python_work(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    import smallgpt
    from smallgpt.api import calls

    (code,) = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    run = smallgpt.api.runs.Run(
        tmp_path, {"status": "completed", "val": {"bits_per_byte": 2.1}, "cost": {"parameters": 5}}
    )
    started = []
    monkeypatch.setattr(calls, "finished", lambda words, *_: started.append(words) or {"status": "completed"})
    monkeypatch.setattr(calls, "load", lambda path: run)
    exec(compile(code, "README.md", "exec"), {})
    assert started == [["task=train", "model=lineargpt", "size=nano", "budget.tokens=300000.0"]]


def test_the_groups_and_choices_are_those_that_there_are():
    from docs.reference import groups
    from smallgpt.launch.config_files import group_files

    rows = re.findall(r"^\| `([\w/]+)` \| (.*) \|$", README, re.MULTILINE)
    assert {name for name, _ in rows} == set(groups())
    for group, text in rows:
        known = set(group_files(group, None))
        if group == "experiment":
            assert text.startswith(f"{len(known)} recipes")
        else:
            assert set(re.findall(r"`(\w+)`", text)) == known, group


def test_make_demo_is_the_command_of_the_readme():
    demo = re.search(r"^demo:.*\n((?:\t.*\n)+)", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert demo and re.search(r"^    make demo ", README, re.MULTILINE)
    words = shlex.split(demo[1].replace("\\\n", " "))
    assert words[1:4] == ["run.py", "-m", "model=gpt,parallelgpt,lineargpt,convgpt"]


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_the_demo(tmp_path: Path):
    demo = re.search(r"^demo:.*\n((?:\t.*\n)+)", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert demo
    command = demo[1].replace("$(BIN)/python run.py", f"python {ROOT / 'run.py'}")
    environment = {**os.environ, "SMALLGPT_CACHE": str(tmp_path / "cache")}
    done = subprocess.run(command, shell=True, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert list(tmp_path.glob("multirun_outputs/*/report.html"))
