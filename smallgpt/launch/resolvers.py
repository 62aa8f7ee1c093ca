"""Resolvers that the YAML files use as `${name:...}`, beside those of Hydra and OmegaConf."""

from collections.abc import Generator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf

from smallgpt.errors import UserError, nearest
from smallgpt.hydra_grammar import in_hydra_grammar
from smallgpt.launch.command_line import given
from smallgpt.launch.config_files import group_files, read_values

_sweep: DictConfig | None = None


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


@contextmanager
def jobs_of(sweep: DictConfig) -> Generator[None]:
    """Context in which the jobs of a sweep are composed: `baseline` is then that of the whole sweep."""
    global _sweep
    _sweep = sweep
    try:
        yield
    finally:
        _sweep = None


def baseline(name: str, key: str = "match.to") -> Any:
    """Values of a variant at the size and block of the sweep, or of a single run.

    What a job sets of its model beside is its own, and so is what a recipe sets: one sweep has one baseline. Of
    `model.*` only a size is the sweep's, where it is the same for all its jobs. `key` is what names the variant.
    """
    from smallgpt.run_directory import OF_A_SIZE

    variant(name, key)  # says so where there is no such file
    hydra = HydraConfig.get() if _sweep is None else _sweep.hydra
    loader = GlobalHydra.instance().config_loader()
    words = OverridesParser.create(loader).parse_overrides(given(hydra))
    size = {f"model.{field}" for field in OF_A_SIZE}
    of_size = [word.input_line for word in words if word.key_or_group in size and not word.is_sweep_override()]
    chosen = (*(f"{group}={hydra.runtime.choices[group]}" for group in ("size", "block")), f"model={name}")
    searchpath = [word for word in hydra.overrides.hydra if word.startswith("hydra.searchpath=")]
    folders = tuple(source.path for source in hydra.runtime.config_sources)
    return model_values(str(hydra.job.config_name), (*searchpath, *chosen, *of_size), folders)


@cache
def model_values(config: str, words: tuple[str, ...], folders: tuple[str, ...]) -> Any:
    """Values of the group `model`, as a config has them that is composed from these folders with these words alone."""
    loader = GlobalHydra.instance().config_loader()
    return OmegaConf.to_container(loader.load_configuration(config, list(words), RunMode.RUN).model, resolve=True)


def candidate_arms(models: Any, pretrained: Any) -> list[dict[str, Any]]:
    """Arms of experiment=poc: a variant each, which is trained at matched size, and a trained model each.

    Values of arms are in Hydra's grammar, in which a path may need quotes.
    """
    trained = [{"model": in_hydra_grammar(str(name))} for name in listed(models, "poc.models")]
    found = [*trained, *({"checkpoint": in_hydra_grammar(str(name))} for name in listed(pretrained, "poc.pretrained"))]
    if not found:
        raise UserError("poc.models=[]: there is no candidate; give variants, or poc.pretrained=<a run>")
    return found


def listed(value: Any, key: str) -> list[Any]:
    """One value or several as a list. Raises UserError for keys with values, and for a name that is there twice."""
    if hasattr(value, "items"):
        raise UserError(f"{key}={value}: must be a name, or a list of names")
    several = [] if value is None else [value] if isinstance(value, str | int | float) else list(value)
    if len(set(several)) < len(several):
        raise UserError(f"{key}={several}: one is there twice")
    return several


def register() -> None:
    """Registers these resolvers with OmegaConf."""
    # cached: a run that makes its directory must not find another one when asked again
    OmegaConf.register_new_resolver("directory", directory, use_cache=True, replace=True)
    OmegaConf.register_new_resolver("variant", variant, replace=True)
    OmegaConf.register_new_resolver("baseline", baseline, replace=True)
    OmegaConf.register_new_resolver("candidates", candidate_arms, replace=True)
    OmegaConf.register_new_resolver("in_words", in_hydra_grammar, replace=True)
