"""The config as the chosen files of its groups make it, for messages and help: what else was given is left out."""

import json
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import DictConfig, OmegaConf

from smallgpt.launch.config_files import CONF
from smallgpt.launch.hydra_options import hydra_options

OF_A_CHOICE = re.compile(r"^[^=]+=\s*[^{\[\s]")  # and of no values in place of the name of a choice


def with_choices(more: Iterable[str] = ()) -> DictConfig:
    """The config with the groups alone that the command line chooses, then those of `more`; Hydra's own node included.

    Args:
        more: words such as `model=gpt`.
    """
    groups = {str(path.relative_to(CONF)) for path in CONF.rglob("*") if path.is_dir()}
    given = hydra_options()[0]
    words = [word for word in given.overrides if OF_A_CHOICE.search(word) and word.partition("=")[0] in groups]
    words = [*[word.split(",")[0] for word in words], *more]  # of a sweep's values the first
    words.append(f"hydra.searchpath={json.dumps(added_folders(given.config_dir, given.overrides))}")
    GlobalHydra.instance().clear()
    with initialize_config_dir(str(CONF), version_base="1.3"):
        return compose(given.config_name or "config", words, return_hydra_config=True)


def added_folders(config_dir: str | None, words: Iterable[str]) -> list[str]:
    """What `--config-dir` and `hydra.searchpath=` of a command line add to smallgpt's own folder."""
    given = [word for word in words if word.startswith("hydra.searchpath=")]
    values = [override.value() for override in OverridesParser.create().parse_overrides(given)]
    paths = [path for value in values if isinstance(value, list) for path in value]
    return [f"file://{Path(config_dir).absolute()}", *paths] if config_dir else paths


def dotted(node: Any, prefix: str = "") -> list[str]:
    """Dotted keys of a config: those of its groups and those of its values."""
    keys = []
    for key in node:
        keys.append(f"{prefix}{key}")
        if not OmegaConf.is_missing(node, key) and not OmegaConf.is_interpolation(node, key):
            child = node[key]
            keys += dotted(child, f"{prefix}{key}.") if OmegaConf.is_dict(child) else []
    return keys
