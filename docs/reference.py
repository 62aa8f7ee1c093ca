"""The reference, made from the code: every setting, every choice of every group, and the Python API."""

import inspect
import re
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any, get_args

import yaml
from omegaconf import OmegaConf

import smallgpt
from docs.settings_tables import default_text, settings_table, table_row
from smallgpt.launch.config_files import CONF, group_files
from smallgpt.launch.documented import settings_of_model
from smallgpt.settings import Common, Group, Settings
from smallgpt.targets import imported

CHOSEN = ("data", "tokenizer", "optimizer", "schedule", "logger")
"""Groups whose choices name a class with settings of its own."""


def groups() -> list[str]:
    """Groups of the config in the order of config.yaml, Hydra's own at the end."""
    entries = [entry for entry in OmegaConf.load(CONF / "config.yaml").defaults if not isinstance(entry, str)]
    named = [str(key) for entry in entries for key in entry if not str(key).startswith("override")]
    return [*dict.fromkeys(["task", "model", *named]), "hydra/launcher", "hydra/sweeper"]


def defaults() -> dict[str, str | None]:
    """The choice of each group where the command line says nothing."""
    found: dict[str, str | None] = {"hydra/launcher": "processes", "hydra/sweeper": "grid"}
    for entry in OmegaConf.load(CONF / "config.yaml").defaults:
        if not isinstance(entry, str):
            found |= {str(key): value for key, value in entry.items()}
    return found


def first_sentence(text: str | None) -> str:
    """First paragraph of a docstring on one line."""
    return " ".join((text or "").strip().partition("\n\n")[0].split())


def whole(text: str | None) -> str:
    """A docstring's paragraphs, without its lists of arguments and errors."""
    return inspect.cleandoc(text or "")


# -- settings ---------------------------------------------------------------------------------------------------------


def settings_page() -> str:
    """The page of all settings, group by group."""
    parts = [
        "# Settings",
        "Every value that can be set with `key=value`, from the code's own types, ranges, defaults and docstrings. A "
        "choice of a group may bring other values: see [choices](choices.md). `null` is no value; a list is written "
        "`[a,b]`.",
        "## Settings of no group",
        settings_table(Common, ""),
    ]
    for name, field in Settings.model_fields.items():
        found = [
            each
            for each in (field.annotation, *get_args(field.annotation))
            if isinstance(each, type) and issubclass(each, Group)
        ]
        if found and name not in CHOSEN:
            parts += [f"## {name}", first_sentence(found[0].__doc__), settings_table(found[0], f"{name}.")]
    blocks = "What can be said of a model, as `model.KEY=`. The choices of `block` bring values for many of these."
    parts += ["## model", blocks, *model_tables()]
    for group in CHOSEN:
        parts += [f"## {group}", *chosen_tables(group)]
    return "\n\n".join(parts) + "\n"


def model_tables() -> Iterator[str]:
    """A table of what all variants share, then one for each variant with keys of its own."""
    from smallgpt.models.configuration import DecoderConfig

    shared = DecoderConfig.settable()
    yield model_table(DecoderConfig, shared)
    for variant, file in group_files("model", None).items():
        config = imported("model", OmegaConf.create(file.read_text())._target_).config_class
        own = {key: hint for key, hint in config.settable().items() if key not in shared}
        if own:
            yield f"### model={variant}"
            yield first_sentence(config.__doc__)
            yield model_table(config, own)


def model_table(config: type, keys: Collection[str]) -> str:
    """Table of fields of a model's config."""
    rows = ["| key | type | default of the class | |", "| --- | --- | --- | --- |"]
    for setting in settings_of_model(config):
        if setting.key in keys:
            default = default_text(getattr(config, setting.key, None))
            rows.append(table_row(f"`model.{setting.key}`", setting.takes, default, setting.doc))
    return "\n".join(rows)


def chosen_tables(group: str) -> Iterator[str]:
    """A table for each class that the choices of a group name."""
    classes: dict[Any, list[str]] = {}
    for choice, file in group_files(group, None).items():
        classes.setdefault(imported(group, OmegaConf.create(file.read_text())._target_), []).append(choice)
    for cls, choices in classes.items():
        yield "### " + ", ".join(f"{group}={choice}" for choice in choices)
        yield first_sentence(cls.__doc__)
        yield settings_table(cls, f"{group}.") if cls.model_fields else "It has no settings."


# -- choices ----------------------------------------------------------------------------------------------------------


def choices_page() -> str:
    """The page of all groups with their choices, each as its file has it."""
    parts = [
        "# Choices",
        "Every group of `group=choice`, with the files as they are: what a choice sets, and the comments in it. "
        "`--config-dir myconf` adds choices of your own to any group. The default of each group is marked.",
    ]
    chosen = defaults()
    for group in groups():
        files = group_files(group, None)
        default = chosen.get(group)
        parts.append(f"## {group}")
        parts.append(f"Default: `{group}={default}`." if default else "Nothing is chosen unless you say so.")
        for choice, file in files.items():
            text = re.sub(r"^# @package .*\n", "", file.read_text())
            doc = target_doc(text)
            parts += [f"### {group}={choice}", *([doc] if doc else []), f"```yaml\n{text.strip()}\n```"]
    return "\n\n".join(parts) + "\n"


def target_doc(text: str) -> str:
    """First sentence of the docstring of what a file's `_target_` names."""
    values = yaml.safe_load(text) or {}
    path = values.get("_target_") or (values.get("task") or {}).get("_target_") if isinstance(values, dict) else None
    if not path or not str(path).startswith("smallgpt."):
        return ""
    found = imported("", str(path))
    if str(path).startswith("smallgpt.tasks."):
        return first_sentence(inspect.getmodule(found).__doc__)  # type: ignore[union-attr]
    return first_sentence(found.__doc__)


# -- the Python API ---------------------------------------------------------------------------------------------------


def python_page() -> str:
    """The page of what `import smallgpt` gives, from signatures and docstrings."""
    parts = ["# Python", "What `import smallgpt` gives; see [Python and notebooks](../guides/python.md)."]
    for name in sorted(smallgpt.__all__, key=lambda name: (name[0].isupper(), name)):
        found = getattr(smallgpt, name)
        parts += [
            f"## smallgpt.{name}",
            *([] if isinstance(found, type) else [signature(name, found)]),
            as_text(found.__doc__),
        ]
        if isinstance(found, type):
            parts += list(members(found))
    return "\n\n".join(parts) + "\n"


def members(cls: type) -> Iterator[str]:
    """Public methods, properties and documented attributes of a class."""
    for name, note in instance_notes(cls).items():
        yield f"**`{name}`** {note}"
    for name, member in vars(cls).items():
        if name.startswith("_"):
            continue
        if inspect.isfunction(member):
            yield f"**`{name}{call(member)}`** {first_sentence(member.__doc__)}"
        elif (text := inspect.getdoc(member)) and not isinstance(member, str):
            yield f"**`{name}`** {first_sentence(text)}"


def instance_notes(cls: type) -> dict[str, str]:
    """Docstrings below the attributes that `__init__` sets."""
    source = inspect.getsource(cls)
    found = re.findall(r'self\.(\w+)(?:: [^=\n]+)? = [^\n]*\n\s+"""(.*?)"""', source, re.S)
    return {name: " ".join(text.split()) for name, text in found}


def signature(name: str, function: Any) -> str:
    """Signature of a function as a block of code."""
    return f"```python\nsmallgpt.{name}{call(function)}\n```"


def call(function: Any) -> str:
    """Parameters of a function with their types, without `self`."""
    found = inspect.signature(function)
    kept = [each for name, each in found.parameters.items() if name != "self"]
    return re.sub(r"'|(?:[a-z_]+\.)+(?=[A-Z])", "", str(found.replace(parameters=kept)))


def as_text(doc: str | None) -> str:
    """A docstring of Google's style as Markdown: its sections become lists."""
    lines, found = whole(doc).splitlines(), []
    for line in lines:
        if re.fullmatch(r"(Args|Raises|Returns):", line):
            found += [f"*{line.rstrip(':')}*", ""]
        elif entry := re.match(r"    (\w+): (.*)", line):
            found.append(f"- `{entry[1]}`: {entry[2]}")
        elif line.startswith("        "):
            found.append(f"  {line.strip()}")
        else:
            found.append(line)
    return "\n".join(found)


def write_reference(folder: Path) -> None:
    """Writes the generated pages of the reference into a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, make in {"settings": settings_page, "choices": choices_page, "python": python_page}.items():
        (folder / f"{name}.md").write_text(make(), encoding="utf-8")
