"""The scores of a trained run, by the rule of every text: each document alone, fp32, the weights from their folder."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from smallgpt.evaluation.measures import text_score
from smallgpt.evaluation.text_likelihood import Reader
from smallgpt.inference.checkpoint import load_checkpoint
from smallgpt.results import read_weights_record


def score_weights(folder: Path, documents: Sequence[tuple[np.ndarray, int]], device: torch.device) -> dict[str, Any]:
    """Section `val` or `test` of a result: a checkpoint's scores on documents, given as tokens and bytes."""
    model, tokenizer = load_checkpoint(str(folder))
    reader = Reader(model.to(device), tokenizer)
    score = text_score(reader.likelihood_of_documents([(ids.tolist(), size) for ids, size in documents]))
    return {
        "checkpoint": folder.name,
        "step": read_weights_record(folder)["step"],
        "precision": "fp32",
        "loss": score["loss"],
        "perplexity": score["token_perplexity"],
        "bits_per_byte": score["bits_per_byte"],
        "bits_per_byte_interval": score["bits_per_byte_interval"],
        "documents": score["n"],
        "tokens": score["tokens"],
        "bytes": score["bytes"],
    }
