"""The card of an exported model: what its run says, and nothing of the machine."""

import json

import pytest
from helpers import CASES, build_model

from smallgpt.export.model_card import model_card, read_run
from smallgpt.results import write_weights_record

RESULT = {
    "task": "train",
    "seed": 7,
    "data_fingerprint": "0123456789abcdef",
    "train": {"tokens": 500000, "steps": 61},
    "val": {
        "checkpoint": "last",
        "step": 61,
        "loss": 3.25,
        "bits_per_byte": 1.75,
        "bits_per_byte_interval": [1.7, 1.8],
    },
    "test": {"checkpoint": "best", "step": 54, "loss": 3.5, "bits_per_byte": 1.875, "bits_per_byte_interval": None},
    "environment": {"python": "3.11.7", "torch": "2.13.0", "transformers": "5.23.0"},
    "evaluation": {
        "tasks": {
            "a|b <i>": {"accuracy": 0.5, "interval": [0.4, 0.6], "n": 100, "chance": 0.5, "at_chance": True},
            "sure": {"accuracy": 0.9, "interval": [0.85, 0.95], "n": 200, "chance": 0.25, "at_chance": False},
        },
        "corpora": {"books": {"bits_per_byte": 1.5, "bits_per_byte_interval": [1.4, 1.6]}},
    },
}
CONFIG = {
    "data": {"_target_": "smallgpt.data.hub_corpus.Hub", "repository": "some/texts", "licence": "CC0 *or* so"},
    "optimizer": {"_target_": "smallgpt.training.optimizers.AdamW", "lr": 0.001},
    "batch": {"tokens": 8192},
}


@pytest.fixture
def run_dir(tmp_path):
    run = tmp_path / "run"
    (run / "checkpoints" / "best").mkdir(parents=True)
    (run / "checkpoints" / "best" / "config.json").write_text("{}")
    write_weights_record(run / "checkpoints" / "best", 54, 3.2)
    (run / "result.json").write_text(json.dumps(RESULT))
    (run / "config.yaml").write_text(json.dumps({**CONFIG, "cache_dir": str(tmp_path / "cache")}))
    return run


def test_the_card_says_what_the_run_knows(run_dir):
    model = build_model(CASES[0])
    for checkpoint in (run_dir, run_dir / "checkpoints" / "best"):
        card = model_card(model, read_run(str(checkpoint)), "hf", "bf16")
        for text in (
            f"{model.config.model_type} {model.config.schedule_string()}",
            f"{sum(p.numel() for p in model.parameters()):,} parameters",
            "stored as bf16",
            'datasets: ["some/texts"]',
            "| licence of the data | CC0 \\*or\\* so |",
            "0123456789abcdef",
            "| validation loss | 3.2500 |  | checkpoint: last, step 61 |",
            "| validation bits per byte | 1.7500 | 1.7000 to 1.8000 | checkpoint: last, step 61 |",
            "| test bits per byte | 1.8750 |  | checkpoint: best, step 54 |",
            "| these weights | best, step 54 |",
            "| a\\|b \\<i\\>, accuracy | 0.5000 | 0.4000 to 0.6000 | **at chance**, 100 items, chance 0.5000 |",
            "| sure, accuracy | 0.9000 | 0.8500 to 0.9500 | 200 items, chance 0.2500 |",
            "| books, bits per byte | 1.5000 | 1.4000 to 1.6000 |",
            "500,000 in 61 steps",
            "AdamW, lr 0.001",
            "| seed | 7 |",
            "torch 2.13.0",
            f"at most {model.config.block_size:,} tokens",
        ):
            assert text in card


def test_source_and_licence_are_those_of_the_prepared_data_without_its_path(run_dir, tmp_path):
    prepared = tmp_path / "cache" / "prepared" / "texts-0123456789abcdef"
    prepared.mkdir(parents=True)
    (prepared / "index.json").write_text(json.dumps({"origin": {"source": "/home/me/my_texts", "licence": "mine"}}))
    card = model_card(build_model(CASES[0]), read_run(str(run_dir)), "onnx", "none")
    assert "| source | my\\_texts |" in card and "| licence of the data | mine |" in card
    assert "/home" not in card and str(tmp_path) not in card
    assert "generate.py" in card and "library_name: onnx" in card


def test_a_bare_model_folder_has_a_card_too(tmp_path):
    card = model_card(build_model(CASES[0]), read_run(str(tmp_path)), "hf", "none")
    assert "Not known" in card and "Measured quality" not in card
