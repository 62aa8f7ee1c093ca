"""The only entry point: Hydra composes the config and hands it to the chosen task."""

import sys
from typing import Any

import hydra
from omegaconf import DictConfig

from smallgpt.launch.command_line import guarded


@hydra.main(version_base="1.3", config_path="conf", config_name="config")
def main(cfg: DictConfig) -> dict[str, Any]:
    from smallgpt.launch.job import run_job

    return run_job(cfg)


if __name__ == "__main__":
    sys.exit(guarded(main))
