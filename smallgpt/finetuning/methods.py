"""Methods of fine-tuning: which weights of a model learn, and which stay as they are to the bit."""

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import nn
from transformers import PreTrainedModel

from smallgpt.errors import UserError, nearest, one_line
from smallgpt.finetuning.adapted import Adapted
from smallgpt.models.parallelgpt import ParallelGPT, ParallelGPTBackbone
from smallgpt.packages import require
from smallgpt.settings import FineTuning


def adapt(
    causal: PreTrainedModel, settings: FineTuning, labels: tuple[str, ...] = (), origin: str | None = None
) -> Adapted:
    """Prepares a model for a fine-tuning: what does not learn is frozen, and what is new is added.

    Args:
        labels: what a new head says; none: there is no new head.
        origin: the checkpoint that the weights are from, which an adapter names.

    Raises:
        UserError: the method does not fit the model.
    """
    if settings.adapter is not None and settings.method != "lora":
        raise UserError(f"finetune.adapter={settings.adapter}: of finetune=lora; leave it out")
    causal.train()
    adapted = METHODS[settings.method](causal, settings, labels, origin)
    if labels:  # the head of the tokens is not asked
        freeze(causal.get_output_embeddings(), but=causal.get_input_embeddings())
    return adapted


def freeze(module: nn.Module | None, but: nn.Module | None = None) -> None:
    """Freezes the weights of a module; what another one also holds stays free."""
    kept = {id(parameter) for parameter in but.parameters()} if but is not None else set()
    for parameter in module.parameters() if module is not None else ():
        if id(parameter) not in kept:
            parameter.requires_grad_(False)


def full(causal: PreTrainedModel, settings: FineTuning, labels: tuple[str, ...], origin: str | None) -> Adapted:
    """Every weight learns."""
    return Adapted(causal, labels)


def head_alone(causal: PreTrainedModel, settings: FineTuning, labels: tuple[str, ...], origin: str | None) -> Adapted:
    """The head alone learns: that of the labels, or that of the tokens."""
    freeze(causal)
    if not labels:
        output: Any = causal.get_output_embeddings()
        if output.weight is getattr(causal.get_input_embeddings(), "weight", None):
            raise UserError(
                "finetune=head: this model's output head is its embedding, which would change with it; use "
                "finetune=lora or finetune=full"
            )
        for parameter in output.parameters():
            parameter.requires_grad_(True)
    return Adapted(causal, labels)


def low_rank(causal: PreTrainedModel, settings: FineTuning, labels: tuple[str, ...], origin: str | None) -> Adapted:
    """Additions of low rank to linear maps learn, through `peft`, and the head of the labels."""
    require("finetune=lora", "peft")
    from peft import LoraConfig, get_peft_model

    if settings.adapter is not None:
        return Adapted(causal, labels, loaded_adapter(causal, settings.adapter))
    names = [name for name, module in causal.named_modules() if is_map(causal, module)]
    for wanted in settings.targets:
        if not any(name == wanted or name.endswith(f".{wanted}") for name in names):
            last = {name.rpartition(".")[2] for name in names}
            there = nearest(wanted, last) or f"; there is {', '.join(sorted(last))}"
            raise UserError(f"finetune.targets={wanted}: no map of this model{there}")
    config = LoraConfig(
        r=settings.rank,
        lora_alpha=settings.alpha,  # ty: ignore[invalid-argument-type]  # any number
        lora_dropout=settings.dropout,
        target_modules=list(settings.targets) or names,
        task_type="CAUSAL_LM",
        fan_in_fan_out=any("Conv1D" in type(module).__name__ for module in causal.modules()),
    )
    with warnings.catch_warnings(action="ignore"):  # what it says of other libraries' releases is nothing to a user
        adapter: Any = get_peft_model(causal, config)
    adapter.peft_config["default"].base_model_name_or_path = origin
    return Adapted(causal, labels, adapter)


def is_map(causal: PreTrainedModel, module: nn.Module) -> bool:
    """Whether a module is a linear map, other than the output head."""
    linear = isinstance(module, nn.Linear) or type(module).__name__ == "Conv1D"  # GPT-2's, which is one too
    return linear and module is not causal.get_output_embeddings()


def loaded_adapter(causal: PreTrainedModel, folder: Path) -> Any:
    """A `peft` model with the adapter of a folder. Raises UserError where it is none of this model's."""
    from peft import PeftConfig, PeftModel
    from safetensors import safe_open

    try:
        PeftConfig.from_pretrained(str(folder))
        with safe_open(folder / "adapter_model.safetensors", "pt") as file:
            shapes = {name: tuple(file.get_slice(name).get_shape()) for name in file.keys()}  # noqa: SIM118
    except Exception as error:
        raise UserError(f"finetune.adapter={folder}: no adapter that peft has saved ({one_line(error)})") from None
    modules = dict(causal.named_modules())
    for name, shape in shapes.items():
        path, _, kind = name.removeprefix("base_model.model.").partition(".lora_")
        weight: Any = getattr(modules.get(path), "weight", None)
        rows, columns = (0, 0) if weight is None else weight.shape
        fits = shape[1] in (rows, columns) if kind.startswith("A") else shape[0] in (rows, columns)
        if weight is None or not fits:
            own = "has no such map" if weight is None else f"has a map of {rows} by {columns}"
            raise UserError(
                f"finetune.adapter={folder}: of another model: it adds to {path}, {shape}, and this model {own}; "
                "give the checkpoint that it was trained on"
            )
    try:
        return PeftModel.from_pretrained(causal, str(folder), is_trainable=True)
    except Exception as error:
        raise UserError(f"finetune.adapter={folder}: does not fit this model ({one_line(error)})") from None


def all_but_one_path(
    causal: PreTrainedModel, settings: FineTuning, labels: tuple[str, ...], origin: str | None
) -> Adapted:
    """The other paths of ParallelGPT and the weights that join them learn.

    With the frozen path, embedding, final norm and output head the model of before is still there, as
    `model.active_paths=[frozen_path]`.
    """
    if not isinstance(causal, ParallelGPT):
        raise UserError(f"finetune=path: of ParallelGPT alone, and this is a {causal.config.model_type} model")
    frozen, number = settings.frozen_path, causal.config.n_path
    if frozen >= number:
        raise UserError(f"finetune.frozen_path={frozen}: this model has the paths 0 to {number - 1}")
    freeze(causal)
    (backbone,) = (module for module in causal.modules() if isinstance(module, ParallelGPTBackbone))
    learning: list[Any] = [backbone.path_weight]
    for path in set(range(number)) - {frozen}:
        learning += [*backbone.inputs[path].parameters(), *backbone.paths[path].parameters()]
    for parameter in learning:
        parameter.requires_grad_(True)
    return Adapted(causal, labels)


METHODS: dict[str, Callable[..., Adapted]] = {
    "full": full,
    "head": head_alone,
    "lora": low_rank,
    "path": all_but_one_path,
}


def learning(adapted: nn.Module) -> tuple[int, int]:
    """Numbers of weights that learn, and of all."""
    parameters = list(adapted.parameters())
    count: Callable[[list[torch.nn.Parameter]], int] = lambda some: sum(each.numel() for each in some)  # noqa: E731
    return count([each for each in parameters if each.requires_grad]), count(parameters)
