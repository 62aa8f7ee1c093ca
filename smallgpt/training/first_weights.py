"""First weights of a training that begins from a trained model: copied, or made narrower."""

from dataclasses import asdict
from typing import Any

from transformers import PreTrainedModel

from smallgpt.models.decoder import Decoder
from smallgpt.models.narrowing import narrow, same_model


def take_weights(model: PreTrainedModel, trained: PreTrainedModel) -> dict[str, Any]:
    """Gives a model the weights of a trained one; returns the section `narrowing` of a result where it is another one.

    The trained model is not usable after that: it may share its weights.
    """
    ours = isinstance(model, Decoder) and isinstance(trained, Decoder)  # one of transformers' own is taken as it is
    if ours and not same_model(model.config, trained.config):
        return {"narrowing": asdict(narrow(model, trained))}
    model.load_state_dict(trained.state_dict())
    return {}


def narrowing_line(narrowing: dict[str, Any]) -> str:
    """What is said of weights that were made narrower."""
    errors = ", ".join(f"{product} {error:.1%}" for product, error in narrowing["errors"].items())
    layers = ", ".join(str(layer + 1) for layer in narrowing["layers"])
    return f"weights made narrower: blocks from {layers}; what products of maps lose: {errors}"
