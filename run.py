"""The only entry point: Hydra composes the config and hands it to the chosen task."""

import sys
from pathlib import Path
from typing import Any

import hydra
from omegaconf import DictConfig

from smallgpt.launch import resolvers
from smallgpt.launch.command_line import guarded


@hydra.main(version_base="1.3", config_path="conf", config_name="config")
def main(cfg: DictConfig) -> dict[str, Any]:
    from smallgpt.launch.job import run_job

    return run_job(cfg)


if __name__ == "__main__":
    resolvers.register()
    # where Hydra looks for the namespace package `hydra_plugins`, which has the launcher
    sys.path.append(str(Path(__file__).parent / "smallgpt" / "launch"))
    sys.exit(guarded(main))
