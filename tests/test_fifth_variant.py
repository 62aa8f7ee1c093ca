"""The variant of docs/pages/guides/own_variant.md, added to a copy of the project."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from documentation import recipe

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    copy = tmp_path_factory.mktemp("project")
    for name in ("smallgpt", "conf", "tests", "run.py", "pyproject.toml"):
        source = ROOT / name
        ignored = shutil.ignore_patterns("__pycache__")
        shutil.copytree(source, copy / name, ignore=ignored) if source.is_dir() else shutil.copy(source, copy)
    added = recipe("own_variant")
    assert [Path(name).suffix for name in added] == [".py", ".yaml"]
    for name, text in added.items():
        (copy / name).write_text(text)
    (copy / "corpus.txt").write_text("\n\n".join(f"Sentence number {i} of a short text." for i in range(2000)))
    return copy


def run(project, *command):
    environment = os.environ | {"PYTHONPATH": str(project), "SMALLGPT_CACHE": str(project / "cache")}
    return subprocess.run([sys.executable, *command], cwd=project, env=environment, capture_output=True, text=True)


@pytest.mark.slow
def test_it_keeps_the_contract(project):
    contract = "tests/models/test_contract.py"
    done = run(project, "-m", "pytest", "-q", "-n", "0", "-p", "no:cacheprovider", contract, "-k", "skipgpt")
    assert done.returncode == 0, done.stdout
    assert " passed" in done.stdout and "skipgpt" not in done.stdout


@pytest.mark.slow
def test_it_is_priced_and_trained(project):
    words = ["model=skipgpt", "size=debug", "data=files", "data.path=corpus.txt", "tokenizer.vocab_size=300"]
    done = run(project, "run.py", *words, "task=inspect")
    assert "embedding skips" in done.stdout, done.stderr
    done = run(project, "run.py", *words, "batch.tokens=512", "budget.tokens=4096")
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout.splitlines()[-1])
    assert result["variant"] == "skipgpt" and result["status"] == "completed"
    assert result["cost"]["parameters_by_group"]["skips"] == 4
