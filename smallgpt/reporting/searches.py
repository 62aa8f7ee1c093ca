"""What a sweep's own record says of a search: its metrics, and the search whose front it has trained."""

from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from smallgpt.settings.group import one_or_several


def searched_metrics(sweep_dir: Path) -> tuple[str, ...]:
    """Metrics of a search with several, or of the one whose front a sweep has trained; empty for any other sweep."""
    sweeper = sweeper_of(sweep_dir)
    metrics = tuple(one_or_several(sweeper.get("metric")))
    if len(metrics) > 1:
        return metrics
    front = sweeper.get("front")
    return searched_metrics(Path(sweeper["cwd"], front)) if front and Path(front) != sweep_dir else ()


def is_search(sweep_dir: Path) -> bool:
    """Whether a sweep was a search with several metrics."""
    return len(one_or_several(sweeper_of(sweep_dir).get("metric"))) > 1


def sweeper_of(sweep_dir: Path) -> dict[str, Any]:
    """Options of the sweeper in Hydra's record of a sweep, and the folder it was started in; empty without one."""
    try:
        hydra: Any = OmegaConf.load(sweep_dir / "multirun.yaml").hydra
        found: Any = OmegaConf.to_container(hydra.sweeper, resolve=False)
        return {**found, "cwd": str(hydra.runtime.cwd)}
    except Exception:  # there is none, or it is damaged; of YAML, of OmegaConf, of the disk
        return {}
