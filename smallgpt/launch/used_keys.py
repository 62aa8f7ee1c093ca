"""Keys that each task uses: one that it does not use is refused where the command line gives it."""

from collections.abc import Iterable
from typing import Any

from omegaconf import DictConfig, OmegaConf

from smallgpt.errors import UserError
from smallgpt.launch.loading import chosen_keys

TRAINING = frozenset(
    (
        *(
            "model",
            "size",
            "block",
            "match",
            "latency",
            "data",
            "tokenizer",
            "optimizer",
            "schedule",
            "budget",
            "batch",
        ),
        *(
            "batch",
            "trainer",
            "validation",
            "logger",
            "log_every",
            "compile",
            "seed",
            "cache_dir",
            "checkpoint",
            "resume",
        ),
        *("distill", "first_weights", "budget_with_origin"),
        *("prompt", "generation", "eval", "quantize", "experiment", "debug", "question"),
    )
)
LOADED = frozenset(("checkpoint", "model", "quantize", "cache_dir", "trainer.accelerator", "trainer.threads"))
TABLES = frozenset(("sweep", "baseline", "tune"))
USED = {
    "train": TRAINING,
    "finetune": TRAINING - {"size", "block", "match", "latency", "tokenizer", "compile", "distill"} | {"finetune"},
    "poc": TRAINING - {"compile", "quantize", "prompt", "distill", "budget_with_origin", "first_weights"} | {"poc"},
    "inspect": TRAINING - {"resume"},  # what a training with these words would cost
    "prepare": frozenset(("data", "tokenizer", "cache_dir", "prepare")),
    "generate": LOADED | {"prompt", "generation", "seed", "compile"},
    "evaluate": LOADED | {"eval", "generation", "seed", "question"},
    "benchmark": LOADED
    | TABLES
    | {"benchmark", "compile", "eval", "experiment", "question", "seed", "validation.final_tokens"}
    | {"size", "block", "match", "tokenizer"},
    "import": frozenset(("checkpoint", "tokenizer", "cache_dir")),
    "export": frozenset(("checkpoint", "model", "quantize", "cache_dir", "format")),
    "report": TABLES | {"label"},
    "watch": frozenset(("sweep",)),
    "doctor": frozenset(("cache_dir",)),
    "dashboard": TABLES | {"logger", "dry_run"},
    "log": frozenset(("sweep", "logger")),
}
"""Keys and groups that a task uses; a group stands for all of its keys."""
TRAINS = ("train", "inspect", "finetune")
OF_ALL = frozenset(("task", "hydra"))
OF_SWEEPS = frozenset(("study", "tune", "question", "resume"))
"""Keys that name, order or show the jobs of a sweep, whatever their task."""


def refuse_unused(config: DictConfig | dict[str, Any], words: Iterable[str], alone: bool) -> None:
    """Raises UserError for the first word of a command line whose key the chosen task does not use.

    Args:
        config: as composed, or resolved; a task that is no file of `smallgpt.tasks` may use anything.
        words: the command line's.
        alone: whether this is one run and no job of a sweep.
    """
    task = (
        str(value_at(config, "task._target_") or "")
        .removeprefix("smallgpt.tasks.")
        .removesuffix(".run")
        .removesuffix("_")
    )
    if task not in USED:
        return
    for word in words:
        (key,) = chosen_keys([word])
        if is_under(key, OF_ALL) or is_used(key, USED[task]) or (not alone and key in OF_SWEEPS):
            if reason := unused_here(task, key, config) or (alone and without_origin(key, config)):
                raise UserError(f"{word}: {reason}; leave it out")
        elif alone and key in OF_SWEEPS:
            raise UserError(f"{word}: belongs to a sweep; add -m")
        elif others := used_by(key):  # of none: it is unknown, which is said elsewhere
            raise UserError(f"{word}: task={task} does not use it, {' and '.join(others)} would; leave it out")
    devices, nodes = (value_at(config, f"trainer.{key}") for key in ("devices", "num_nodes"))
    if task not in TRAINS and (devices, nodes) != (1, 1):
        raise UserError(f"trainer.devices={devices}: task={task} runs in one process; leave it out")


def unused_here(task: str, key: str, config: DictConfig | dict[str, Any]) -> str:
    """Why a key that the task uses otherwise is not used beside the others; empty where it is."""
    checkpoint, sweep, asked = (value_at(config, name) for name in ("checkpoint", "sweep", "eval"))
    group = key.partition(".")[0]
    if task == "benchmark":
        if (checkpoint or sweep) and (group in ("size", "block", "match", "tokenizer") or key == "benchmark.to"):
            return f"what {'checkpoint' if checkpoint else 'sweep'}= names has its own"
        if not sweep and group in ("baseline", "tune"):
            return "task=benchmark uses it with sweep= alone"
        if not (checkpoint or sweep) and group == "validation":
            return "without checkpoint= nothing is scored"
    if task == "evaluate" and group == "generation" and not (asked and asked.get("prompts")):
        return "task=evaluate continues texts with eval.prompts= alone"
    if task in TRAINS and group == "quantize" and not asked:
        return f"task={task} uses it with eval= alone"
    if task in TRAINS and checkpoint and group in ("tokenizer", "match"):
        return f"checkpoint={checkpoint} has its own tokenizer and size"
    return ""


def without_origin(key: str, config: DictConfig | dict[str, Any]) -> str:
    """Why a key is not used in a run without a checkpoint or a teacher, which arms may have; empty where it is."""
    if key in ("first_weights", "budget_with_origin") and not value_at(config, "checkpoint"):
        return "without checkpoint= all weights begin as random numbers"
    if key in ("distill.weight", "distill.temperature") and not value_at(config, "distill.from"):
        return "without distill.from= there is no teacher"
    return ""


def value_at(config: DictConfig | dict[str, Any], key: str) -> Any:
    """Value at a dotted key of a config, composed or resolved; None where there is none."""
    if isinstance(config, DictConfig):
        return OmegaConf.select(config, key)
    value: Any = config
    for part in key.split("."):
        value = value.get(part) if isinstance(value, dict) else None
    return value


def is_under(key: str, names: Iterable[str]) -> bool:
    """Whether a key is one of these, or lies in a group that is one of them."""
    return any(key == name or key.startswith((f"{name}.", f"{name}/")) for name in names)


def is_used(key: str, names: Iterable[str]) -> bool:
    """Whether a key is one of these, lies in a group of them, or is a group in which one of them lies."""
    return is_under(key, names) or any(name.startswith(f"{key}.") for name in names)


def used_by(key: str) -> list[str]:
    """Tasks that use a key, as words of a command line."""
    return [f"task={task}" for task, names in USED.items() if is_used(key, names)]
