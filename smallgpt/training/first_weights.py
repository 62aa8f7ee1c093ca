"""First weights of a training that begins from a trained model: copied, or made narrower."""

from dataclasses import asdict
from typing import Any

from smallgpt.models.decoder import Decoder
from smallgpt.models.narrowing import narrow, same_model


def take_weights(model: Decoder, trained: Decoder) -> dict[str, Any]:
    """Gives a model the weights of a trained one; returns the section `narrowing` of a result where it is another one.

    The trained model is not usable after that: it may share its weights.
    """
    if same_model(model.config, trained.config):
        model.load_state_dict(trained.state_dict())
        return {}
    return {"narrowing": asdict(narrow(model, trained))}


def narrowing_line(narrowing: dict[str, Any]) -> str:
    """What is said of weights that were made narrower."""
    errors = ", ".join(f"{product} {error:.1%}" for product, error in narrowing["errors"].items())
    layers = ", ".join(str(layer + 1) for layer in narrowing["layers"])
    return f"weights made narrower: blocks from {layers}; what products of maps lose: {errors}"
