"""`task=doctor` checks this machine, in seconds, and says what will not work on it; it trains and downloads nothing."""

import os
import shutil
from collections.abc import Callable, Iterator
from importlib.metadata import PackageNotFoundError, requires, version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from smallgpt.errors import Unfinished, one_line
from smallgpt.machine import examination
from smallgpt.machine.examination import Verdict
from smallgpt.notices import show
from smallgpt.settings import Settings

OPTIONAL = {  # modules, what needs them, and what installs them
    "tensorboard": (("tensorboard",), "logger=tensorboard", "tensorboard"),
    "dashboard": (("wandb_workspaces",), "task=dashboard", "wandb-workspaces"),
    "search": (("optuna",), "hydra/sweeper=optuna", "optuna"),
    "evaluation": (("lm_eval",), "eval=", "lm-eval"),
    "onnx": (("onnx", "onnxscript", "onnxruntime"), "format=onnx", "'smallgpt[export]'"),
    "slurm": (("submitit",), "hydra/launcher=slurm", "submitit"),
    "ray": (("ray",), "hydra/launcher=ray", "ray"),
}


def run(settings: Settings, run_dir: Path) -> dict[str, Any]:
    """Prints a verdict a line; returns the section `doctor`.

    Raises:
        Unfinished: something is missing that every run needs.
    """
    found: list[Verdict] = []
    for verdict in verdicts(settings):
        show(str(verdict))
        found.append(verdict)
    section = {"doctor": {each.subject: {"level": each.level, "text": each.text} for each in found}}
    if wrong := [each.subject for each in found if each.level == "fails"]:
        raise Unfinished(f"no run will work on this machine as it is: {', '.join(wrong)}", section)
    notes = sum(each.level == "note" for each in found)
    show(f"\nthe default run will work; {notes or 'no'} notes on what else may not")
    return section


def verdicts(settings: Settings) -> Iterator[Verdict]:
    """Every verdict, as soon as it is known."""
    yield packages()
    yield examination.cores()
    yield examination.memory()
    yield examination.shared_memory()
    yield examination.folder("outputs", Path.cwd())
    yield examination.folder("cache", settings.cache_dir)
    yield within("processor", examination.processor)
    yield within("gpu", examination.gpu)
    yield within("compiler", examination.compiler)
    for subject, (modules, key, install) in OPTIONAL.items():
        yield optional(subject, modules, key, install)
    yield within("w&b", wandb_login)
    yield within("hub", hub)


def within(subject: str, check: Callable[[], Verdict]) -> Verdict:
    """Verdict of a check; where a library of it cannot even be imported, that is the verdict."""
    try:
        return check()
    except Exception as error:  # whatever a broken installation raises
        return Verdict(subject, "fails", one_line(error))


def packages() -> Verdict:
    """Whether the packages that every run needs are installed, in releases that work."""
    try:
        needed = [text for text in requires("smallgpt") or [] if "extra ==" not in text]
    except PackageNotFoundError:
        return Verdict("packages", "note", "smallgpt is not installed here: what it needs is not known")
    if wrong := [why for text in needed if (why := unmet(text))]:
        return Verdict("packages", "fails", "; ".join(wrong))
    return Verdict("packages", "ok", f"the {len(needed)} that every run needs, torch {version('torch')} among them")


def unmet(requirement: str) -> str:
    """What is wrong with the installed release of a requirement; empty where nothing is."""
    from packaging.requirements import Requirement

    asked = Requirement(requirement)
    try:
        found = version(asked.name)
    except PackageNotFoundError:
        return f"{asked.name} is not installed"
    if asked.specifier.contains(found, prereleases=True):
        return ""
    return f"{asked.name} {found} is installed, and {asked.specifier} is needed"


def optional(subject: str, modules: tuple[str, ...], key: str, install: str) -> Verdict:
    """Verdict on packages that one setting alone needs."""
    missing = [name for name in modules if find_spec(name) is None]
    if missing:
        text = f"{', '.join(missing)} not installed: {key} will not work; `pip install {install}`"
        return Verdict(subject, "note", text)
    if subject == "slurm" and shutil.which("sbatch") is None:
        return Verdict(subject, "note", f"no sbatch on this machine: {key} works on a cluster's login node alone")
    return Verdict(subject, "ok", f"{key}{'...' if key.endswith('=') else ''} works")


def wandb_login() -> Verdict:
    """Whether W&B has an account here, by what lies on this machine; it is not asked."""
    from smallgpt.packages import imported_wandb

    mode = os.environ.get("WANDB_MODE", "offline")
    if imported_wandb().login(prompt=False, verify=False):
        sent = "sends runs" if mode == "online" else "keeps runs here until `wandb sync`, or logger.mode=online"
        return Verdict("w&b", "ok", f"a key is known: logger=wandb {sent}")
    return Verdict("w&b", "note", "not logged in: logger=wandb keeps runs on this machine; `wandb login`")


def hub() -> Verdict:
    """Whether the hub answers, within seconds; it is not asked where HF_HUB_OFFLINE forbids that."""
    import huggingface_hub.constants as constants

    from smallgpt.data.hub import PATIENCE_SECONDS, reachable

    without = "corpora, tokenizers and models from the hub work only where its cache has them"
    if constants.HF_HUB_OFFLINE:
        return Verdict("hub", "note", f"HF_HUB_OFFLINE is set: {without}")
    if reachable():
        return Verdict("hub", "ok", f"{constants.ENDPOINT} answers")
    return Verdict("hub", "note", f"{constants.ENDPOINT} does not answer within {PATIENCE_SECONDS:.0f} s: {without}")
