"""`task=finetune` adapts a checkpoint to examples, or to more text, and says what that is worth."""

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from smallgpt.errors import UserError
from smallgpt.notices import say
from smallgpt.packages import require
from smallgpt.settings import Settings
from smallgpt.tasks.finetuned import print_scores, scored
from smallgpt.tasks.trained import evaluated, tell

if TYPE_CHECKING:
    import torch

    from smallgpt.finetuning.adapted import Adapted


def run(settings: Settings, run_dir: Path) -> dict[str, Any]:
    """Adapts a model, scores it beside what it has to beat, prints a table; returns the sections of the result.

    On running text it is a training like any other, of the weights that the method names.
    """
    from smallgpt.tasks import train

    check_finetuning(settings)
    if not settings.on_examples:
        return train.run(settings, run_dir)
    with tempfile.TemporaryDirectory() as folder:
        return on_examples(settings, run_dir, Path(folder))


def on_examples(settings: Settings, run_dir: Path, tokenizer_dir: Path) -> dict[str, Any]:
    """Trains on examples and scores the best weights; `tokenizer_dir` is an empty folder."""
    from smallgpt.contract.required import require_contract
    from smallgpt.finetuning.methods import learning
    from smallgpt.inference.checkpoint import load_checkpoint
    from smallgpt.machine.allocator import keep_freed_memory
    from smallgpt.machine.device import device
    from smallgpt.models.decoder import Decoder
    from smallgpt.ranks import is_first_process
    from smallgpt.tasks.example_training import adapted_model, data_module, learner, read_material
    from smallgpt.tasks.train import peak, seconds_beside, trainer_for, training_section
    from smallgpt.training.loggers import until_the_end
    from smallgpt.training.metrics import Recorder
    from smallgpt.training.processes import check_processes, share_cores

    assert settings.finetune is not None and settings.origin is not None
    check_processes(settings)
    if issubclass(settings.model_class, Decoder):
        require_contract(settings.model_class, settings.model, settings.cache_dir, f"checkpoint={settings.origin}")
    where = device(settings.trainer.accelerator, settings.trainer.devices)
    keep_freed_memory()
    share_cores(settings.trainer)
    begun_with, tokenizer = load_checkpoint(settings.origin)
    material = read_material(settings, tokenizer)
    model, price, begun_from = adapted_model(settings, begun_with, material)
    del begun_with  # its memory is free for the training
    data, module = data_module(settings, material), learner(settings, material, model)
    warnings = material.warnings(settings)
    if is_first_process():
        announce(warnings, begun_from)
    state, identity = resumable(settings, run_dir, model, material.examples.fingerprint, where)
    precision = identity["precision"]
    recorder = Recorder(
        round(settings.batch_examples * data.tokens_per_example),
        price.training_flops_per_token,
        peak(settings.trainer, where, precision) if is_first_process() else None,
        every=settings.log_every,
    )
    tokenizer.save_pretrained(tokenizer_dir)
    trainer = trainer_for(
        settings, run_dir, tokenizer_dir, 0, recorder, where, precision, identity, settings.finetune.patience
    )
    with until_the_end(trainer.loggers) as loggers:
        fingerprint = material.examples.fingerprint
        places = [logger.begin({"data_fingerprint": fingerprint, "cost": price.to_dict()}) for logger in loggers]
        trainer.fit(module, datamodule=data, ckpt_path=state, weights_only=True)
        weights, every = learning(model)
        steps = module.run_length.steps
        sections: dict[str, Any] = {
            "cost": price.to_dict(),
            **begun_from,
            "data_fingerprint": fingerprint,
            "data": material.examples.section(len(material.train)),
            "warnings": warnings,
            "train": training_section(recorder, round(len(material.train) * data.tokens_per_example), where, precision),
            "finetune": {
                "method": settings.finetune.method,
                "kind": material.examples.kind,
                "learning_parameters": weights,
                "parameters": every,
                "cut_examples": sum(each.cut for each in material.train),
                "stopped_early": steps is not None and trainer.global_step < steps,
            },
            **({"wandb": places[0]} if places else {}),
        }
        if trainer.is_global_zero:
            with module.beside["scoring"]:
                sections |= scored(settings, run_dir, material, where)
            sections["train"] |= seconds_beside(module)
            print_scores(settings, sections)
            tell(settings, sections, run_dir, loggers)
            sections |= evaluated(settings, run_dir, where, sections, loggers)
    return sections


def announce(warnings: list[str], begun_from: dict[str, Any]) -> None:
    """Says before the training what will be wrong with its scores, and what became of weights that were narrowed."""
    from smallgpt.training.first_weights import narrowing_line

    for warning in warnings:
        say(f"warning: {warning}")
    if narrowing := begun_from["origin"].get("narrowing"):
        print(narrowing_line(narrowing))


def resumable(
    settings: Settings, run_dir: Path, model: "Adapted", fingerprint: str, where: "torch.device"
) -> tuple[Path | None, dict[str, Any]]:
    """State of the training that the run goes on from, None where it begins, and what the state must be of.

    Raises UserError where the state is of another model or of other examples.
    """
    from smallgpt.ranks import is_first_process
    from smallgpt.training.identity import refuse_other_identity, run_identity, training_precision
    from smallgpt.training.saved_state import check_weights_of_state, weights_of_module

    state = run_dir / "checkpoints" / "last.ckpt"
    resumed = settings.resume is not None and state.exists()
    if resumed:
        check_weights_of_state(state, weights_of_module(model))
    precision = training_precision(settings.trainer.precision, where, state if resumed else None)
    identity = run_identity(fingerprint, settings.model_class, precision)
    if resumed:
        refuse_other_identity(state, identity)
        return state, identity
    if is_first_process():  # rows of a run that was stopped before its first checkpoint
        (run_dir / "metrics.csv").unlink(missing_ok=True)
    return None, identity


def check_finetuning(settings: Settings) -> None:
    """Raises UserError where a fine-tuning cannot begin."""
    how = settings.finetune
    if how is None:
        raise UserError("finetune=null: task=finetune needs a method; finetune=full, head, lora or path")
    if how.method == "lora":
        require("finetune=lora", "peft", instead="finetune=full")
    if how.method == "path":
        paths = getattr(settings.model, "n_path", None)
        if paths is None:
            raise UserError(f"finetune=path: of ParallelGPT alone, and this is a {settings.model.model_type} model")
        if how.frozen_path >= paths:
            raise UserError(f"finetune.frozen_path={how.frozen_path}: this model has the paths 0 to {paths - 1}")
    if settings.trainer.strategy == "fsdp" and settings.trainer.processes > 1:
        raise UserError("trainer.strategy=fsdp: task=finetune keeps its weights whole; use trainer=ddp")
    if settings.on_examples and settings.trainer.overfit:
        raise UserError("trainer.overfit=true: of running text alone; leave it out")
    if not settings.on_examples and how.method == "head" and getattr(settings.model, "tie_word_embeddings", False):
        raise UserError(
            "finetune=head: this model's output head is its embedding, which would change with it; use finetune=lora "
            "or finetune=full"
        )
