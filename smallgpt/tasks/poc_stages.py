"""Stages of a proof of concept: other tasks, each with settings of its own, in a folder of the candidate's run."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from smallgpt.environment import environment
from smallgpt.errors import Unfinished
from smallgpt.machine.energy import EnergyMeter
from smallgpt.notices import say
from smallgpt.results import TRAINED, read_result, write_result
from smallgpt.run_directory import (
    DECISION,
    STATE,
    config_of_run,
    flat,
    movable,
    refuse_other_config,
    result_header,
    write_config,
)
from smallgpt.settings import Budget, FineTuning, ProofOfConcept, Settings

if TYPE_CHECKING:
    from smallgpt.data.examples import Examples

Work = Callable[[Settings, Path], dict[str, Any]]


def stage(settings: Settings, folder: Path, work: Work) -> dict[str, Any]:
    """Does a stage in its folder and returns its result; of one that is completed, the result that it left.

    A stage in which something could not be measured (`Unfinished`) has failed: it returns the rest, and is done again
    the next time. Raises UserError where it was begun with other settings.
    """
    refuse_other_config(folder, settings, "hydra.sweep.dir")
    done = read_result(folder)
    if done is not None and done.get("status") == "completed":
        return done
    goes_on = (folder / STATE).exists()
    folder.mkdir(exist_ok=True)
    write_config(folder, movable(settings.plain, folder))
    failure = None
    with EnergyMeter() as energy:
        try:
            sections = work(settings, folder)
        except Unfinished as error:
            sections, failure = error.sections, f"{error}; the same command tries again"
            say(f"warning: {failure}")
    result = {
        "status": "failed" if failure else "completed",
        "error": failure,
        **result_header(settings, {}),
        **sections,
        "joules": None if goes_on else energy.joules,  # what it took before it was stopped is not known
        "environment": environment(),
    }
    write_result(folder, result)
    return read_result(folder) or result


def reopen(run_dir: Path, plain: dict[str, Any]) -> None:
    """Marks a completed candidate as one to go on with, where there is something new to decide or to measure.

    That is where `plain`, the config that it is to have now, has other limits, and where one of its stages has failed.
    Its other stages are not repeated.
    """
    result = read_result(run_dir) or {}
    if result.get("task") != "poc" or result.get("status") != "completed":
        return
    before, now = flat(config_of_run(run_dir)), flat(plain)
    stages = [read_result(path.parent) or {} for path in run_dir.glob("*/result.json")]
    same = all(before.get(key) == now.get(key) for key in DECISION)
    if not same or any(each.get("status") != "completed" for each in stages):
        write_result(run_dir, result | {"status": "interrupted", "error": "to be decided again"})


def as_task(settings: Settings, task: str, **changed: Any) -> Settings:
    """Settings of a stage: those of the candidate with another task, and other groups where these are given.

    What the command line asks of the candidate's model is in the settings, and is asked of no checkpoint again.
    """
    name = f"smallgpt.tasks.{task}.run"
    without = ("poc", "eval", "match") if task in TRAINED else ("match",)  # neither changes what is trained
    plain = {key: value for key, value in settings.plain.items() if key not in without}
    plain["task"] = {"_target_": name}
    for key, value in changed.items():
        plain[key] = config_value(value)
    own = {"task": name, "poc": None, "eval": None, "chosen": frozenset(), "plain": plain}
    return settings.model_copy(update={**own, **changed})


def config_value(value: Any) -> Any:
    """Value of a config for a group of settings, with the class that it is of where there are several."""
    if not hasattr(value, "model_dump"):
        return list(value) if isinstance(value, tuple) else value
    kind = type(value)
    target = {} if kind in (Budget, FineTuning) else {"_target_": f"{kind.__module__}.{kind.__qualname__}"}
    return {**target, **value.model_dump(mode="json")}


def pretraining(settings: Settings) -> Settings:
    """Settings of the training of a variant on running text."""
    return as_task(settings, "train")


def adaptation(settings: Settings, origin: str) -> Settings:
    """Settings of the fine-tuning on the user's examples; labels are said in words, which an exported graph can."""
    from smallgpt.training.optimizers import AdamW
    from smallgpt.training.schedules import Cosine

    asked = settings.poc
    assert asked is not None
    how = FineTuning(
        method=asked.method,
        classifier="words",
        patience=asked.patience,
        shots=(0,),
        scored_examples=asked.scored_examples,
    )
    return as_task(
        settings,
        "finetune",
        checkpoint=(origin,),
        data=own_examples(asked),
        optimizer=AdamW(lr=asked.lr),
        schedule=Cosine(),
        budget=Budget(epochs=asked.epochs),
        finetune=how,
        first_weights="checkpoint",
    )


def export(settings: Settings, checkpoint: str, quantize: str) -> Settings:
    """Settings of an export of a checkpoint as a graph."""
    return as_task(settings, "export", checkpoint=(checkpoint,), format="onnx", quantize=quantize)


def own_examples(asked: ProofOfConcept) -> "Examples":
    """The user's examples as a choice of data."""
    from smallgpt.data.examples import Examples

    return Examples(
        path=asked.data,
        kind="classification",
        template=asked.template or f"{{{asked.text}}}\\nLabel: {{{asked.label}}}",
        labels=asked.labels,
        group=asked.group,
        holdout=asked.holdout,
        examples=asked.examples,
    )
