"""Step `processes`: the losses of a run in one process and in two that share the device, which must be equal.

NCCL refuses two processes on one card, so these talk by Gloo. Their trainer, module and strategy are those of any run.
"""

import multiprocessing
import os
import shutil
import socket
from pathlib import Path
from typing import Any

import lightning as L
import torch
from lightning.fabric.plugins.environments import TorchElasticEnvironment
from lightning.pytorch.accelerators import CUDAAccelerator
from torch.utils.data import DataLoader

from benchmarks.gpu.rows import check
from smallgpt.models.gpt import GPT, GPTConfig
from smallgpt.training.checkpoints import Checkpoints
from smallgpt.training.metrics import MetricsFile, Recorder
from smallgpt.training.module import LanguageModel
from smallgpt.training.optimizers import AdamW
from smallgpt.training.processes import DDP
from smallgpt.training.run_length import RunLength
from smallgpt.training.schedules import Constant
from smallgpt.training.trainer import build_trainer
from smallgpt.training.validation_schedule import ValidationSchedule

STEPS, ROWS, TIME, VOCABULARY = 20, 16, 128, 512
CLOSE = 1e-3  # nats: two halves are summed in another order than one whole


class SharedCard(CUDAAccelerator):
    """Lightning's accelerator for several processes on one card, which its own refuses."""

    @staticmethod
    def parse_devices(devices: int) -> list[int]:
        return list(range(devices))

    @staticmethod
    def get_parallel_devices(devices: list[int]) -> list[torch.device]:
        return [torch.device("cuda", 0) for _ in devices]


class Halves(L.LightningDataModule):
    """Batches of which each process has its part of the rows."""

    def __init__(self, rank: int, world: int) -> None:
        super().__init__()
        chance = torch.Generator().manual_seed(0)
        ids = torch.randint(VOCABULARY, (STEPS, ROWS, TIME + 1), generator=chance)[:, rank::world]
        self.batches = [{"input_ids": each[:, :-1], "targets": each[:, 1:].contiguous()} for each in ids]

    def train_dataloader(self) -> DataLoader:
        return DataLoader(self.batches, batch_size=None)

    def val_dataloader(self) -> DataLoader:
        return DataLoader([self.batches[0] | {"bytes": torch.tensor([100])}], batch_size=None)


def side(rank: int, world: int, kind: str, folder: Path, port: int) -> None:
    """One process of a run, which has been started as torchrun would."""
    variables = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": world, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    os.environ.update({name: str(value) for name, value in variables.items()})
    torch.manual_seed(0)
    model = GPT(GPTConfig(n_layer=2, n_head=4, n_embd=128, block_size=TIME, vocab_size=VOCABULARY))
    module = LanguageModel(model, AdamW(lr=1e-3), Constant(warmup=0), RunLength(steps=STEPS))
    recorder = Recorder(ROWS * TIME, flops_per_token=1.0, peak_flops=None, every=1)
    (folder / "tokenizer").mkdir(parents=True, exist_ok=True)
    metrics = MetricsFile(folder / "metrics.csv" if rank == 0 else Path(os.devnull))
    checkpoints = Checkpoints(folder / "checkpoints", folder / "tokenizer", metrics)
    environment = TorchElasticEnvironment()
    trainer = build_trainer(
        folder,
        [ValidationSchedule(2 * STEPS), recorder, checkpoints],
        [metrics] if rank == 0 else [],
        accelerator=SharedCard() if kind == "cuda" else kind,  # ty: ignore[invalid-argument-type]
        devices=world,
        strategy=DDP(folder, cluster_environment=environment, process_group_backend="gloo"),
    )
    trainer.fit(module, datamodule=Halves(rank, world))


def losses(world: int, kind: str, folder: Path) -> list[float]:
    """Training losses of a run in so many processes."""
    folder = folder / str(world)
    shutil.rmtree(folder, ignore_errors=True)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    context = multiprocessing.get_context("spawn")
    processes = [context.Process(target=side, args=(rank, world, kind, folder, port)) for rank in range(world)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    if any(process.exitcode for process in processes):
        raise SystemExit(f"{world} processes ended with {[process.exitcode for process in processes]}")
    rows = (folder / "metrics.csv").read_text().splitlines()
    place = rows[0].split(",").index("train/loss")
    return [float(text) for row in rows[1:] if (text := row.split(",")[place])]


def measure(folder: Path, tiny: bool) -> list[dict[str, Any]]:
    """How far the losses of one and of two processes are apart, at most."""
    one, two = (losses(world, "cpu" if tiny else "cuda", folder) for world in (1, 2))
    apart = max(abs(a - b) for a, b in zip(one, two, strict=True))
    return [check(f"losses of {STEPS} steps in one process and in two", len(one) == STEPS and apart < CLOSE, apart)]
