"""State that a training saved, last.ckpt: it is checked before a run goes on from it, and nothing in it is executed."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from smallgpt.errors import UserError
from smallgpt.files import read_numbers_and_text

KEYS = {"state_dict", "optimizer_states", "callbacks", "loops", "global_step"}  # Lightning's
KEYS |= {"seconds", "metrics", "random_states"}  # smallgpt's
PREFIX = "model."  # of the model's weights among those of the Lightning module


def check_state(path: Path, model_class: Any, config: Any) -> None:
    """Checks that a training of this model can go on from a file.

    Raises:
        UserError: the file is damaged, of another kind or of another model, or its weights are no numbers.
    """
    with torch.device("meta"):
        expected = weights_of_module(model_class(config))
    check_weights_of_state(path, expected)


def weights_of_module(model: torch.nn.Module) -> dict[str, torch.Size]:
    """Names and shapes of a model's weights in the state of its training."""
    return {f"{PREFIX}{name}": value.shape for name, value in model.state_dict().items()}


def check_weights_of_state(path: Path, expected: Mapping[str, torch.Size]) -> None:
    """Checks that a training whose module has weights of these names and shapes can go on from a file."""
    state = opened(path)
    if missing := [key for key in sorted(KEYS) if not isinstance(state, dict) or key not in state]:
        raise damaged_state(path, f"no {missing[0]} in it")
    weights = {name: value for name, value in state["state_dict"].items() if name.startswith(PREFIX)}
    if other := sorted(expected.keys() ^ weights.keys()):
        raise damaged_state(path, f"{other[0].removeprefix(PREFIX)} is in it or in the model, not in both")
    for name, shape in expected.items():
        if weights[name].shape != shape:
            found = f"{tuple(weights[name].shape)}, and the model's is {tuple(shape)}"
            raise damaged_state(path, f"{name.removeprefix(PREFIX)} is {found}")
        if not bool(torch.isfinite(weights[name]).all()):
            raise damaged_state(path, f"{name.removeprefix(PREFIX)} holds NaN or infinity")


def opened(path: Path) -> Any:
    """Content of a saved state. Raises UserError where it is damaged, or holds anything but numbers and text."""
    try:
        return read_numbers_and_text(path)
    except ValueError as error:
        raise damaged_state(path, str(error)) from error


def damaged_state(path: Path, why: str) -> UserError:
    """Error that names a saved state, what is wrong with it, and what to do."""
    return UserError(
        f"resume: {path} cannot be gone on from ({why}); copy it again, or remove it, and the run begins anew"
    )
