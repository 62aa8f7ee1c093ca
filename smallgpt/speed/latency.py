"""Latency of a model beside a baseline, measured on this machine and kept.

    <cache_dir>/latency/<model type>-<fingerprint>.json     the conditions, and each size that was measured under them

A size is measured once, by one process at a time: all jobs of a sweep, and later ones, find the same numbers.
"""

import hashlib
import json
import statistics
import time
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import asdict
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
import transformers
from filelock import FileLock, Timeout
from pydantic import Field

from smallgpt.environment import cpu_name
from smallgpt.errors import UserError, one_line
from smallgpt.files import write_text
from smallgpt.machine.cores import available_cores
from smallgpt.machine.device import device
from smallgpt.models.configuration import DecoderConfig
from smallgpt.models.matching import LATENCY, Quantity, amount
from smallgpt.notices import say
from smallgpt.settings import Benchmark, Group, Trainer
from smallgpt.speed.benchmark import fitted, in_turn
from smallgpt.speed.measured_models import MeasuredModel

# short rounds, so that the two models of a round meet the same disturbances
WORK = Benchmark(prompts=(64,), batches=(1,), new_tokens=16)
SECONDS = 4.0  # about what a size takes, within these numbers of rounds
LEAST_ROUNDS, MOST_ROUNDS = 7, 51
NO_MATTER = {"dropout", "allow_narrow"}


class Size(Group):
    """Measurement of one size, in seconds per token."""

    n_layer: int
    n_embd: int
    seconds: float = Field(gt=0)
    """Time of the baseline, times the median over the rounds of how many times as long the model took."""
    baseline_seconds: float = Field(gt=0)
    """Median time of the baseline over the same rounds."""


class Kept(Group):
    """Content of a latency file: the conditions, and the sizes that were measured under them."""

    conditions: dict[str, Any]
    sizes: tuple[Size, ...]


class Latencies:
    """Latencies of a model at any size, with random weights: one sequence, decoded greedily, with the cache."""

    def __init__(
        self,
        model_class: type,
        config: DecoderConfig,
        baseline_class: type,
        baseline: DecoderConfig,
        trainer: Trainer,
        cache_dir: Path,
    ):
        if trainer.num_nodes > 1:
            raise UserError(f"trainer.num_nodes={trainer.num_nodes}: a latency is measured on one machine")
        self.model_type = config.model_type
        self.model_class, self.baseline_class, self.baseline = model_class, baseline_class, baseline
        self.device = device(trainer.accelerator)
        # not PyTorch's choice, which is another one in each job of a sweep that shares the machine
        self.threads = trainer.threads or available_cores()
        self.work = fitted(WORK, config.block_size)[0][-1]
        size = {"n_layer", "n_embd"}
        self.conditions = {
            "model": {key: value for key, value in latency_conditions(config).items() if key not in size},
            "baseline": latency_conditions(baseline),
            "work": asdict(self.work),
            "processor": cpu_name(),
            "device": torch.cuda.get_device_name() if self.device.type == "cuda" else self.device.type,
            "threads": self.threads,
            "torch": torch.__version__,
            "transformers": transformers.__version__,
        }
        text = json.dumps(self.conditions, sort_keys=True)
        fingerprint = hashlib.sha256(text.encode()).hexdigest()[:16]
        self.cache_dir = cache_dir
        self.path = cache_dir / "latency" / f"{config.model_type}-{fingerprint}.json"

    @property
    def quantity(self) -> Quantity:
        """Latency as a quantity that `match` can make equal."""
        return Quantity(LATENCY, self.of, measured=True)

    def of(self, config: DecoderConfig) -> tuple[float, float]:
        """Seconds per token of the model at this size, and of the baseline; measured where not known yet."""
        size = self.known(config) or self.found_out(config)
        return size.seconds, size.baseline_seconds

    def known(self, config: DecoderConfig) -> Size | None:
        """Kept measurement of a config's size; None where there is none."""
        sizes = [size for size in self.read() if (size.n_layer, size.n_embd) == (config.n_layer, config.n_embd)]
        return sizes[0] if sizes else None

    def read(self) -> tuple[Size, ...]:
        """Kept measurements; none where the file is damaged, so that all is measured again."""
        try:
            return Kept.model_validate_json(self.path.read_text()).sizes
        except (OSError, ValueError):
            return ()

    def found_out(self, config: DecoderConfig) -> Size:
        """Measures a size and keeps it. Raises UserError where the cache cannot be written."""
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with alone(self.path.with_name(".lock")):
                if size := self.known(config):  # from another process
                    return size
                seconds, baseline_seconds = self.measure(config)
                values = {"seconds": seconds, "baseline_seconds": baseline_seconds}
                size = Size(n_layer=config.n_layer, n_embd=config.n_embd, **values)
                kept = Kept(conditions=self.conditions, sizes=(*self.read(), size))
                write_text(self.path, json.dumps(kept.model_dump(), indent=2) + "\n")
        except OSError as error:
            raise UserError(
                f"cache_dir={self.cache_dir}: cannot be written ({one_line(error)}); cache_dir=<a folder with space>"
            ) from error
        say(
            f"n_layer={size.n_layer} n_embd={size.n_embd}: {amount(seconds, LATENCY)}, "
            f"{seconds / baseline_seconds - 1:+.1%} of the baseline's"
        )
        return size

    def measure(self, config: DecoderConfig) -> tuple[float, float]:
        """Measures seconds per token of the model at this size, and of the baseline."""
        with self.as_in_a_run():
            subjects = [self.subject_of_baseline]
            if latency_conditions(config) != latency_conditions(self.baseline):
                subjects.append(MeasuredModel(config.model_type, self.model_class(config).to(self.device)))
            in_turn(subjects, [self.work], 1)  # takes memory and warms up
            begin = time.perf_counter()
            in_turn(subjects, [self.work], 1)
            rounds = int(SECONDS / (time.perf_counter() - begin))
            times = in_turn(subjects, [self.work], min(max(rounds, LEAST_ROUNDS), MOST_ROUNDS))
        before, own = times[0][self.work], times[-1][self.work]
        of_baseline = statistics.median(before)
        return of_baseline * statistics.median(b / a for a, b in zip(before, own, strict=True)), of_baseline

    @cached_property
    def subject_of_baseline(self) -> MeasuredModel:
        """The baseline as a measured model, made at its first use."""
        say(
            f"measuring how long {self.model_type} takes for a token beside "
            f"{self.baseline.model_type}, threads: {self.threads}; kept in {self.path}"
        )
        return MeasuredModel("baseline", self.baseline_class(self.baseline).to(self.device))

    @contextmanager
    def as_in_a_run(self) -> Generator[None]:
        """Runs the block with the threads of a run; leaves them and the random state as they were."""
        threads = torch.get_num_threads()
        torch.set_num_threads(self.threads)
        try:
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(0)
                yield
        finally:
            torch.set_num_threads(threads)


def latency_conditions(config: DecoderConfig) -> dict[str, Any]:
    """Model type and config fields that a token's time depends on."""
    values = {key: getattr(config, key) for key in config.settable() if key not in NO_MATTER}
    return {"model_type": config.model_type, **values}


@contextmanager
def alone(path: Path) -> Generator[None]:
    """Holds a lock during the block so that nobody else measures: two at a time would measure each other."""
    lock = FileLock(path)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        say("waiting for another process that measures latencies")
        lock.acquire()
    try:
        yield
    finally:
        lock.release()
