"""A tiny model with its tokenizer, tickets that it can learn to sort, and runs of task=finetune."""

import csv
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from hydra import compose, initialize_config_dir
from small_tickets import SMALL, TEMPLATE, tickets

from smallgpt.data.tokenizers import TrainedBPE
from smallgpt.launch.config_files import CONF
from smallgpt.launch.loading import load_settings
from smallgpt.launch.written_values import as_values
from smallgpt.models.parallelgpt import ParallelGPT, ParallelGPTConfig
from smallgpt.tasks import finetune


@pytest.fixture(scope="session")
def ticket_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("own") / "tickets.csv"
    with path.open("w", newline="") as file:
        table = csv.DictWriter(file, ["text", "label"])
        table.writeheader()
        table.writerows(tickets())
    return path


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Model folder of a ParallelGPT with random weights."""
    folder = tmp_path_factory.mktemp("model")
    texts = [f"{row['text']}\nLabel: {row['label']}\n\n" for row in tickets()]
    tokenizer = TrainedBPE(vocab_size=320).build(texts)
    torch.manual_seed(0)
    shape: dict[str, Any] = {"n_layer": 2, "n_head": 2, "n_embd": 32, "block_size": 48, "dropout": 0.1}
    ParallelGPT(ParallelGPTConfig(vocab_size=320, tie_word_embeddings=False, **shape)).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def run_finetune(tmp_path_factory: pytest.TempPathFactory, ticket_file: Path) -> Callable[..., dict[str, Any]]:
    """Runs task=finetune with overrides; all runs share a cache."""
    cache = tmp_path_factory.mktemp("cache")

    def run(run_dir: Path, checkpoint: Path | str, *words: str) -> dict[str, Any]:
        own = ["data=own", f"data.path={ticket_file}", TEMPLATE]
        data = [] if any(word.startswith("data=") for word in words) else own
        task = ["task=finetune", f"checkpoint={checkpoint}", f"cache_dir={cache}"]
        given = as_values([*task, *data, *SMALL, *words])
        with initialize_config_dir(str(CONF), version_base=None):
            config = compose("config", overrides=given)
        run_dir.mkdir(parents=True, exist_ok=True)
        return finetune.run(load_settings(config, given), run_dir)

    return run
