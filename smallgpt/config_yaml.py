"""Configs as YAML, read and written as OmegaConf does, by PyYAML's C code where it has it: some fifteen times as fast.

A sweep of a thousand jobs writes a thousand of them before the first starts.
"""

import pickle
from functools import cache, lru_cache
from typing import Any

import yaml
from omegaconf import OmegaConf

from smallgpt.packages import private

with private("omegaconf"):
    from omegaconf._utils import get_omega_conf_dumper, get_yaml_loader

IN_C: bool = yaml.__with_libyaml__
MOST_IN_C = 32_768  # characters; in a longer text so many brackets may be open that the C code would end the process


def to_yaml(plain: dict[str, Any]) -> str:
    """Text of a config of plain values."""
    if IN_C and plain:
        try:
            return "".join(group_to_yaml(pickle.dumps(group)) for group in plain.items())
        except UnicodeEncodeError:  # of a name whose bytes are no UTF-8, which Python's own writer escapes
            pass
    return OmegaConf.to_yaml(OmegaConf.create(plain))


@lru_cache(maxsize=1024)  # most groups are the same in all jobs of a sweep
def group_to_yaml(pickled: bytes) -> str:
    """Text of one top key with its values, which come pickled: equal bytes are equal values, of equal types."""
    group = dict([pickle.loads(pickled)])
    return yaml.dump(group, Dumper=writer(), default_flow_style=False, allow_unicode=True, sort_keys=False)


def from_yaml(text: str) -> Any:
    """Values in a text; `${...}` is text, too. Raises yaml.YAMLError where it is not YAML."""
    if IN_C and len(text) <= MOST_IN_C:
        try:
            return yaml.load(text, Loader=reader())
        except yaml.YAMLError:  # Python's own reader takes such a name, and else says what is wrong
            pass
    return yaml.load(text, Loader=get_yaml_loader())


@cache
def writer() -> Any:
    """PyYAML's writer with OmegaConf's quotes."""

    class Writer(yaml.CDumper):
        yaml_representers = get_omega_conf_dumper().yaml_representers

        def ignore_aliases(self, data: Any) -> bool:  # a list that stands twice is written twice
            return True

    return Writer


@cache
def reader() -> Any:
    """PyYAML's reader with OmegaConf's numbers, and its refusal of a key that stands twice."""
    from yaml.constructor import SafeConstructor
    from yaml.cyaml import CParser
    from yaml.resolver import Resolver

    class Reader(CParser, get_yaml_loader()):
        def __init__(self, stream: Any) -> None:
            CParser.__init__(self, stream)
            SafeConstructor.__init__(self)
            Resolver.__init__(self)

    return Reader
