"""The micro-batch of a GPU: how it is searched, that it is kept, and that a trial changes nothing."""

import copy
import shutil
from pathlib import Path
from tempfile import mkdtemp

import pytest
import torch
from hydra import compose, initialize_config_dir
from small_words import SMALL
from tiny_run import tiny_model

from smallgpt.launch.config_files import CONF
from smallgpt.launch.loading import load_settings
from smallgpt.machine.device import GPU_SHARE
from smallgpt.training import micro_batch
from smallgpt.training.micro_batch import Trial, largest_worthwhile, with_micro_batch

CUDA = torch.device("cuda")


def searched(sequences, first, rates):
    tried = []

    def rate(size):
        tried.append(size)
        return rates.get(size)

    return largest_worthwhile(sequences, first, rate), tried


@pytest.mark.parametrize(
    ("sequences", "first", "rates", "found", "tried"),
    [
        (64, 16, {16: 100.0, 32: 150.0, 64: 151.0}, 32, [16, 32, 64]),  # the last gains next to nothing
        (64, 16, {16: 100.0, 32: 150.0}, 32, [16, 32, 64]),  # the last does not fit
        (64, 16, {4: 50.0}, 4, [16, 8, 4]),  # what is usual does not fit
        (64, 16, {}, 1, [16, 8, 4, 2, 1]),
        (8, 8, {8: 1.0}, 8, [8]),
        (48, 4, {4: 1.0, 8: 2.0, 16: 4.0, 48: 9.0}, 48, [4, 8, 16, 48]),  # divisors, at least doubled
    ],
)
def test_it_grows_while_that_pays_and_fits(sequences, first, rates, found, tried):
    assert searched(sequences, first, rates) == (found, tried)


@pytest.fixture
def settings(tmp_path):
    def load(*words):
        with initialize_config_dir(str(CONF), version_base=None):
            config = compose("config", overrides=[*SMALL, f"cache_dir={tmp_path}", *words])
        return load_settings(config, list(words), "gpt")

    return load


@pytest.fixture
def card(monkeypatch):
    """A card on which each micro-batch is the faster the larger it is; returns what was tried on it."""
    tried = []
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda: "a card")
    monkeypatch.setattr(micro_batch, "Trial", lambda *given: lambda size: tried.append(size) or 100.0 * size)
    return tried


def test_it_is_tried_once_for_a_model_and_a_card(settings, card, capsys, tmp_path):
    asked, model = settings(), tiny_model(block_size=32)
    assert asked.batch.micro is None and asked.micro_batch_size == 16
    for run in ("a", "b", "c"):
        (tmp_path / run).mkdir()
    for run in ("a", "b"):
        assert with_micro_batch(asked, model, CUDA, "bf16", tmp_path / run).micro_batch_size == 16
    assert card == [16] and capsys.readouterr().err.count("micro-batch: 16 sequences, of 16 in a step") == 1
    larger = settings("batch.tokens=65536")
    found = with_micro_batch(larger, model, CUDA, "bf16", tmp_path / "c")
    assert found.micro_batch_size == 2048 > larger.micro_batch_size and found.accumulation == 1
    for path in tmp_path.glob("**/*.json"):
        path.write_text("damaged")
    assert with_micro_batch(larger, model, CUDA, "bf16", tmp_path / "c").micro_batch_size == 2048


def test_it_is_tried_again_for_all_that_it_depends_on(settings, card, monkeypatch, tmp_path):
    asked = settings()

    def tried(model=None, precision="bf16", batch=None, **trainer):
        """Whether it is tried, in a run of its own."""
        card.clear()
        changes = {"batch": asked.batch.model_copy(update=batch or {})}
        changes |= {"trainer": asked.trainer.model_copy(update=trainer)}
        run_dir = Path(mkdtemp(dir=tmp_path))
        with_micro_batch(asked.model_copy(update=changes), model or of_model, CUDA, precision, run_dir)
        return bool(card)

    of_model, deterministic = tiny_model(block_size=32), torch.are_deterministic_algorithms_enabled()
    assert tried() and not tried(clip=2.0, timeout=5.0)
    assert tried(model=tiny_model(block_size=16)) and tried(model=tiny_model(n_layer=1, block_size=32))
    assert tried(precision="fp32")
    assert tried(batch={"tokens": 1024}) and not tried(batch={"tokens": 2048}, devices=2)  # as many on each
    try:
        assert tried(deterministic=True) and torch.are_deterministic_algorithms_enabled()
    finally:
        torch.use_deterministic_algorithms(deterministic)
    monkeypatch.setenv(GPU_SHARE, "0.5")
    assert tried() and not tried()
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda: "another card")
    assert tried()
    monkeypatch.setattr(torch, "__version__", "9.9.9")
    assert tried()


def test_a_run_takes_its_own_again(settings, card, monkeypatch, tmp_path):
    asked, model = settings("batch.tokens=65536"), tiny_model(block_size=32)
    run_dir, other = Path(mkdtemp(dir=tmp_path)), Path(mkdtemp(dir=tmp_path))
    assert with_micro_batch(asked, model, CUDA, "bf16", run_dir).micro_batch_size == 2048
    monkeypatch.setattr(micro_batch, "Trial", lambda *given: {512: 1.0}.get)  # another program has the card by now
    shutil.rmtree(asked.cache_dir / "micro_batch")
    assert with_micro_batch(asked, model, CUDA, "bf16", run_dir).micro_batch_size == 2048
    shutil.rmtree(asked.cache_dir / "micro_batch")
    assert with_micro_batch(asked, model, CUDA, "bf16", other).micro_batch_size == 512


def test_it_is_not_tried_where_it_is_given_or_on_a_cpu(settings, tmp_path):
    for asked, device in ((settings(), torch.device("cpu")), (settings("batch.micro=4"), CUDA)):
        assert with_micro_batch(asked, tiny_model(block_size=32), device, "fp32", tmp_path) is asked


def test_a_trial_changes_nothing():
    model = tiny_model(dropout=0.1)
    before, state = copy.deepcopy(model.state_dict()), torch.get_rng_state()
    trial = Trial(model, torch.device("cpu"), "fp32")
    assert (trial(2) or 0) > 0
    assert torch.equal(torch.get_rng_state(), state) and all(p.grad is None for p in model.parameters())
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    trial.limit = -1
    assert trial(2) is None
