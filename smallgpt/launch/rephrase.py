"""Hydra's and OmegaConf's errors in one line that names key, value and fix."""

import re
import sys

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import (
    ConfigCompositionException,
    HydraException,
    MissingConfigException,
    OverrideParseException,
)
from omegaconf import OmegaConf
from omegaconf.errors import ConfigAttributeError, ConfigKeyError, OmegaConfBaseException

from smallgpt.errors import UserError, nearest, nearest_key, one_line, program
from smallgpt.launch.composed_choices import dotted, with_choices
from smallgpt.launch.config_files import group_files, read_values
from smallgpt.launch.hydra_options import hydra_options
from smallgpt.launch.loading import of_omegaconf, schema_of

SEVERAL = re.compile(r"(?:Ambiguous value for argument|Sweep parameters) '(?P<word>.*?)'(?=\s)", re.S)
ADDED = re.compile("Multiple values for|appears more than once in|force-add of config groups")
OPTIONAL = ("match", "latency", "eval", "experiment", "debug")  # groups of which nothing need be chosen
DELETED = re.compile(r"Could not delete(?: from config\.)? '(?P<key>[^']*)'")
CHOICES = "hydra.runtime.choices."  # where Hydra keeps the name of each group's choice
SEARCHPATH = re.compile(r"provider=hydra\.searchpath.*, path=(?P<path>.*) is not available")


def rephrase(error: Exception) -> str:
    """One line for what Hydra could not compose; an error that is no fault of the user's keeps its name."""
    if isinstance(error.__cause__, UserError):  # of a class that Hydra made
        return str(error.__cause__)
    if isinstance(error, MissingConfigException):
        return missing_config(error)
    if isinstance(error, OverrideParseException):
        return unreadable(error.override, str(error))
    if isinstance(error, ModuleNotFoundError) and error.name:
        return missing_package(error)
    if isinstance(error, ValueError) and str(error).startswith("Config group override must be"):
        return no_choice()
    if isinstance(error, UserWarning) and (missing := SEARCHPATH.match(str(error))):
        return f"hydra.searchpath: there is no {missing['path']}; file:// names a folder, pkg:// an importable package"
    cause = error.__cause__
    for each in (error, cause):
        if isinstance(each, OmegaConfBaseException) and str(each.full_key).startswith(CHOICES):
            group = str(each.full_key).removeprefix(CHOICES)
            word = next((word for word in sys.argv[1:] if word.startswith(f"{group}=")), group)
            return f"{word}: several choices, and one is taken; -m {group}=A,B runs a job for each"
    if isinstance(cause, ConfigAttributeError | ConfigKeyError) and cause.full_key:
        return unknown_key(cause.full_key)
    if isinstance(error, HydraException):
        several = SEVERAL.match(str(error))
        if several:
            word = several["word"]
            return f"{word}: several values; -m runs one job for each, [a,b] would be a list"
        told = one_line(cause if isinstance(error, ConfigCompositionException) and cause else error)
        if ADDED.search(told) and (word := next((w for w in sys.argv[1:] if w.startswith("+")), None)):
            return f"{word}: this is chosen already, and one choice replaces another; write {word.lstrip('+')}"
        if missing := DELETED.match(told):
            return f"~{missing['key']}: nothing of that name{nearest_key(missing['key'], dotted(with_choices()))}"
        return of_omegaconf(cause) if isinstance(cause, OmegaConfBaseException) else told
    if isinstance(error, OmegaConfBaseException):
        return of_omegaconf(error)
    return f"{type(error).__name__}: {one_line(error)} (HYDRA_FULL_ERROR=1 shows where)"


def missing_config(error: MissingConfigException) -> str:
    """Message for a file of a group that does not exist, with those that do."""
    group, _, choice = (error.missing_cfg_file or "").rpartition("/")
    if not error.options:
        return f"{group or '--config-name'}={choice}: no such file; see `{program()} --help`"
    options = ", ".join(error.options)
    return f"{group}={choice}: no such choice; there is {options}{nearest(choice, error.options)}"


def no_choice() -> str:
    """Message for a group that is given something else than the name of a choice, such as `budget=5e6`."""
    for override in OverridesParser.create().parse_overrides(hydra_options()[0].overrides):
        group, value = override.key_or_group, override.value()
        choices = group_files(group, None)
        word = str(override.input_line)
        if choices and not isinstance(value, str | list):
            if value is None and group in OPTIONAL:
                return f"{word}: leave it out; ~{group} takes back what a recipe chose"
            first = next(iter(read_values(choices[next(iter(choices))])), "")
            number = f"; {group}.{first}={word.partition('=')[2]} is a value" if isinstance(value, int | float) else ""
            return f"{word}: no such choice; there is {', '.join(choices)}{number}"
    return f"a group is given no name of a choice; see `{program()} --help`"


def missing_package(error: ModuleNotFoundError) -> str:
    """Message for a package that cannot be imported."""
    name = str(error.name).partition(".")[0].replace("_", "-")
    return f"{name} is not installed; `pip install {name}`"


def unreadable(word: str, message: str) -> str:
    """Message for an override that Hydra cannot parse."""
    if "missing EQUAL" in message:
        return f"{word}: has no value; write {word}=<value>"
    return f"{word}: cannot be read; close brackets and quotes, and quote a text: key='\"a, b\"'"


def unknown_key(key: str) -> str:
    """Message for an unknown key, with the nearest one, or with how to add one that the chosen file leaves out."""
    word = next((w for w in sys.argv[1:] if w.lstrip("+").partition("=")[0] == key), key)
    config = with_choices()
    near = nearest_key(key, dotted(config))
    group, _, name = key.partition(".")
    files = group_files("model", config.hydra) if group == "model" else {}
    others = [variant for variant, file in files.items() if name in read_values(file)]
    # what a model can be told is known only after PyTorch is imported
    worth_it = group != "model" or others or "did you mean" not in near
    if name and "." not in name and worth_it and group in config and group != "hydra":
        try:
            fields = schema_of(group, OmegaConf.to_container(config[group])).written_keys()
        except (UserError, KeyError):
            fields = []
        if name in fields:
            return f"{word}: not in the chosen file of {group}; write +{word} to add it"
        if fields and others:
            return f"{word}: unknown key of the chosen model; known to model={' and model='.join(others)}"
        if fields:
            near = nearest_key(key, [f"{group}.{field}" for field in fields])
    return f"{word}: unknown key{near}"
