"""The wheel, installed into an environment of its own: it works where there is no checkout."""

import json
import os
import subprocess
import sys
import venv
import zipfile
from pathlib import Path

import pytest
from own_package import SMALL, write_own_package

import smallgpt
from smallgpt.launch.config_files import CONF

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("dist")
    pip = [sys.executable, "-m", "pip", "wheel", "--no-deps", "--no-build-isolation", "--quiet"]
    subprocess.run([*pip, "--wheel-dir", str(folder), str(ROOT)], check=True)
    [path] = folder.glob("smallgpt-*.whl")
    return path


@pytest.fixture(scope="module")
def program(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`smallgpt` in a fresh environment, with the packages of this one behind its own."""
    home = tmp_path_factory.mktemp("environment")
    venv.create(home, with_pip=False)
    python = home / "bin" / "python"
    pip = [sys.executable, "-m", "pip", "--python", str(python), "install", "--no-deps", "--no-index", "--quiet"]
    subprocess.run([*pip, str(wheel)], check=True)
    [packages] = home.glob("lib/python*/site-packages")
    others = [path for path in sys.path if Path(path).name == "site-packages"]
    (packages / "others.pth").write_text("\n".join(others))
    return home / "bin" / "smallgpt"


@pytest.fixture
def user(tmp_path: Path) -> Path:
    write_own_package(tmp_path)
    return tmp_path


def run(program: Path, folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    env = os.environ | {"SMALLGPT_CACHE": str(folder / "cache"), "PYTHONPATH": "packages"}
    return subprocess.run([program, *words], cwd=folder, env=env, capture_output=True, text=True)


def test_it_holds_the_package_and_the_groups(wheel: Path) -> None:
    inside = {name for name in zipfile.ZipFile(wheel).namelist() if not name.partition("/")[0].endswith(".dist-info")}
    package = {path.relative_to(ROOT) for path in (ROOT / "smallgpt").rglob("*") if path.is_file()}
    groups = {Path("smallgpt/conf") / path.relative_to(CONF) for path in CONF.rglob("*") if path.is_file()}
    assert inside == {str(path) for path in package | groups if path.suffix != ".pyc"}


def test_it_trains_where_it_is_called(program: Path, user: Path) -> None:
    """A variant of the user's own, so that both are known: what is in the wheel, and what is not."""
    done = run(program, user, "--config-dir", "myconf", *SMALL, "model=mine")
    assert done.returncode == 0, done.stderr
    [run_dir] = user.glob("outputs/*/*")
    result = json.loads((run_dir / "result.json").read_text())
    assert result["status"] == "completed" and result["variant"] == "mine"
    environment = result["environment"]
    assert environment["smallgpt"] == smallgpt.__version__ and environment["commit"] is None
    refused = run(program, user, "nonsense=1")
    assert refused.stderr == "error: nonsense=1: unknown key; see smallgpt --help\n"


@pytest.mark.slow
def test_it_sweeps_reports_and_exports(program: Path, user: Path) -> None:
    mine = ("--config-dir", "myconf")
    words = ("-m", *SMALL, "model=gpt,mine", "trainer=ddp", "trainer.devices=2", "hydra.sweep.dir=sweep")
    done = run(program, user, *mine, *words)
    assert done.returncode == 0, done.stderr
    assert "smallgpt -m" in (user / "sweep" / "report.html").read_text()
    again = run(program, user, "task=report", "sweep=sweep")
    assert again.returncode == 0, again.stderr
    exported = run(program, user, "task=export", "checkpoint=sweep/1")
    assert exported.returncode == 0, exported.stderr
    assert run(program, user, "--help").stdout.splitlines()[2].startswith("  smallgpt ")
