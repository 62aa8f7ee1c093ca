"""Step `training`: a step of smallgpt beside one of a plain PyTorch loop, in turn, and what our trainer adds to it.

All train a GPT of the same shape on random tokens with fused AdamW and clipping, in bf16 where the device is made for
it.
Memory is what a step takes beside the other contestants' weights: its own weights and moments, and the growth while it
runs.
"""

import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import lightning as L
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader

from benchmarks.gpu.plain_gpt import PlainGPT
from benchmarks.gpu.rows import row
from benchmarks.inference import shape
from smallgpt.machine.device import native_precision
from smallgpt.machine.memory import peak_memory
from smallgpt.machine.rates import now, peak_flops
from smallgpt.models.cost import cost
from smallgpt.models.gpt import GPT, GPTConfig
from smallgpt.training.checkpoints import Checkpoints
from smallgpt.training.metrics import MetricsFile, Recorder
from smallgpt.training.module import LanguageModel
from smallgpt.training.objectives import NextToken
from smallgpt.training.optimizers import AdamW
from smallgpt.training.progress import ProgressLine
from smallgpt.training.run_length import RunLength
from smallgpt.training.schedules import Constant
from smallgpt.training.trainer import build_trainer
from smallgpt.training.validation_schedule import ValidationSchedule

ROUNDS, STEPS = 5, 10
STATE_BYTES = 12  # of a weight: itself and AdamW's two moments; its gradient is taken and freed in each step
SIZES = {"paper": 16, "gpt2": 16}  # sequences of a step
TINY = {"debug": 4}
PLAIN, OURS = "plain loop, compiled", "smallgpt, compiled"


class Contestant:
    """A model and its loop, which takes as many steps as it is asked for."""

    def __init__(self, model: nn.Module, loss: Callable[[Tensor, Tensor], Tensor], device: torch.device) -> None:
        self.model, self.loss, self.device = model, loss, device
        self.bf16 = native_precision(device) == "bf16"
        matrices, vectors = ([p for p in model.parameters() if (p.dim() > 1) == large] for large in (True, False))
        groups = [{"params": matrices, "weight_decay": 0.1}, {"params": vectors, "weight_decay": 0.0}]
        self.optimizer = torch.optim.AdamW(groups, lr=1e-4, betas=(0.9, 0.95), fused=True)
        self.state_bytes = STATE_BYTES * sum(p.numel() for p in model.parameters())

    def steps(self, inputs: Tensor, targets: Tensor, count: int) -> float:
        """Seconds of one step, the mean over `count`."""
        start = now(self.device)
        for _ in range(count):
            with torch.autocast(self.device.type, torch.bfloat16, enabled=self.bf16):
                loss = self.loss(inputs, targets)
            loss.backward()
            torch.nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
            self.optimizer.step()
            self.optimizer.zero_grad()
        return (now(self.device) - start) / count


def contestants(values: dict[str, Any], device: torch.device) -> dict[str, Contestant]:
    """Plain and ours, each eager and compiled; every one has weights of its own."""

    def plain(compiled: bool) -> Contestant:
        model = PlainGPT(**values).to(device)
        return Contestant(model, torch.compile(model) if compiled else model, device)

    def ours(compiled: bool) -> Contestant:
        model = GPT(GPTConfig(**values)).train().to(device)
        objective = NextToken(model, compiled)
        return Contestant(model, lambda ids, targets: objective.mean({"input_ids": ids, "targets": targets}), device)

    return {
        "plain loop, eager": plain(False),
        PLAIN: plain(True),
        "smallgpt, eager": ours(False),
        OURS: ours(True),
    }


class SameBatch(L.LightningDataModule):
    """The same batch again and again."""

    def __init__(self, inputs: Tensor, targets: Tensor, batches: int) -> None:
        super().__init__()
        self.batch, self.batches = {"input_ids": inputs.cpu(), "targets": targets.cpu()}, batches

    def train_dataloader(self) -> DataLoader:
        return DataLoader([self.batch] * self.batches, batch_size=None, pin_memory=torch.cuda.is_available())

    def val_dataloader(self) -> DataLoader:
        few = {name: value[:1] for name, value in self.batch.items()}
        return DataLoader([few | {"bytes": torch.tensor([1000])}], batch_size=None)


def in_our_trainer(
    values: dict[str, Any], inputs: Tensor, targets: Tensor, device: torch.device, folder: Path, steps: int
) -> float:
    """Seconds of a step of a whole run, compiled: the mean between two rows of its metrics, which wait for the device.

    The first row has the start, and what is compiled, in it.
    """
    length = RunLength(steps=3 * steps)
    model = GPT(GPTConfig(**values))
    module = LanguageModel(model, AdamW(lr=1e-4), Constant(warmup=0), length, compile=True)
    recorder = Recorder(inputs.numel(), flops_per_token=1.0, peak_flops=1.0, every=steps)
    (folder / "tokenizer").mkdir(parents=True, exist_ok=True)
    (folder / "metrics.csv").unlink(missing_ok=True)
    metrics = MetricsFile(folder / "metrics.csv")
    checkpoints = Checkpoints(folder / "checkpoints", folder / "tokenizer", metrics)
    callbacks = [ValidationSchedule(4 * steps), recorder, ProgressLine(recorder), checkpoints]
    precision = native_precision(device)
    trainer = build_trainer(folder, callbacks, [metrics], accelerator=device.type, precision=precision)
    trainer.fit(module, datamodule=SameBatch(inputs, targets, 3 * steps))
    seconds = [each["seconds"] for each in metrics.kept() if "train/loss" in each]
    return (seconds[-1] - seconds[0]) / (2 * steps)


def of_size(size: str, sequences: int, rate: float, device: torch.device, folder: Path, tiny: bool) -> list[dict]:
    """Rows of one size: time, MFU and memory of every contestant; `rate` is that of a matrix product."""
    rounds, steps = (2, 2) if tiny else (ROUNDS, STEPS)
    values = shape(size) | ({"vocab_size": 512, "n_layer": 2} if tiny else {})
    config = GPTConfig(**values)
    chance = torch.Generator().manual_seed(0)
    ids = torch.randint(0, config.vocab_size, (sequences, config.block_size + 1), generator=chance)
    inputs, targets = (part.contiguous().to(device) for part in (ids[:, :-1], ids[:, 1:]))
    rows, taking, peaks, times = [], contestants(values, device), {}, {}
    for name, each in taking.items():
        start = time.perf_counter()
        each.steps(inputs, targets, 1)  # compiles, and takes the moments
        if "compiled" in name:
            rows.append(row(f"{size}: {name}: first step", time.perf_counter() - start, "s"))
        each.steps(inputs, targets, 1)
        growth = peak_memory(lambda each=each: each.steps(inputs, targets, 1), device).growth
        peaks[name], times[name] = each.state_bytes + (growth or 0), []
    for _ in range(rounds):
        for name, each in taking.items():
            times[name].append(each.steps(inputs, targets, steps))
    flops = cost(config).training_flops_per_token * inputs.numel()
    del taking
    framework = in_our_trainer(values, inputs, targets, device, folder / size, steps)
    for name, own in times.items():
        middle = statistics.median(own)
        faster = statistics.median(plain / mine for plain, mine in zip(times[PLAIN], own, strict=True))
        ours = name == OURS
        rows += [
            row(f"{size}: {name}: tokens a second", inputs.numel() / middle, "tokens/s"),
            row(f"{size}: {name}: speed over {PLAIN}", faster, "x", least=1.0 if ours else None),
            row(f"{size}: {name}: MFU", flops / middle / rate, least=0.45 if ours and size == "gpt2" else None),
            row(f"{size}: {name}: peak memory", peaks[name] / 1e9, "GB"),
        ]
    bare = statistics.median(times[OURS])
    rows.append(row(f"{size}: what our trainer adds to a step", 100 * (framework / bare - 1), "% (goal: under 1)"))
    return rows


def measure(folder: Path, tiny: bool) -> list[dict[str, Any]]:
    """Rows of every size, and the rate that MFU is a share of: that of a large matrix product, measured here."""
    device = torch.device("cpu" if tiny else "cuda")
    precision = native_precision(device)
    rate = peak_flops(device, precision)
    assert rate is not None
    rows = [row(f"matrix product in {precision}", rate / 1e12, "TFLOP/s")]
    for size, sequences in (TINY if tiny else SIZES).items():
        rows += of_size(size, sequences, rate, device, folder, tiny)
    return rows
