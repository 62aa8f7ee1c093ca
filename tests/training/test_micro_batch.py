"""The micro-batch of a GPU: how it is searched, that it is kept, and that a trial changes nothing."""

import copy

import pytest
import torch
from hydra import compose, initialize_config_dir
from small_words import SMALL
from tiny_run import tiny_model

from smallgpt.launch.config_files import CONF
from smallgpt.launch.loading import load_settings
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


def test_it_is_tried_once_for_a_model_and_a_card(settings, monkeypatch, capsys):
    tried = []
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda: "a card")
    monkeypatch.setattr(micro_batch, "Trial", lambda *given: lambda size: tried.append(size) or 100.0 * size)
    asked, model = settings(), tiny_model(block_size=32)
    assert asked.batch.micro is None and asked.micro_batch_size == 16
    for _ in range(2):
        assert with_micro_batch(asked, model, CUDA, "bf16").micro_batch_size == 16
    assert tried == [16] and capsys.readouterr().err.count("micro-batch: 16 sequences, of 16 in a step") == 1
    larger = settings("batch.tokens=65536")
    found = with_micro_batch(larger, model, CUDA, "bf16")
    assert found.micro_batch_size == 2048 > larger.micro_batch_size and found.accumulation == 1
    for path in (larger.cache_dir / "micro_batch").glob("*.json"):
        path.write_text("damaged")
    assert with_micro_batch(larger, model, CUDA, "bf16").micro_batch_size == 2048


def test_it_is_not_tried_where_it_is_given_or_on_a_cpu(settings):
    for asked, device in ((settings(), torch.device("cpu")), (settings("batch.micro=4"), CUDA)):
        assert with_micro_batch(asked, tiny_model(block_size=32), device, "fp32") is asked


def test_a_trial_changes_nothing():
    model = tiny_model(dropout=0.1)
    before, state = copy.deepcopy(model.state_dict()), torch.get_rng_state()
    trial = Trial(model, torch.device("cpu"), "fp32")
    assert (trial(2) or 0) > 0
    assert torch.equal(torch.get_rng_state(), state) and all(p.grad is None for p in model.parameters())
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    trial.limit = -1
    assert trial(2) is None
