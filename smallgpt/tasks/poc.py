"""`task=poc` makes one candidate of a proof of concept: trained, adapted to the user's examples, exported, measured."""

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from smallgpt.errors import UserError
from smallgpt.notices import say
from smallgpt.packages import require
from smallgpt.settings import ProofOfConcept, Settings

if TYPE_CHECKING:
    from smallgpt.data.example_set import ExampleSet

SCORED_KEYS = ("accuracy", "accuracy_interval", "macro_f1", "n")


def run(settings: Settings, run_dir: Path) -> dict[str, Any]:
    """Makes and measures a candidate stage by stage; returns the section `poc` and those of its adaptation.

    Each stage is a run in a folder of its own. A stage that is completed is not repeated, so that the same command goes
    on where it was stopped.
    """
    from smallgpt.machine.cores import use_threads
    from smallgpt.tasks import finetune, poc_forms, train
    from smallgpt.tasks.inspect import match
    from smallgpt.tasks.poc_stages import adaptation, pretraining, stage

    asked = asked_of(settings)
    found = examples_of(settings)
    use_threads(settings.trainer.threads)
    forms = poc_forms.forms_of(settings)
    steps = StageCounter(settings, len(forms) + (settings.origin is None) + (settings.eval is not None) + 3)
    if settings.origin is None:
        steps.begin("training")
        begun = stage(pretraining(settings), run_dir / "trained", train.run)
        origin, warnings = str(run_dir / "trained"), begun["warnings"]
        before = {key: begun["train"][key] for key in ("seconds", "tokens")} | {"joules": begun["joules"]}
    else:
        origin, before, warnings = settings.origin, {"checkpoint": settings.origin}, []
    known = None
    if settings.eval is not None:
        steps.begin("bias and safety before the adaptation")
        known = poc_forms.asked_before(settings, origin, run_dir / "before")
    steps.begin("adaptation to the examples")
    tuned = stage(adaptation(settings, origin), run_dir / "adapted", finetune.run)
    made = {}
    for form in forms:
        steps.begin(f"answers of {form.name}")
        made[form.name] = poc_forms.measured(settings, found, form, run_dir)
    steps.begin("speed")
    speeds = poc_forms.speeds(settings, found, forms, run_dir)
    steps.begin("memory")
    memory = poc_forms.memories(settings, forms, speeds, run_dir)
    warnings = [*warnings, *tuned["warnings"], *([memory["error"]] if memory["error"] else [])]
    section = {
        "limits": asked.limits,
        "margin": asked.margin,
        "requests_per_day": asked.requests_per_day,
        "price_per_hour": asked.price_per_hour,
        "batch": asked.batch,
        "labels": list(found.labels),
        "majority": {key: tuned["baselines"]["majority"][key] for key in SCORED_KEYS},
        "trained": before,
        "adapted": {
            "seconds": tuned["train"]["seconds"],
            "epochs": tuned["train"]["epochs"],
            "examples": tuned["data"]["train_examples"],
            "joules": tuned["joules"],
            "stopped_early": tuned["finetune"]["stopped_early"],
        },
        "before": {
            **{key: tuned["baselines"]["0 shots"][key] for key in SCORED_KEYS},
            "bits_per_byte": tuned["bits_per_byte"],
            "evaluation": known,
        },
        "forms": {name: each | speeds[name] | {"memory": memory["memory"][name]} for name, each in made.items()},
    }
    return {
        **{key: tuned[key] for key in ("cost", "data", "data_fingerprint", "train")},
        **match(settings),
        "warnings": warnings,
        "poc": section,
    }


class StageCounter:
    """Counter of a candidate's stages, which says on standard error which one begins."""

    def __init__(self, settings: Settings, number: int) -> None:
        self.name = f"{settings.variant} seed={settings.seed}"
        self.number, self.begun = number, 0

    def begin(self, what: str) -> None:
        """Says that a stage begins."""
        self.begun += 1
        say(f"{self.name}: {self.begun} of {self.number}, {what}")


def check_poc(settings: Settings) -> None:
    """Raises UserError where a proof of concept cannot begin, or the user's data is wrong."""
    from smallgpt.tasks.export import ONNX_PACKAGES
    from smallgpt.tasks.poc_forms import probe_plan

    asked = asked_of(settings)
    require("task=poc", *ONNX_PACKAGES, install="'smallgpt[export]'")
    if asked.method == "lora":
        require("poc.method=lora", "peft", instead="poc.method=full")
    if settings.trainer.processes > 1:
        raise UserError(f"trainer.devices={settings.trainer.devices}: task=poc runs in one process; leave it out")
    for key in ("prompt_tokens", "new_tokens"):
        if (tokens := getattr(asked, key) or 0) >= settings.context:
            raise UserError(
                f"poc.{key}={tokens}: the context has {settings.context}, for prompt and answer; use fewer, or a "
                "larger model.block_size"
            )
    both = (asked.prompt_tokens or 0) + (asked.new_tokens or 0)
    if both > settings.context:
        raise UserError(
            f"poc.prompt_tokens={asked.prompt_tokens} poc.new_tokens={asked.new_tokens}: {both} tokens, and "
            f"the context has {settings.context}; use fewer, or a larger model.block_size"
        )
    if settings.eval is not None:
        probe_plan(settings.eval, settings.generation, settings.seed, settings.trainer.accelerator)
    examples_of(settings)


def asked_of(settings: Settings) -> ProofOfConcept:
    """The group `poc` of the settings. Raises UserError where it is missing, or names no data."""
    if settings.poc is None:
        raise UserError("poc=null: task=poc needs the group; give -m experiment=poc")
    if settings.poc.data is None:
        raise UserError(
            "poc.data=null: whose examples? give poc.data=<a CSV, TSV or JSON lines file with a text and a label>"
        )
    return settings.poc


def examples_of(settings: Settings) -> "ExampleSet":
    """The user's examples, from the cache where they have been read before.

    Raises UserError for the first that is wrong, with its file and row.
    """
    from smallgpt.data.example_set import example_set
    from smallgpt.tasks.poc_stages import own_examples

    asked = asked_of(settings)
    try:
        return example_set(own_examples(asked), settings.cache_dir)
    except UserError as error:
        raise UserError(in_keys_of_poc(str(error), asked)) from None


def in_keys_of_poc(message: str, asked: ProofOfConcept) -> str:
    """Message about the group `data` in the keys by which task=poc takes its own data."""
    message = re.sub(r"\bdata\.path\b", "poc.data", message)
    message = re.sub(r"\bdata\.(template|labels|group|holdout|examples)\b", r"poc.\1", message)
    if asked.template is None:  # nobody has given one
        for key in ("text", "label"):
            field = getattr(asked, key)
            message = message.replace(f"poc.template={{{field}}}", f"poc.{key}={field}")
    return re.sub(r"^data=", "poc.data=", message)
