"""The order of samples is a pure function of seed and index; validation scores each target once."""

from collections.abc import Iterator
from itertools import islice, pairwise
from types import SimpleNamespace
from typing import Any

import lightning as L
import numpy as np
import pytest
import torch
from transformers import AutoTokenizer

from smallgpt.data.datamodule import Batch, TokenDataModule
from smallgpt.data.prepared_data import PreparedData

T, B = 16, 4


def module(prepared: PreparedData, rank: int = 0, world: int = 1, **settings: Any) -> TokenDataModule:
    values = {"block_size": T, "micro_batch_size": B, "seed": 7, **settings}
    data = TokenDataModule(prepared, **values)
    if world > 1:
        data.trainer = SimpleNamespace(  # type: ignore[assignment]
            global_rank=rank,
            world_size=world,
            global_step=0,
            accumulate_grad_batches=1,
            strategy=SimpleNamespace(root_device=torch.device("cpu")),
        )
    return data


def stream(data: TokenDataModule) -> Iterator[list[int]]:
    """The training samples one by one, as the tokens of their windows."""
    for batch in data.train_dataloader():
        assert batch["input_ids"].shape == batch["targets"].shape == (B, T)
        assert batch["input_ids"].dtype == batch["targets"].dtype == torch.int64
        assert torch.equal(batch["input_ids"][:, 1:], batch["targets"][:, :-1])
        yield from torch.cat([batch["input_ids"], batch["targets"][:, -1:]], 1).tolist()


def test_an_epoch_is_each_window_once(prepared: PreparedData) -> None:
    data = module(prepared)
    count = data.epoch_tokens // T
    tokens = prepared.train()
    windows = [tokens[start * T : start * T + T + 1].tolist() for start in range(count)]
    samples = list(islice(stream(data), 2 * count))
    first, second = samples[:count], samples[count:]
    assert sorted(first) == sorted(second) == sorted(windows)
    assert first != second != windows != first
    assert count == (prepared.train_tokens - 1) // T


def test_order_follows_the_seed(prepared: PreparedData) -> None:
    first = list(islice(stream(module(prepared)), 50))
    assert first == list(islice(stream(module(prepared)), 50))
    assert first != list(islice(stream(module(prepared, seed=8)), 50))


def test_workers_change_nothing(prepared: PreparedData) -> None:
    expected = list(islice(stream(module(prepared)), 100))
    assert list(islice(stream(module(prepared, workers=2)), 100)) == expected


def test_ranks_share_the_stream(prepared: PreparedData) -> None:
    expected = list(islice(stream(module(prepared)), 80))
    ranks = [list(islice(stream(module(prepared, rank, 2)), 40)) for rank in range(2)]
    assert [sample for pair in zip(*ranks, strict=True) for sample in pair] == expected


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("world", [1, 2])
def test_restart_anywhere(prepared: PreparedData, workers: int, world: int) -> None:
    count = module(prepared).epoch_tokens // T
    expected = list(islice(stream(module(prepared)), 2 * count + 80))
    for start in (1, 8, count - 3, count, 2 * count + 1):
        ranks = []
        for rank in range(world):
            data = module(prepared, rank, world, workers=workers)
            data.load_state_dict({"first_sample": start})
            assert data.state_dict() == {"first_sample": start}
            ranks.append(list(islice(stream(data), 8)))
        samples = [sample for group in zip(*ranks, strict=True) for sample in group]
        assert samples == expected[start : start + 8 * world]


def test_global_generators_are_left_alone(prepared: PreparedData) -> None:
    data = module(prepared, validation_tokens=100)
    np.random.seed(0)
    before = torch.get_rng_state(), np.random.get_state()[1].tolist()  # type: ignore[union-attr]
    list(islice(stream(data), 10))
    list(data.val_dataloader())
    assert torch.equal(before[0], torch.get_rng_state())
    assert before[1] == np.random.get_state()[1].tolist()  # type: ignore[union-attr]


def scored(batches: list[Batch]) -> list[tuple[int, int]]:
    """(input, target) of all that is scored, sorted."""
    pairs = []
    for batch in batches:
        assert batch["input_ids"].shape == batch["targets"].shape
        keep = batch["targets"] != -100
        pairs += zip(batch["input_ids"][keep].tolist(), batch["targets"][keep].tolist(), strict=True)
        assert batch["input_ids"].min() >= 0
    return sorted(pairs)


@pytest.mark.parametrize("limit", [1, 500, 2000, None])
@pytest.mark.parametrize("block_size", [T, 7, 10_000])
@pytest.mark.parametrize("micro", [1, 2, B])
def test_each_held_out_token_once_and_exact_bytes(
    prepared: PreparedData, limit: int | None, block_size: int, micro: int
) -> None:
    data = module(prepared, block_size=block_size, validation_tokens=limit, micro_batch_size=micro)
    documents = prepared.held_out_documents(limit)
    pairs = [pair for ids, _ in documents for pair in pairwise([prepared.eos_id, *ids.tolist()])]
    batches = list(data.val_dataloader())
    assert scored(batches) == sorted(pairs) and len(pairs) == data.validation_targets
    assert all(len(batch["targets"]) == micro and batch["targets"].shape[1] <= block_size for batch in batches)
    assert limit is None or data.validation_targets <= limit or data.validation_documents == 1
    tokenizer = AutoTokenizer.from_pretrained(prepared.tokenizer_dir)
    sizes = torch.cat([batch["bytes"] for batch in batches])
    assert int(sizes.sum()) == sum(len(tokenizer.decode(ids).encode()) for ids, _ in documents)
    assert len(sizes) == micro * len(batches) and int((sizes > 0).sum()) == len(documents)
    assert data.validation_documents == len(documents)


def test_ranks_share_validation(prepared: PreparedData) -> None:
    whole = module(prepared)
    expected = scored(list(whole.val_dataloader()))
    batches = [list(module(prepared, rank, 3).val_dataloader()) for rank in range(3)]
    assert len({len(each) for each in batches}) == 1, "ranks must take the same number of steps"
    assert len(module(prepared, 0, 3).val_dataloader()) == len(batches[0])
    assert scored([batch for each in batches for batch in each]) == expected


def test_inputs_and_targets_share_no_memory(prepared: PreparedData) -> None:
    for micro in (1, B):
        data = module(prepared, micro_batch_size=micro)
        for batch in (next(iter(data.train_dataloader())), next(iter(data.val_dataloader()))):
            targets = batch["targets"].clone()
            batch["input_ids"].zero_()
            assert torch.equal(batch["targets"], targets)


class Recorder(L.LightningModule):
    """Writes down the samples of each finished optimizer step."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(()))
        self.seen: list[list[int]] = []

    def training_step(self, batch: Batch) -> torch.Tensor:
        self.seen += batch["input_ids"].tolist()
        return self.weight * 1.0

    def validation_step(self, batch: Batch) -> None:
        pass

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.1)


def trainer(steps: int, accumulate: int, **settings: Any) -> L.Trainer:
    return L.Trainer(
        accelerator="cpu",
        max_steps=steps,
        accumulate_grad_batches=accumulate,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        limit_val_batches=1,
        val_check_interval=2 * accumulate,
        check_val_every_n_epoch=None,
        **settings,
    )


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("settings", [{}, {"limit_train_batches": 4}])
def test_training_goes_on_where_it_stopped(prepared: PreparedData, tmp_path: Any, settings: dict[str, Any]) -> None:
    expected = [row[:-1] for row in islice(stream(module(prepared)), 9 * 2 * B)]
    first, second = Recorder(), Recorder()
    stopped = trainer(4, 2, **settings)
    stopped.fit(first, datamodule=module(prepared))
    stopped.save_checkpoint(tmp_path / "stopped.ckpt")
    state = torch.load(tmp_path / "stopped.ckpt", weights_only=True)["TokenDataModule"]
    assert state == {"first_sample": 4 * 2 * B}
    # Another accumulation, so that steps before and after differ in size.
    trainer(9, 1).fit(second, datamodule=module(prepared), ckpt_path=tmp_path / "stopped.ckpt")
    assert first.seen + second.seen == expected[: 4 * 2 * B + 5 * B]
