"""The YAML files of the config groups: where smallgpt's own lie, and those of a user's own folders beside them."""

from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

PACKAGE = Path(__file__).parents[1]
CONF = next((path for path in (PACKAGE / "conf", PACKAGE.parent / "conf") if path.is_dir()), PACKAGE / "conf")
"""Folder of smallgpt's own config: inside the package where it was installed from a wheel, beside it in a checkout."""


def group_files(group: str, hydra: Any) -> dict[str, Traversable]:
    """Files of a config group by the names of their choices, in alphabetical order.

    Args:
        group: such as `model`.
        hydra: Hydra's own node, which knows the folders that `--config-dir` and `hydra.searchpath=` add; None: of
            smallgpt's own alone.
    """
    found: dict[str, Traversable] = {}
    for folder in [CONF] if hydra is None else config_folders(hydra):
        inside = folder.joinpath(group)
        for file in inside.iterdir() if inside.is_dir() else ():
            name, dot, ending = file.name.rpartition(".")
            if dot and ending == "yaml":
                found.setdefault(name, file)  # of two with the same name Hydra takes the first
    return dict(sorted(found.items()))


def config_folders(hydra: Any) -> list[Traversable]:
    """Folders that a config was composed from, in Hydra's order."""
    sources = [source for source in hydra.runtime.config_sources if source.schema in ("file", "pkg")]
    return [files(source.path) if source.schema == "pkg" else Path(source.path) for source in sources]


def read_values(file: Traversable) -> Any:
    """Values that a YAML file holds."""
    return OmegaConf.create(file.read_text(encoding="utf-8"))
