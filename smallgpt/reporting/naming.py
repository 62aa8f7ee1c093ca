"""What arms and jobs are called: the variant, then what tells them apart, in the fewest words."""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from smallgpt.errors import shown

GROUPS = ("size", "block", "match", "finetune", "optimizer", "schedule", "budget", "data", "tokenizer", "eval")
"""Groups of the config whose chosen file may name what a report compares."""
VARIANT = ""  # stands for it among the names of groups and keys
ABSENT = object()


@dataclass(frozen=True)
class Described:
    """What may name an arm or a job."""

    variant: str
    choices: Mapping[str, str]
    """The chosen file of each group."""
    config: Mapping[str, Any]
    """Config by dotted keys."""
    typed: frozenset[str]
    """Groups and keys that its command line sets."""

    def value(self, name: str) -> Any:
        """Value of a group or a key."""
        if name == VARIANT:
            return self.variant
        return (self.choices if name in GROUPS else self.config).get(name, ABSENT)

    def without(self, leave_out: Callable[[str], bool]) -> "Described":
        """Less the groups and keys that are left out."""
        choices, config = (
            {name: value for name, value in values.items() if not leave_out(name)}
            for values in (self.choices, self.config)
        )
        return replace(self, choices=choices, config=config)


def distinguishing(members: Sequence[Described], always: Collection[str] = ()) -> list[dict[str, Any]]:
    """What names each member beside its variant: groups and keys with their values.

    Named is what a command line sets and what is not the same for all; then chosen files, and keys where these do not
    do, until no two members that differ are called the same. A key that follows from a choice is not named.

    Args:
        members: what is told apart.
        always: groups and keys that are named even where all members have the same value.
    """
    names = [name for name in GROUPS if all(member.choices for member in members)]
    keys = dict.fromkeys(key for member in members for key in member.config)
    names += sorted(keys, key=lambda key: not key.startswith("model."))
    varied = [name for name in names if len({hashable(member.value(name)) for member in members}) > 1]
    named = [name for name in names if name in always]
    named += [name for name in varied if name not in named and any(name in member.typed for member in members)]
    for name in varied:
        if name not in named and splits(name, named, members):
            named.append(name)
    named.sort(key=names.index)
    return [{name: member.value(name) for name in named if member.value(name) is not ABSENT} for member in members]


def splits(name: str, named: Sequence[str], members: Sequence[Described]) -> bool:
    """Whether members that are called the same so far differ in it."""
    values: dict[tuple, set] = {}
    for member in members:
        so_far = tuple(hashable(member.value(each)) for each in (VARIANT, *named))
        values.setdefault(so_far, set()).add(hashable(member.value(name)))
    return any(len(found) > 1 for found in values.values())


def short_names(names: Sequence[str]) -> dict[str, str]:
    """The last part of each dotted key, where no other name ends in it."""
    last = [name.rpartition(".")[2] for name in names]
    return {name: short if last.count(short) == 1 else name for name, short in zip(names, last, strict=True)}


def labels(variants: Sequence[str], named: Sequence[Mapping[str, Any]]) -> list[str]:
    """Such as `lineargpt size=nano lr=0.001`."""
    short = short_names(list(dict.fromkeys(name for values in named for name in values)))
    return [
        " ".join([variant, *[f"{short[name]}={shown(value)}" for name, value in values.items()]])
        for variant, values in zip(variants, named, strict=True)
    ]


def hashable(value: Any) -> Any:
    """Value of a config that a dictionary takes as a key."""
    return tuple(map(hashable, value)) if isinstance(value, list | tuple) else value
