"""Bounds that the machine and the context set on values, checked before anything of their size is made."""

import os
from typing import Any

from smallgpt.errors import UserError, shown
from smallgpt.machine.cores import available_cores
from smallgpt.machine.memory import gigabytes, total_bytes
from smallgpt.results import TRAINED
from smallgpt.settings import Settings

MOST_LAYERS = 1024  # the deepest transformers that were trained have 1,000 (DeepNet, arXiv 2203.00555)
PER_CORE = 4  # processes or threads; more of them take turns and get nothing done
BYTES = 4  # of a weight in fp32
STATE_BYTES = 16  # of a weight in training: itself, its gradient and two moments


def refuse_oversized_model(name: str, config_class: Any, fields: dict[str, Any], given_vocabulary: bool) -> None:
    """Raises UserError for a field with which a single matrix of the model would not fit this machine's memory.

    Args:
        name: key of the group, such as `model`.
        config_class: has the defaults of the fields that are not given.
        fields: checked values.
        given_vocabulary: whether the vocabulary is the model's own value, or the tokenizer's.
    """

    def value(key: str) -> float:
        found = fields.get(key, getattr(config_class, key, 1))
        return found if isinstance(found, int | float) and found > 0 else 1

    memory = total_bytes()
    width, kernel, context = value("n_embd"), value("kernel_size"), value("block_size")
    if value("n_layer") > MOST_LAYERS:
        raise UserError(f"{name}.n_layer={shown(fields['n_layer'])}: must be at most {MOST_LAYERS}")
    if kernel > max(context, 1):
        raise UserError(
            f"{name}.kernel_size={shown(fields['kernel_size'])}: reads over the context; "
            f"must be at most block_size={shown(fields['block_size'])}"
        )
    vocabulary = f"{name}.vocab_size" if given_vocabulary else "tokenizer.vocab_size"
    for key, elements in (
        (f"{name}.n_embd", width * width),
        (f"{name}.mlp_ratio", width * width * value("mlp_ratio")),
        (f"{name}.block_size", width * context),
        (f"{name}.kernel_size", width * width * kernel),
        (vocabulary, width * value("vocab_size")),
    ):
        if memory is not None and elements * BYTES > memory:
            field = key.rpartition(".")[2]
            raise UserError(
                f"{key}={shown(fields.get(field, value(field)))}: one matrix of this size takes "
                f"{gigabytes(elements * BYTES)}, and this machine has {gigabytes(memory)} of memory"
            )


def uses_gpu(accelerator: str) -> bool:
    """Whether a job with this accelerator runs on a GPU here."""
    if accelerator != "auto":
        return accelerator == "gpu"
    import torch

    return torch.cuda.is_available()


def refuse_beyond_machine(settings: Settings) -> None:
    """Raises UserError for more processes, threads or weights than this machine can hold, for work that is done on it.

    A bound of processes is not that of the GPUs: where there are too few of them, `device` says so.
    """
    trainer, cores = settings.trainer, available_cores()
    counts = {"threads": trainer.threads, "workers": trainer.workers}
    on_gpu = uses_gpu(trainer.accelerator)
    if not on_gpu:
        counts = {"devices": trainer.devices, **counts}
    for key, count in counts.items():
        if count is not None and count > max(PER_CORE * cores, os.cpu_count() or 1):
            raise UserError(f"trainer.{key}={count}: at most {PER_CORE * cores} on the {cores} cores of this machine")
    memory = total_bytes()
    if settings.task_name not in TRAINED or not hasattr(settings.model, "layout") or memory is None or on_gpu:
        return
    from smallgpt.models.cost import cost

    needed = STATE_BYTES * cost(settings.model).parameters
    if needed > memory:
        raise UserError(
            f"model: {cost(settings.model).parameters:,} parameters take {gigabytes(needed)} in training (weights, "
            f"gradients and two moments), and this machine has {gigabytes(memory)} of memory; a smaller size needs less"
        )


def refuse_endless_warmup(settings: Settings) -> None:
    """Raises UserError for a warm-up that is longer than the run, as far as the budget says how long that is."""
    from smallgpt.models.cost import training_cost

    if settings.on_examples or not hasattr(settings.model, "layout"):  # the task itself says how long that is
        return
    steps = settings.steps(training_cost(settings.model, settings.teacher).training_flops_per_token)
    if steps is not None:
        settings.schedule.refuse_endless(steps)
