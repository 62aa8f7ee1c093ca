"""Composing of a sweep's jobs: what jobs share is composed once, by Hydra, and the values of each are set in a copy."""

import os
import pickle
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

from hydra.core.config_loader import ConfigLoader
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override, OverrideType
from omegaconf import DictConfig, OmegaConf, open_dict

from smallgpt.launch.command_line import chosen_files, given
from smallgpt.launch.loading import resolved_config
from smallgpt.packages import private
from smallgpt.run_directory import flat

with private("hydra-core"):
    from hydra._internal.config_loader_impl import ConfigLoaderImpl, get_overrides_dirname

INTERPOLATION = re.compile(r"\$\{([^${}]*)")
RESOLVERS = {"baseline", "directory", "now", "oc.env", "variant"}
"""Resolvers that answer the same to the same arguments, in all jobs of a sweep."""


@dataclass(frozen=True)
class ComposedJob:
    """What a job of a sweep was composed to, resolved: later edits of a YAML change nothing."""

    number: int
    run_dir: Path
    subdir: str
    """Its directory in that of the sweep."""
    plain: dict[str, Any]
    """Its config without Hydra's own node."""
    overrides: list[str]
    choices: dict[str, str]
    """The chosen file of each group."""


class JobComposer:
    """Composer of the jobs of one sweep.

    Args:
        loader: Hydra's.
        sweep: config of the sweep itself.
    """

    def __init__(self, loader: ConfigLoader, sweep: DictConfig) -> None:
        self.loader, self.sweep = loader, sweep
        self.parser = OverridesParser.create(config_loader=loader)
        self.parsed: dict[str, Override] = {}
        self.composed: dict[tuple[str, ...], bytes] = {}
        """Configs by the words that Hydra composed them with; unpickling is the fastest way to a copy."""
        self.models: dict[tuple[tuple[str, ...], tuple[str, ...]], bytes | None] = {}
        """Resolved jobs, by those words and the keys that are set later; None where others may not be made of one."""
        self.groups = {str(key) for key in sweep if OmegaConf.is_config(OmegaConf.select(sweep, str(key)))}
        self.jobs: dict[tuple[int, tuple[str, ...]], ComposedJob] = {}

    def job(self, number: int, words: list[str]) -> ComposedJob:
        """A job with its config resolved. Raises UserError where that is not possible."""
        key = (number, tuple(words))
        if key not in self.jobs:
            overrides = [self.override(word) for word in words]
            values = self.values_alone(overrides)
            set_later = set(map(id, values))
            shared = tuple(word for word, each in zip(words, overrides, strict=True) if id(each) not in set_later)
            self.jobs[key] = self.made_of_another(number, shared, values, overrides) or self.resolved(
                number, shared, values, overrides
            )
        return self.jobs[key]

    def made_of_another(
        self, number: int, shared: tuple[str, ...], values: list[Override], overrides: list[Override]
    ) -> ComposedJob | None:
        """A job whose config is that of another one with other values; None where it is not."""
        other = self.models.get((shared, tuple(value.key_or_group for value in values)))
        if other is None:
            return None
        job: ComposedJob = pickle.loads(other)
        for override in values:
            if not set_plain(job.plain, override.key_or_group, override.value()):
                return None
        subdir = str(number)
        return replace(
            job, number=number, run_dir=job.run_dir.with_name(subdir), subdir=subdir, overrides=words_for(overrides)
        )

    def resolved(
        self, number: int, shared: tuple[str, ...], values: list[Override], overrides: list[Override]
    ) -> ComposedJob:
        """A job as Hydra composes it and OmegaConf resolves it."""
        config = self.config(number, shared, values, overrides)
        plain, subdir = resolved_config(config), os.path.normpath(str(config.hydra.sweep.subdir))
        run_dir = Path(config.hydra.sweep.dir, subdir)
        job = ComposedJob(number, run_dir, subdir, plain, given(config.hydra), chosen_files(config.hydra))
        keys = tuple(value.key_or_group for value in values)
        if (shared, keys) not in self.models:
            self.models[shared, keys] = pickle.dumps(job) if is_model(config, keys) else None
        return job

    def config(
        self, number: int, shared: tuple[str, ...], values: list[Override], overrides: list[Override]
    ) -> DictConfig:
        """Config of a job, as Hydra composes it; it is then the one that `${hydra:...}` reads."""
        if shared not in self.composed:
            self.composed[shared] = pickle.dumps(self.loader.load_sweep_config(self.sweep, list(shared)))
        job: DictConfig = pickle.loads(self.composed[shared])
        OmegaConf.copy_cache(from_config=self.sweep, to_config=job)
        with private("hydra-core"):
            ConfigLoaderImpl._apply_overrides_to_config(values, job)
        task = [override for override in overrides if not override.is_hydra_override()]
        how = job.hydra.job.config.override_dirname
        with open_dict(job):
            job.hydra.overrides.task = words_for(overrides)
            job.hydra.job.override_dirname = get_overrides_dirname(
                overrides=task, kv_sep=how.kv_sep, item_sep=how.item_sep, exclude_keys=how.exclude_keys
            )
            job.hydra.job.id = job.hydra.job.num = number
        HydraConfig.instance().cfg = cast(Any, job)  # without the copy that Hydra makes of it
        return job

    def override(self, word: str) -> Override:
        if word not in self.parsed:
            self.parsed[word] = self.parser.parse_override(word)
        return self.parsed[word]

    def values_alone(self, overrides: list[Override]) -> list[Override]:
        """Overrides that set the value of one key which is there, and so change nothing of what Hydra composes.

        None where another one adds, removes or merges what one of them sets, since the order then matters.
        """
        values = [override for override in overrides if self.sets_a_value(override)]
        keys = [value.key_or_group for value in values]
        for override in overrides:
            merges = override.type != OverrideType.CHANGE or isinstance(override.value(), dict)
            if merges and any(overlap(override.key_or_group, key) for key in keys):
                return []
        return values

    def sets_a_value(self, override: Override) -> bool:
        """Whether an override sets a key of the config outside of Hydra's node, and chooses no file."""
        group, dot, _ = override.key_or_group.partition(".")
        if override.type != OverrideType.CHANGE or override.package is not None or override.is_sweep_override():
            return False
        if group == "hydra" or group not in self.sweep or isinstance(override.value(), dict):
            return False
        return bool(dot) == (group in self.groups)


def overlap(one: str, other: str) -> bool:
    """Whether one of two dotted keys is the other, or lies in it."""
    return f"{one}.".startswith(f"{other}.") or f"{other}.".startswith(f"{one}.")


def words_for(overrides: list[Override]) -> list[str]:
    """The words of a command line for the task, and none for Hydra."""
    return [str(override.input_line) for override in overrides if not override.is_hydra_override()]


def is_model(config: DictConfig, keys: Sequence[str]) -> bool:
    """Whether a config with other values of these keys differs in nothing else, once it is resolved.

    So it is where no interpolation reads them, nor knows of anything else that is the job's own but its number, which
    names its directory.
    """
    plain = OmegaConf.masked_copy(config, [str(key) for key in config if key != "hydra"])
    texts = [text for text in flat(OmegaConf.to_container(plain, resolve=False)).values() if "${" in str(text)]
    sweep = OmegaConf.to_container(config.hydra.sweep, resolve=False)
    if not isinstance(sweep, dict) or sweep["subdir"] != "${hydra.job.num}":
        return False
    for text in [*texts, sweep["dir"]]:
        for inside in INTERPOLATION.findall(str(text)):
            name, resolver, _ = inside.partition(":")
            if resolver and name.strip() not in RESOLVERS:
                return False
            if not resolver and (
                inside.startswith(".") or any(overlap(inside.strip(), key) for key in (*keys, "hydra"))
            ):
                return False
    return True


def set_plain(plain: dict[str, Any], key: str, value: Any) -> bool:
    """Sets a value at a dotted key; returns whether that is there, and the value is one that says itself."""
    *groups, name = key.split(".")
    node: Any = plain
    for group in groups:
        node = node.get(group) if isinstance(node, dict) else None
    if not isinstance(node, dict) or name not in node or isinstance(node[name], dict) or not says_itself(value):
        return False
    node[name] = value
    return True


def says_itself(value: Any) -> bool:
    """Whether a value is a number, a text without interpolation, or a list of such."""
    if isinstance(value, list):
        return all(says_itself(each) for each in value)
    if isinstance(value, str):
        return "${" not in value and value != "???"
    return value is None or isinstance(value, bool | int | float)
