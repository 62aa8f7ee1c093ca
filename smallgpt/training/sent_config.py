"""What of a run leaves this machine: its name, tags and config, without the folders that are in them."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from smallgpt.run_directory import LOCATION_KEYS

NOT_SENT = LOCATION_KEYS | {"logger"}  # may name folders and accounts
COSTS = (
    *("parameters", "parameters_without_embeddings", "training_flops_per_token", "inference_flops_per_token"),
    *("cache_bytes_per_token", "state_bytes"),
)
LOCAL_PATH = re.compile(r"(?<![\w./~])(?:~\w*|\.{1,2})?(?:/[\w.+@%=-]+)+/?")


def sent_config(plain: Mapping[str, Any], result: Mapping[str, Any], arm: str) -> dict[str, Any]:
    """Config of a W&B run: the settings, and what a reader of many runs groups and filters them by.

    Args:
        plain: config of the run.
        result: sections of its result, as far as they are known.
        arm: name of the run without its seed.
    """
    environment = result.get("environment") or {}
    cost = result.get("cost") or {}
    return without_folders(
        {
            **{key: value for key, value in plain.items() if key not in NOT_SENT},
            "arm": arm,
            "variant": result.get("variant"),
            "recipe": recipe(result.get("overrides") or ()),
            "matched": result.get("match"),
            "data_fingerprint": result.get("data_fingerprint"),
            "cost": {key: cost[key] for key in COSTS if key in cost},
            "environment": environment,
            "commit": environment.get("commit"),
            "machine": environment.get("gpu") or environment.get("cpu"),
        }
    )


def recipe(overrides: Sequence[str]) -> str | None:
    """Name of the experiment that words of a command line choose; None where they choose none."""
    chosen = [word.partition("=")[2] for word in overrides if word.startswith("experiment=")]
    return chosen[-1] if chosen and chosen[-1] != "null" else None


def tags(own: Sequence[str], result: Mapping[str, Any]) -> list[str]:
    """Tags of a run: the user's, its recipe and its variant, each once and no longer than W&B takes."""
    found = [*own, recipe(result.get("overrides") or ()), result.get("variant")]
    return [tag[:64] for tag in dict.fromkeys(tag for tag in found if tag)]


def run_name(arm: str, seed: int | None) -> str:
    """Name of a run, such as `lineargpt lr=0.001 s2`."""
    return without_folders(arm if seed is None else f"{arm} s{seed}")


def without_folders(value: Any) -> Any:
    """Value in which each path of this machine is its last part alone."""
    if isinstance(value, Mapping):
        return {key: without_folders(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [without_folders(item) for item in value]
    if not isinstance(value, str | Path):
        return value
    text = str(value)
    if isinstance(value, Path) or (
        text.startswith(("/", "~/")) and ": " not in text
    ):  # no message that begins with one
        return Path(text).name
    return LOCAL_PATH.sub(lambda found: Path(found[0]).name, text)
