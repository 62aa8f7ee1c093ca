"""Batches of token windows, in an order whose whole state is one number.

A window of training is block_size + 1 tokens; the next one starts block_size further. An epoch is one
permutation of the windows, drawn from (seed, epoch), and sample i of the stream is window
`permutation(i // windows)[i % windows]`: a pure function of (seed, i). So the whole state of the
loader is how many samples are used up, the same for any number of workers and ranks. Validation reads each document
alone, as evaluation does, so that its score does not depend on what is read beside it.

B batch, T time.
"""

from collections.abc import Iterator
from typing import Any

import lightning as L
import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset, Sampler

from smallgpt.data.document_windows import document_windows
from smallgpt.data.prepared_data import PreparedData
from smallgpt.errors import UserError
from smallgpt.stop_signals import leave_signals_to_the_main_process

Batch = dict[str, torch.Tensor]
IGNORED = -100


class Order:
    """Order of the training stream: sample i is item `permutation(i // items)[i % items]`, drawn from (seed, epoch)."""

    def __init__(self, items: int, seed: int):
        self.items, self.seed = items, seed
        self._epoch: tuple[int, np.ndarray] | None = None

    def __call__(self, sample: int) -> int:
        epoch, place = divmod(sample, self.items)
        if self._epoch is None or self._epoch[0] != epoch:
            generator = np.random.default_rng([self.seed, epoch])
            self._epoch = epoch, generator.permutation(self.items)
        return int(self._epoch[1][place])


class TrainWindows(Dataset[Batch]):
    """The endless training stream; an item is a batch, asked for by its global sample indices."""

    def __init__(self, prepared: PreparedData, block_size: int, seed: int):
        self.prepared, self.block_size = prepared, block_size
        self.windows = (prepared.train_tokens - 1) // block_size
        self.window = Order(self.windows, seed)
        self._tokens: np.ndarray | None = None

    def __getitem__(self, index: list[int]) -> Batch:
        if self._tokens is None:  # opened in the process that reads
            self._tokens = self.prepared.train()
        starts = [self.window(sample) * self.block_size for sample in index]
        rows = np.stack([self._tokens[start : start + self.block_size + 1] for start in starts])
        if rows.max() >= self.prepared.vocab_size:  # of a file that is too large to be compared with its hash
            raise UserError(
                f"{self.prepared.directory / 'train.bin'}: damaged (token {rows.max()} of {self.prepared.vocab_size}); "
                f"remove {self.prepared.directory}, and it is prepared again"
            )
        return batch_of(rows.astype(np.int64))


class ValidationWindows(Dataset[Batch]):
    """The first held-out documents, each alone behind its EOT, in windows that score each of its tokens once.

    The longest windows come first, and a batch is as wide as its longest, so that short documents cost little. Past the
    last window come rows without targets, so that all ranks have batches of as many rows. `bytes`, (B,), are those of a
    document in the row of its last window, so that all batches together have each document's.
    """

    def __init__(self, prepared: PreparedData, block_size: int, documents: int):
        self.tokens, self.eos_id = prepared.validation(), prepared.eos_id
        ends = np.load(prepared.directory / "validation_ends.npy")[:documents].tolist()
        sizes = np.load(prepared.directory / "validation_bytes.npy")[:documents].tolist()
        windows, unread = [], 0
        for start, end, size in zip([0, *ends[:-1]], ends, sizes, strict=True):
            pieces = list(document_windows(end - start - 1, block_size))
            unread += 0 if pieces else size  # its tokenizer knows none of its words
            windows += [(start, piece, size if piece is pieces[-1] else 0) for piece in pieces]
        windows.sort(key=lambda placed: placed[1].length, reverse=True)
        self.windows = [(start, piece) for start, piece, _ in windows]
        self.sizes = [size for _, _, size in windows]
        self.sizes[:1] = [size + unread for size in self.sizes[:1]]

    def __getitem__(self, index: list[int]) -> Batch:
        windows = [self.windows[number] for number in index if number < len(self.windows)]
        width = max((window.length for _, window in windows), default=1)
        ids_BT = np.full((len(index), width), self.eos_id, dtype=np.int64)
        targets_BT = np.full((len(index), width), IGNORED, dtype=np.int64)
        for row, (start, (first, begin, end)) in enumerate(windows):
            ids_BT[row, : end - first] = self.tokens[start + first : start + end]
            targets_BT[row, begin - first : end - first] = self.tokens[start + begin + 1 : start + end + 1]
        sizes_B = [self.sizes[number] if number < len(self.sizes) else 0 for number in index]
        return {
            "input_ids": torch.from_numpy(ids_BT),
            "targets": torch.from_numpy(targets_BT),
            "bytes": torch.tensor(sizes_B, dtype=torch.int64),
        }


def batch_of(rows: np.ndarray) -> Batch:
    """Batch of (B, T + 1) tokens: the inputs and the targets one step ahead, both (B, T)."""
    rows_BT = torch.from_numpy(rows)
    # clones: of one row both would be views of the same memory
    return {"input_ids": rows_BT[:, :-1].clone(), "targets": rows_BT[:, 1:].clone()}


class RankBatches(Sampler[list[int]]):
    """Lists of global indices for one rank: index i of the stream goes to rank i % world.

    `stop` is None for the endless training stream; `start` is asked each time a pass begins.
    """

    def __init__(self, module: "StreamDataModule", stop: int | None):
        self.module, self.stop = module, stop

    def __iter__(self) -> Iterator[list[int]]:
        rank, world = self.module.rank_and_world()
        step = self.module.micro_batch_size * world
        start = self.module.begin_pass() if self.stop is None else 0
        while self.stop is None or start < self.stop:
            yield list(range(start + rank, start + step, world))
            start += step


class FiniteRankBatches(RankBatches):
    """Sampler with an end, so that its length is known."""

    def __len__(self) -> int:
        _, world = self.module.rank_and_world()
        return -(-(self.stop or 0) // (self.module.micro_batch_size * world))


class StreamDataModule(L.LightningDataModule):
    """Data module of an endless stream of training samples, whose place is one number, and of held-out batches.

    first_sample: where the training stream starts, a global sample index.
    """

    def __init__(self, micro_batch_size: int, workers: int = 0):
        super().__init__()
        self.micro_batch_size, self.workers = micro_batch_size, workers
        self.first_sample = 0
        self._steps_before: int | None = None

    def loader(self, batches: Dataset[Batch], indices: RankBatches, workers: int) -> DataLoader:
        """Loader of the batches that lists of indices ask for."""
        trainer = self.trainer
        return DataLoader(
            batches,
            sampler=indices,
            batch_size=None,
            num_workers=workers,
            persistent_workers=workers > 0,
            worker_init_fn=leave_signals_to_the_main_process,
            pin_memory=trainer is not None and trainer.strategy.root_device.type == "cuda",
            # Without one, each pass would draw from the global generator and disturb training.
            generator=torch.Generator(),
        )

    def rank_and_world(self) -> tuple[int, int]:
        return (self.trainer.global_rank, self.trainer.world_size) if self.trainer else (0, 1)

    def samples_per_step(self) -> int:
        """Number of samples of one optimizer step, over all ranks."""
        accumulated = self.trainer.accumulate_grad_batches if self.trainer else 1
        return self.micro_batch_size * self.rank_and_world()[1] * accumulated

    def consumed_samples(self) -> int:
        """Number of samples of finished optimizer steps, counted from the start of the stream."""
        if self.trainer is None or self._steps_before is None:
            return self.first_sample
        steps = self.trainer.global_step - self._steps_before
        return self.first_sample + steps * self.samples_per_step()

    def begin_pass(self) -> int:
        """Starts a pass over the training stream behind the samples that are used up."""
        self.first_sample = self.consumed_samples()
        self._steps_before = self.trainer.global_step if self.trainer else None
        return self.first_sample

    def state_dict(self) -> dict[str, Any]:
        return {"first_sample": self.consumed_samples()}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.first_sample = state_dict["first_sample"]
        self._steps_before = None


class TokenDataModule(StreamDataModule):
    """Batches {"input_ids": (B, T), "targets": (B, T)}, int64; target -100 is not scored. Held-out ones have "bytes".

    epoch_tokens: targets in one pass over the training text.
    validation_documents, validation_targets: those that are scored, the first whole ones within
    `validation_tokens` tokens (None: all). Their EOTs are not scored.
    """

    def __init__(
        self,
        prepared: PreparedData,
        block_size: int,
        micro_batch_size: int,
        seed: int,
        workers: int = 0,
        validation_tokens: int | None = None,
    ):
        super().__init__(micro_batch_size, workers)
        self.prepared, self.block_size = prepared, block_size
        self.train_windows = TrainWindows(prepared, block_size, seed)
        if not self.train_windows.windows:
            raise UserError(
                f"data={prepared.name}: its {prepared.train_tokens} training tokens are less than "
                f"one window of model.block_size={block_size}; give more text or a smaller block"
            )
        self.epoch_tokens = self.train_windows.windows * block_size
        self.validation_documents, tokens, _ = prepared.held_out(validation_tokens)
        self.validation_targets = tokens - self.validation_documents

    def train_dataloader(self) -> DataLoader[Batch]:
        return self.loader(self.train_windows, RankBatches(self, None), self.workers)

    def val_dataloader(self) -> DataLoader[Batch]:
        windows = ValidationWindows(self.prepared, self.block_size, self.validation_documents)
        return self.loader(windows, FiniteRankBatches(self, len(windows.windows)), 0)
