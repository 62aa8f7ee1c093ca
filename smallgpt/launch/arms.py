"""Arms of a sweep or a search: values that belong together, each combined with the rest and none with another."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from hydra.core.config_loader import ConfigLoader
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override

from smallgpt.errors import UserError, shown
from smallgpt.launch.used_keys import OF_SWEEPS


def arm_overrides(loader: ConfigLoader, arms: Any, others: Sequence[Override]) -> list[list[Override]]:
    """Overrides of each arm.

    Args:
        loader: Hydra's, which knows the groups of the config.
        arms: keys with their values, for each arm.
        others: what the sweep gives beside them.

    Raises:
        UserError: the arms are no such list, or one of the others would make several arms the same.
    """
    refuse_no_list(arms)
    parser = OverridesParser.create(config_loader=loader)
    found = [parser.parse_overrides(words_of(arm)) for arm in arms]
    refuse_chosen_twice({override.get_key_element() for arm in found for override in arm}, others)
    return found


def refuse_no_list(arms: Any) -> None:
    """Raises UserError for arms that are no list of keys with their values."""
    if isinstance(arms, str | int | float) or not all(hasattr(arm, "items") for arm in arms):
        raise UserError(f"hydra.sweeper.arms={shown(arms)}: must be a list of keys with their values")


def words_of(arm: Mapping[Any, Any]) -> list[str]:
    """Words of the command line that set the keys of an arm."""
    return [f"{key}={'null' if value is None else value}" for key, value in arm.items()]


def refuse_several(overrides: Iterable[Override]) -> None:
    """Raises UserError for several values of what a sweep has one of; a comma in a question makes them."""
    for override in overrides:
        if (key := override.get_key_element()) in OF_SWEEPS and override.is_sweep_override():
            word = override.input_line
            raise UserError(f"{word}: a sweep has one {key}; quote a text with a comma twice, as in '{key}=\"a, b\"'")


def refuse_chosen_twice(keys: Iterable[str], overrides: Sequence[Override]) -> None:
    """Raises UserError where a word of the command line would make several arms the same."""
    for override in overrides:
        if (key := override.get_key_element()) in keys:
            raise UserError(
                f"{override.input_line}: the arms of this sweep choose {key}; hydra.sweeper.arms=null leaves them out"
            )
