"""Resolvers that the YAML files use as `${name:...}`, beside those of Hydra and OmegaConf."""

from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from omegaconf import OmegaConf

from smallgpt.errors import UserError, nearest, program
from smallgpt.launch.config_files import group_files, read_values


def directory(resume: str | None, root: str, new: str) -> str:
    """Directory of a run or sweep: `new` under `root`, or with resume=last the one there that was last written to.

    Raises:
        UserError: there is none.
    """
    if resume != "last":
        return str(Path(root, new))
    paths = Path(root).glob("/".join("*" * len(Path(new).parts)))
    made = [path for path in paths if any(path.glob("config.yaml")) or any(path.glob("*/config.yaml"))]
    if not made:
        raise UserError(f"resume=last: nothing was written to {root} yet; leave resume out")
    return str(max(made, key=lambda path: path.stat().st_ctime))


def variant(name: str, key: str = "match.to") -> Any:
    """The values of a variant's own file; `key` is what names it."""
    variants = group_files("model", HydraConfig.get() if HydraConfig.initialized() else None)
    if name not in variants:
        raise UserError(f"{key}={name}: no such model; there is {', '.join(variants)}{nearest(name, variants)}")
    return read_values(variants[name])


def register() -> None:
    """Registers these resolvers with OmegaConf."""
    # cached: a run that makes its directory must not find another one when asked again
    OmegaConf.register_new_resolver("directory", directory, use_cache=True, replace=True)
    OmegaConf.register_new_resolver("variant", variant, replace=True)
    OmegaConf.register_new_resolver("program", program, replace=True)
