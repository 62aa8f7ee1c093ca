"""`task=train` trains a model and leaves the checkpoint, its metrics, its scores and a sample."""

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from smallgpt.settings import Settings
from smallgpt.tasks.trained import epochs, evaluated, print_summary, samples_or_warning, score_sections, tell

if TYPE_CHECKING:
    import torch
    from lightning import Trainer
    from transformers import PreTrainedModel

    from smallgpt.data.datamodule import TokenDataModule
    from smallgpt.data.prepared_data import PreparedData
    from smallgpt.machine.device import Precision
    from smallgpt.models.cost import Cost
    from smallgpt.settings import Trainer as TrainerSettings
    from smallgpt.training.metrics import Recorder
    from smallgpt.training.module import LanguageModel
    from smallgpt.training.run_length import RunLength

MANY_EPOCHS = 4
"""More of them are warned of: what text is worth falls from there (Muennighoff et al., arXiv 2305.16264)."""


def run(settings: Settings, run_dir: Path) -> dict[str, Any]:
    """Trains, validates, saves, prints a table and a sample; returns the sections of the result."""
    from lightning import seed_everything

    from smallgpt.contract.required import require_contract
    from smallgpt.data.prepare import prepare
    from smallgpt.finetuning.methods import adapt
    from smallgpt.machine.allocator import keep_freed_memory
    from smallgpt.machine.device import device
    from smallgpt.models.decoder import Decoder
    from smallgpt.ranks import is_first_process
    from smallgpt.tasks.inspect import latency, match
    from smallgpt.tasks.teacher import distillation, distilled, load_teacher
    from smallgpt.training.distillation import weights_hash
    from smallgpt.training.first_weights import narrowing_line, take_weights
    from smallgpt.training.identity import refuse_other_identity, run_identity, training_precision
    from smallgpt.training.loggers import until_the_end
    from smallgpt.training.metrics import Recorder
    from smallgpt.training.micro_batch import with_micro_batch
    from smallgpt.training.module import LanguageModel
    from smallgpt.training.processes import check_processes, share_cores
    from smallgpt.training.saved_state import check_state, check_weights_of_state, weights_of_module

    check_processes(settings)
    if issubclass(settings.model_class, Decoder):
        require_contract(settings.model_class, settings.model, settings.cache_dir, f"model={settings.variant}")
    where = device(settings.trainer.accelerator, settings.trainer.devices)
    keep_freed_memory()
    share_cores(settings.trainer)
    state = run_dir / "checkpoints" / "last.ckpt"
    resumed = settings.resume is not None and state.exists()
    if resumed and settings.finetune is None:
        check_state(state, settings.model_class, settings.model)
    precision = training_precision(settings.trainer.precision, where, state if resumed else None)
    begun_from, begun_with, teacher = origin(settings), first_weights(settings), load_teacher(settings)
    prepared = prepare(settings.data, settings.tokenizer, settings.cache_dir)
    seed_everything(settings.seed, verbose=False)
    model = settings.model_class(settings.model)
    if begun_with is not None:
        begun_from["origin"] |= take_weights(model, begun_with)
        begun_with = None  # its memory is free for the training
    model.generation_config.eos_token_id = prepared.eos_id
    model.generation_config.pad_token_id = prepared.eos_id
    settings = with_micro_batch(settings, model, where, precision, run_dir)
    price = price_of(settings, model)
    subject, patience = model, None
    if settings.finetune is not None:
        subject, patience = adapt(model, settings.finetune, origin=settings.origin), settings.finetune.patience
        if resumed:
            check_weights_of_state(state, weights_of_module(subject))
    data = data_module(settings, prepared)
    length = run_length(settings, price.training_flops_per_token, data.epoch_tokens)
    if length.steps is not None:
        settings.schedule.refuse_endless(length.steps)
    warnings = [*prepared.warnings(), *warnings_of_epochs(settings, length.steps, data.epoch_tokens)]
    if is_first_process():
        announce(settings, length.steps, data.epoch_tokens, warnings)
        if narrowing := begun_from.get("origin", {}).get("narrowing"):
            print(narrowing_line(narrowing))
    module = LanguageModel(
        subject,
        settings.optimizer,
        settings.schedule,
        length,
        clip=settings.trainer.clip,
        compile=compiles(settings, where),
        objective=distilled(settings, model, teacher, prepared),
    )
    recorder = Recorder(
        settings.batch.tokens,
        price.training_flops_per_token,
        peak(settings.trainer, where, precision) if is_first_process() else None,
        every=settings.log_every,
    )
    if not resumed and is_first_process():  # rows of a run that was stopped before its first checkpoint
        (run_dir / "metrics.csv").unlink(missing_ok=True)
    identity = run_identity(
        prepared.fingerprint, settings.model_class, precision, None if teacher is None else weights_hash(teacher)
    )
    if resumed:
        refuse_other_identity(state, identity)
    _, scored_tokens, _ = prepared.held_out(settings.validation.final_tokens)
    trainer = trainer_for(
        settings, run_dir, prepared.tokenizer_dir, scored_tokens, recorder, where, precision, identity, patience
    )
    with until_the_end(trainer.loggers) as loggers:
        places = [logger.begin({"data_fingerprint": prepared.fingerprint}) for logger in loggers]
        trainer.fit(module, datamodule=data, ckpt_path=state if resumed else None, weights_only=True)
        sections: dict[str, Any] = {
            "cost": price.to_dict(),
            **match(settings),
            **latency(settings),
            **begun_from,
            **distillation(settings),
            "data_fingerprint": prepared.fingerprint,
            "data": prepared.section(),
            "warnings": warnings,
            "train": training_section(recorder, data.epoch_tokens, where, precision)
            | {"micro_batch": data.micro_batch_size},
            **({"wandb": places[0]} if places else {}),
        }
        if trainer.is_global_zero:
            with module.beside["scoring"]:
                sections |= score_sections(settings, prepared, run_dir, where)
            with module.beside["samples"]:
                sections["samples"] = samples_or_warning(settings, module, prepared, run_dir)
            sections["train"] |= seconds_beside(module)
            print_summary(settings, sections)
            tell(settings, sections, run_dir, loggers)
            sections |= evaluated(settings, run_dir, where, sections, loggers)
    return sections


def first_weights(settings: Settings) -> "PreTrainedModel | None":
    """Trained model that the training takes its first weights from; None where they are random numbers."""
    from smallgpt.inference.checkpoint import load_checkpoint

    if settings.origin is None or settings.first_weights == "random":
        return None
    return load_checkpoint(settings.origin)[0]


def price_of(settings: Settings, model: Any) -> "Cost":
    """Cost of the model that is trained, one of smallgpt's or of transformers' own."""
    from smallgpt.models.configuration import DecoderConfig
    from smallgpt.models.cost import cost_of_library_model, training_cost

    if not isinstance(settings.model, DecoderConfig):
        return cost_of_library_model(model)
    return training_cost(settings.model, settings.teacher)


def origin(settings: Settings) -> dict[str, Any]:
    """Section `origin` of a result: the checkpoint that the training began from; nothing where there was none."""
    from smallgpt.inference.checkpoint import variant_of, which_weights

    if settings.origin is None:
        return {}
    checkpoint = settings.origin
    weights = "random" if settings.first_weights == "random" else which_weights(checkpoint)
    return {"origin": {"checkpoint": checkpoint, "weights": weights, "variant": variant_of(checkpoint)}}


def data_module(settings: Settings, prepared: "PreparedData") -> "TokenDataModule":
    """Data module of the run; with trainer.overfit=true it repeats one batch."""
    from smallgpt.data.datamodule import TokenDataModule
    from smallgpt.training.overfit import OverfitDataModule

    overfit = settings.trainer.overfit
    data = (OverfitDataModule if overfit else TokenDataModule)(
        prepared,
        block_size=settings.context,
        micro_batch_size=settings.micro_batch_size,
        seed=settings.seed,
        workers=settings.trainer.workers,
        validation_tokens=settings.validation.tokens,
    )
    if isinstance(data, OverfitDataModule):
        data.micro_batches = settings.accumulation
    return data


def run_length(settings: Settings, training_flops_per_token: float, epoch_tokens: int) -> "RunLength":
    """Length of the run that the budget gives, in optimizer steps or in seconds."""
    from smallgpt.training.run_length import RunLength

    budget = settings.budget
    if budget.seconds is not None:
        return RunLength(seconds=budget.seconds)
    if budget.epochs is not None:
        return RunLength(steps=settings.steps_for(budget.epochs * epoch_tokens))
    return RunLength(steps=settings.steps(training_flops_per_token))


def compiles(settings: Settings, where: "torch.device") -> bool:
    """Whether the training is compiled: as `compile` says, or else on a GPU where all that it needs is there."""
    from smallgpt.machine.compiler import missing_for_compiling, refuse_compiling

    if settings.compile is None:
        plain = settings.trainer.strategy != "fsdp" and settings.teacher is None and settings.finetune is None
        return where.type == "cuda" and plain and missing_for_compiling(where) is None
    if settings.compile:
        refuse_compiling(where)
    return settings.compile


def peak(trainer: "TrainerSettings", where: "torch.device", precision: "Precision") -> float | None:
    """FLOPs a second that the devices of the run, or the processes' shares of a CPU, reach together at their best."""
    from smallgpt.machine.rates import peak_flops

    one = peak_flops(where, precision)
    return None if one is None else one * trainer.processes


def trainer_for(
    settings: Settings,
    run_dir: Path,
    tokenizer_dir: Path,
    scored_tokens: int,
    recorder: "Recorder",
    where: "torch.device",
    precision: "Precision",
    identity: dict[str, Any],
    patience: int | None = None,
) -> "Trainer":
    """Lightning's trainer for the run, with its callbacks and loggers.

    Args:
        scored_tokens: tokens that are scored after the training.
        patience: validations without a lower loss after which the training ends; None: it goes on.
    """
    from smallgpt.ranks import is_first_process
    from smallgpt.training.checkpoints import Checkpoints
    from smallgpt.training.early_stopping import EarlyStopping
    from smallgpt.training.forecast import Forecast
    from smallgpt.training.interruption import Interruption
    from smallgpt.training.metrics import MetricsFile
    from smallgpt.training.processes import strategy
    from smallgpt.training.profiling import Profile
    from smallgpt.training.progress import ProgressLine
    from smallgpt.training.trainer import build_trainer
    from smallgpt.training.validation_schedule import ValidationSchedule

    first = is_first_process()
    metrics = MetricsFile(run_dir / "metrics.csv" if first else Path(os.devnull))
    checkpoints = Checkpoints(run_dir / "checkpoints", tokenizer_dir, metrics, identity)
    callbacks = [
        ValidationSchedule(settings.validation.every),  # first: it says which step is the last
        *([EarlyStopping(patience)] if patience is not None else []),  # before what saves its state
        recorder,
        ProgressLine(recorder),
        Forecast(settings.validation.every, scored_tokens),
        checkpoints,
        Interruption(checkpoints),
    ]
    if settings.trainer.profile:
        callbacks.append(Profile(run_dir / "trace.json"))
    return build_trainer(
        run_dir,
        callbacks,
        [metrics, *settings.logger.build(settings, run_dir)] if first else [],
        accumulation=settings.accumulation,
        accelerator=where.type,
        devices=settings.trainer.devices,
        nodes=settings.trainer.num_nodes,
        strategy=strategy(settings.trainer, run_dir),
        precision=precision,
        deterministic=settings.trainer.deterministic,
    )


def announce(settings: Settings, steps: int | None, epoch_tokens: int, warnings: list[str]) -> None:
    """Says before the training how often it will see its text, and what will be wrong with its scores."""
    if steps is not None and not settings.trainer.overfit:
        tokens = steps * settings.batch.tokens
        print(f"{tokens:,} tokens over a corpus of {epoch_tokens:,}: {epochs(tokens / epoch_tokens)}")
    for warning in warnings:
        print(f"warning: {warning}")


def warnings_of_epochs(settings: Settings, steps: int | None, epoch_tokens: int) -> list[str]:
    """Warnings of a budget that repeats the training text more often than it is worth."""
    if steps is None or settings.trainer.overfit or steps * settings.batch.tokens <= MANY_EPOCHS * epoch_tokens:
        return []
    tokens = steps * settings.batch.tokens
    return [
        f"budget: {tokens:,} tokens are {epochs(tokens / epoch_tokens)} of the training text, over {MANY_EPOCHS}: "
        "repeated text is worth less and less; give more text or a smaller budget"
    ]


def seconds_beside(module: "LanguageModel") -> dict[str, Any]:
    """Entry of the section `train`: seconds of validating, saving, scoring and sampling, which are none of training."""
    return {"seconds_beside": {name: watch.seconds for name, watch in module.beside.items()}}


def training_section(
    recorder: "Recorder", epoch_tokens: int, where: "torch.device", precision: "Precision"
) -> dict[str, Any]:
    """The section `train`: where the run ended."""
    from smallgpt.machine.memory import peak_bytes

    latest = recorder.latest
    return {
        "tokens": latest["tokens"],
        "epochs": latest["tokens"] / epoch_tokens,
        "steps": latest["step"],
        "seconds": latest["seconds"],
        "tokens_per_second": latest["tokens"] / latest["seconds"] if latest["seconds"] else None,
        "loss": latest["train/loss"],
        "precision": precision,
        "mfu": latest.get("speed/mfu"),
        "peak_memory_bytes": peak_bytes(where),
    }
