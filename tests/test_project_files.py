"""What several files of the project say about its packages, its Pythons and its licence is the same."""

import re
import tomllib
from pathlib import Path

import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
CONSTRAINTS = (ROOT / "constraints.txt").read_text()
PINS = {canonicalize_name(name): version for name, version in re.findall(r"(?m)^([\w.-]+)==(\S+)$", CONSTRAINTS)}
LOCK = (ROOT / "requirements.lock").read_text()
# name, version, marker of what has a hash
LOCKED = re.findall(r"(?m)^([\w.-]+)==([^\s;]+)(?: ; (.*))? \\\n +--hash=sha256:\w{64}", LOCK)


def test_the_pins_are_what_the_dependencies_allow():
    groups = [PROJECT["dependencies"], *PROJECT["optional-dependencies"].values()]
    needed = [Requirement(text) for group in groups for text in group]
    for requirement in needed:
        name = canonicalize_name(requirement.name)
        if name != PROJECT["name"]:
            assert name in PINS, f"{name} is not pinned in constraints.txt"
            pin = PINS[name]
            assert requirement.specifier.contains(pin, prereleases=True), f"{requirement} is pinned to {pin}"


def test_the_lock_has_the_pins_and_their_hashes():
    assert len(LOCKED) == len(re.findall(r"(?m)^[^#\s]", LOCK)), "an entry has no hash"
    versions = {name: version for name, version, _ in LOCKED}
    assert {name: versions.get(name) for name in PINS} == PINS, "requirements.lock is out of date: make lock"
    # those with a marker are for some machines alone, such as CUDA's libraries
    everywhere = {name for name, _, marker in LOCKED if not marker}
    assert everywhere <= PINS.keys(), f"not pinned in constraints.txt: {everywhere - PINS.keys()}"
    assert "://" not in LOCK and "file:" not in LOCK


def test_hooks_check_with_the_pinned_ruff():
    hooks = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())
    assert f"v{PINS['ruff']}" in {repository["rev"] for repository in hooks["repos"] if "ruff" in repository["repo"]}


def test_ci_runs_the_pythons_that_the_package_names():
    [job] = yaml.safe_load((ROOT / ".github" / "workflows" / "ci.yml").read_text())["jobs"].values()
    named = {text.rpartition(" :: ")[2] for text in PROJECT["classifiers"] if ":: Python :: 3." in text}
    assert set(job["strategy"]["matrix"]["python"]) == named
    assert PROJECT["requires-python"] == ">=" + min(named, key=lambda version: int(version.split(".")[1]))


def test_licence():
    [path] = PROJECT["license-files"]
    [author] = PROJECT["authors"]
    title, copyright_line = (ROOT / path).read_text().split("\n")[0:3:2]
    assert title == f"{PROJECT['license']} License"
    assert copyright_line.endswith(author["name"])
