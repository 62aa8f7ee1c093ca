"""`--help`: what can be said on a command line, and with a group, a choice or a key beside it what that one does."""

import shutil
import sys
import textwrap
from collections.abc import Iterable, Mapping, Sequence
from importlib.resources.abc import Traversable
from typing import Any

from omegaconf import DictConfig, OmegaConf

from smallgpt.errors import UserError, nearest, nearest_key, program, shown
from smallgpt.launch.composed_choices import dotted, with_choices
from smallgpt.launch.config_files import CONF, group_files, read_values
from smallgpt.launch.documented import Setting, docstring_of
from smallgpt.launch.yaml_comments import YamlLine, body, head_comment, yaml_lines
from smallgpt.notices import show

WIDTH = 120
COMMANDS = (
    ("", "train the default variant on this CPU"),
    ("model=lineargpt budget.seconds=60", "another variant, for a minute"),
    ("-m model=gpt,lineargpt seed=1,2", "a sweep, one report at the end"),
    ("-m experiment=matched_params", "a recipe: a question with its axes and seeds"),
    ("task=doctor", "what will not work on this machine"),
    ("task=inspect model=convgpt size=paper", "what would it cost? -m with several: one table"),
    ("task=watch sweep=DIRECTORY", "a running sweep in the terminal"),
    ("task=report sweep=DIRECTORY", "tables and figures of a sweep, again"),
    ("task=finetune checkpoint=RUN data=own data.path=FILE", "adapt a trained model to your own examples"),
    ("-m experiment=poc poc.data=FILE", "a report for a decision on your own examples"),
    ('task=generate checkpoint=RUN prompt="def"', "text from a trained model"),
    ("task=evaluate eval=quick checkpoint=RUN", "benchmarks, with how sure the scores are"),
    ("task=benchmark checkpoint=[A,B]", "what generating costs on this machine"),
    ("task=export checkpoint=RUN format=onnx", "a folder for other programs"),
)
END = """
A group, a choice or a key beside --help explains that one: `{program} model --help`, `model=convgpt --help`,
`optimizer.lr --help`. A task writes config.yaml and result.json into its run directory (hydra.run.dir; of a sweep
hydra.sweep.dir); in a pipe the last line of standard output is the result as JSON. HYDRA_FULL_ERROR=1 shows the
traceback of an error, --hydra-help Hydra's own options."""
MODEL_GROUPS = ("block", "size")  # whose files set keys of `model`, and some of others
WITHOUT_KEYS = ("task", "experiment", "debug", *MODEL_GROUPS)  # of which a choice has no key of its own


def print_help(words: Sequence[str]) -> None:
    """Prints the overview, or what each of the words is.

    Raises:
        UserError: one of them is no group, choice or key.
    """
    config = with_choices()
    texts = [about(word, config) for word in words] or [overview(config)]
    show("\n\n".join(texts))


def about(word: str, config: DictConfig) -> str:
    """Explains one word of a command line: a group, a choice of it, or a key."""
    name, given, value = word.lstrip("+~").partition("=")
    files = group_files(name, config.hydra)
    if files and given and value:
        return "\n\n".join(about_choice(name, choice, files) for choice in value.split(","))
    if files:
        return about_group(name, files, config)
    node = OmegaConf.select(config, name, throw_on_missing=False)
    if OmegaConf.is_dict(node) and name != "hydra":
        settings = settings_under(name, config)
        title = f"{name}: {comment_of(name)}".rstrip(": ")
        return "\n".join([title, "", *keys(name, settings, node, comments_under(name)), *used(name)])
    return about_key(name, config)


# -- the overview ----------------------------------------------------------------------------------------------------


def overview(config: DictConfig) -> str:
    """The page of `--help` alone."""
    lines = ["smallgpt trains, prices and compares small, fast decoder-only language models.", ""]
    wide = max(len(words) for words, _ in COMMANDS)
    lines += [f"  {program()} {words:<{wide}}  {what}" for words, what in COMMANDS]
    lines += ["", "== Groups (group=choice; the first choice is the default) ==", ""]
    for group in groups():
        lines += paragraph(group, f"{comment_of(group)}: {', '.join(in_order(group, config))}")
    lines += ["", "== Values (key=value) ==", ""]
    for line in top_level():
        if OmegaConf.is_dict(config.get(line.key)):
            lines += paragraph(f"{line.key}.", f"{line.comment}: {', '.join(config[line.key])}".removeprefix(": "))
        else:
            lines += paragraph(f"{line.key}={line.value}", line.comment)
    return "\n".join([*lines, END.format(program=program())])


def groups() -> list[str]:
    """Groups of the config in the order in which config.yaml chooses them, but the task first, those of sweeps last."""
    chosen = [line.key for line in defaults() if line.key in ("hydra/launcher", "hydra/sweeper") or "/" not in line.key]
    return sorted((name for name in chosen if (CONF / name).is_dir()), key=lambda name: ("/" in name, name != "task"))


def defaults() -> list[YamlLine]:
    """Lines of the files that choose a default of each group."""
    return [line for name in ("config", "sweeper") for line in yaml_lines(CONF / f"{name}.yaml") if line.depth == 2]


def top_level() -> list[YamlLine]:
    """Lines of config.yaml with the keys at its top."""
    lines = yaml_lines(CONF / "config.yaml")
    return [line for line in lines if line.depth == 0 and line.key not in ("defaults", "hydra", "study")]


def comment_of(name: str) -> str:
    """Comment behind a group or a key in config.yaml; empty where it has none."""
    known = {line.key: line.comment for line in [*yaml_lines(CONF / "config.yaml"), *defaults()] if line.comment}
    return known.get(name, "")


def in_order(group: str, config: DictConfig) -> list[str]:
    """Choices of a group with the default first."""
    choices = list(group_files(group, config.hydra))
    default = next((line.value for line in defaults() if line.key == group), "null")
    first = "none" if default == "null" else default
    return [first, *[choice for choice in choices if choice != first]]


# -- a group, a choice, a key ----------------------------------------------------------------------------------------


def about_group(group: str, files: dict[str, Traversable], config: DictConfig) -> str:
    """Explains a group: each choice in a line."""
    lines = [f"{group}: {comment_of(group)}", ""]
    for choice in in_order(group, config):
        lines += paragraph(choice, summary(files[choice])) if choice in files else []
    return "\n".join(
        [*lines, *used(group), "", f"`{program()} {group}=CHOICE --help` explains one of them, with its keys."]
    )


def summary(file: Traversable) -> str:
    """First sentence on a choice: of the comment in its file, or of the docstring of what it names."""
    said = next(filter(None, descriptions(file)), "")
    return " ".join(said.partition("\n\n")[0].split())


def descriptions(file: Traversable) -> list[str]:
    """What is said of a choice: in the docstring of a task, else first in the comment of its file."""
    values = read_values(file)
    path = str(OmegaConf.select(values, "task._target_") or values.get("_target_") or "")
    said = [head_comment(file), docstring_of(path)]
    return said[::-1] if path.startswith("smallgpt.tasks.") else said


def about_choice(group: str, choice: str, files: dict[str, Traversable]) -> str:
    """Explains a choice: what it is, and each of its keys."""
    if choice not in files:
        raise UserError(f"{group}={choice}: no such choice; there is {', '.join(files)}{nearest(choice, files)}")
    file = files[choice]
    lines = [f"{group}={choice}", ""]
    for said in dict.fromkeys(part for text in descriptions(file) for part in text.split("\n\n")):
        lines += textwrap.wrap(" ".join(said.split()), width(), initial_indent="  ", subsequent_indent="  ")
    if group == "task":
        return "\n".join([*lines, *uses(choice)])
    if group.startswith("hydra/"):
        name = group.replace("/", ".")
        own = [line for line in yaml_lines(file) if line.depth == 0 and line.key != "_target_"]
        lines += ["", *[text for line in own for text in paragraph(f"{name}.{line.key}={line.value}", line.comment)]]
    elif group in WITHOUT_KEYS:
        lines += ["", *[f"  {line}" for line in body(file).strip().splitlines()]]
    else:
        config = with_choices([f"{group}={choice}"])
        comments = {line.key: line.comment for line in yaml_lines(file)}
        lines += ["", *keys(group, settings_under(group, config), config[group], comments)]
    return "\n".join([*lines, *used(group)])


def about_key(key: str, config: DictConfig) -> str:
    """Explains one key: what it takes, its value where nothing is given, and which tasks use it."""
    from smallgpt.settings import Common

    group, _, name = key.rpartition(".")
    if group.startswith("hydra"):
        if key not in dotted(config):
            raise UserError(f"{key}: unknown key{nearest_key(key, dotted(config))}")
        return f"{key}={value_text(OmegaConf.select(config, group), name)}"
    settings = {setting.key: setting for setting in settings_under(group, config)} if group in config else {}
    if not group:
        settings = {setting.key: setting for setting in settings_of_group(Common)}
    if name not in settings:
        known = [*groups(), *dotted(config), *(f"{group}.{each}" for each in settings)]
        raise UserError(f"{key}: no group and no key of that name{nearest_key(key, known)}")
    node = OmegaConf.select(config, group) if group else config
    return "\n".join([*keys(group, [settings[name]], node, comments_under(group)), *used(key)])


def settings_under(group: str, config: DictConfig) -> list[Setting]:
    """Settings of a group, as the class that it names has them. Raises UserError where there are none."""
    from smallgpt.launch.documented import settings_of_model
    from smallgpt.launch.loading import schema_of
    from smallgpt.settings import Settings
    from smallgpt.targets import imported_model, target

    if group not in Settings.model_fields:
        raise UserError(f"{group}: no group and no key of that name{nearest(group, [*groups(), *map(str, config)])}")
    values = OmegaConf.to_container(config[group], resolve=False)
    if group == "model":
        return settings_of_model(imported_model(group, target(group, values)[0]).config_class)
    optional = {
        "match": "Match",
        "latency": "Latency",
        "eval": "Evaluation",
        "finetune": "FineTuning",
        "poc": "ProofOfConcept",
        "prepare": "Preparation",
    }
    if group in optional:
        import smallgpt.settings as known

        return settings_of_group(getattr(known, optional[group]))
    return settings_of_group(schema_of(group, values))


def settings_of_group(schema: Any) -> list[Setting]:
    """Settings of a class of settings."""
    from smallgpt.launch.documented import settings_of

    return settings_of(schema)


def comments_under(group: str) -> dict[str, str]:
    """Comments behind the keys of a group in config.yaml, or behind those at its top."""
    found, above = {}, ""
    for line in yaml_lines(CONF / "config.yaml"):
        above = line.key if line.depth == 0 else above
        if (line.depth == 0) == (group == "") and group in ("", above):
            found[line.key] = line.comment
    return found


def keys(group: str, settings: Iterable[Setting], node: Any, comments: Mapping[str, str]) -> list[str]:
    """A paragraph for each setting: key and value, what it takes, what its docstring or else its comment says."""
    lines = []
    for setting in settings:
        key = f"{group}.{setting.key}" if group else setting.key
        missing = setting.key not in node
        written = f"{'+' if missing else ''}{key}=" + ("..." if missing else value_text(node, setting.key))
        lines += [f"  {written}"]
        doc = setting.doc or comments.get(setting.key, "")
        said = f"{setting.takes}. {' '.join(doc.split())}".strip()
        lines += textwrap.wrap(said[:1].upper() + said[1:], width(), initial_indent=" " * 6, subsequent_indent=" " * 6)
    return lines


def value_text(node: Any, key: str) -> str:
    """Value of a key as one would write it; interpolations stay."""
    raw: Any = OmegaConf.to_container(node, resolve=False)
    return "<value>" if raw[key] == "???" else shown(raw[key])


def used(key: str) -> list[str]:
    """Lines on the tasks that use a group or a key; none where none does."""
    from smallgpt.launch.used_keys import used_by

    tasks = used_by(key)
    return ["", f"used by {', '.join(tasks)}"] if tasks else []


def uses(task: str) -> list[str]:
    """Lines on the groups and keys that a task uses."""
    from smallgpt.launch.used_keys import USED

    names = sorted(USED.get(task, ()))
    text = ", ".join(names) or "none but its own"
    return ["", *textwrap.wrap(f"uses {text}", width(), initial_indent="  ", subsequent_indent="  ")]


def paragraph(name: str, text: str) -> list[str]:
    """Lines of a name and what is said of it, which is indented behind."""
    indent = 24
    first = f"  {name:<{indent - 4}}  "
    return textwrap.wrap(text, width(), initial_indent=first, subsequent_indent=" " * indent) or [first.rstrip()]


def width() -> int:
    """Columns of the terminal, or of a page where there is none."""
    return min(WIDTH, shutil.get_terminal_size().columns) if sys.stdout.isatty() else WIDTH
