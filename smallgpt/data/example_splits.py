"""Splits of examples: training, validation, which chooses, and test, which reports; none shares content with another.

What is equal or nearly equal, or of one group, lies in one split. What is missing is cut off by the hash of the
content, so that an example stays where it is when others are added.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from smallgpt.data.corpus_parts import Split, document_hash, hash_share
from smallgpt.data.duplicates import join, near_groups, root
from smallgpt.errors import UserError


@dataclass(frozen=True)
class Placed:
    """Split of each example; None: left out, since a held-out example has nearly the same content."""

    splits: list[Split | None]
    left_out: int
    """Number of training examples that are left out."""
    groups: int
    """Number of groups of examples that share content."""


def place_examples(
    contents: Sequence[str], official: Sequence[Split | None], groups: Sequence[str | None], holdout: float, near: bool
) -> Placed:
    """Gives each example its split.

    Args:
        contents: what of an example must not lie in two splits.
        official: split that its file names; None where it names none.
        groups: value by which examples belong together, such as a user; None: none.
        holdout: share of what may be trained on that is cut off, for each split that is missing.
        near: whether nearly equal contents count as the same.
    """
    first = near_groups(contents, near)
    by_group: dict[str, int] = {}
    for place, group in enumerate(groups):
        if group is not None:
            join(first, by_group.setdefault(group, place), place)
    roots = [root(first, place) for place in range(len(contents))]
    named = {split for split in official if split is not None}
    if "train" not in named and not (named and None in official):
        named, official = set(), [None] * len(contents)  # one file alone, whatever it is called
    # the one held-out split that there is reports; what chooses is then cut off from the rest
    rename: dict[Split, Split] = {"validation": "test"} if named == {"train", "validation"} else {}
    wanted: list[Split] = [split for split in ("validation", "test") if split not in {rename.get(n, n) for n in named}]
    held: dict[int, Split] = {}
    for place, split in enumerate(official):
        if split in ("validation", "test"):
            held[roots[place]] = rename.get(split, split)
    found: list[Split | None] = []
    left_out = 0
    for place, split in enumerate(official):
        if split in ("validation", "test"):
            found.append(rename.get(split, split))
        elif roots[place] in held:
            found.append(None)
            left_out += 1
        else:
            found.append(cut_off(contents[roots[place]], wanted, holdout))
    return Placed(found, left_out, len(set(roots)))


def cut_off(content: str, wanted: Sequence[Split], holdout: float) -> Split:
    """Split of a group by the hash of its first content: one of those wanted, or training."""
    place = int(hash_share(document_hash(content)) / holdout)
    return wanted[place] if place < len(wanted) else "train"


def refuse_empty(splits: Sequence[Split | None], last: str, holdout: float) -> None:
    """Raises UserError where a split has no example; `last` is the place of the last of all."""
    for split in ("train", "validation", "test"):
        if split not in splits:
            raise UserError(
                f"data.path={last}: no {split} example among the {len(splits):,} up to this one; give more, a larger "
                f"data.holdout than {holdout:g}, or files train, validation and test"
            )
