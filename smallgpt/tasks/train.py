"""`task=train` trains a model and leaves the checkpoint, its metrics, its scores and a sample."""

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from smallgpt.settings import Settings

if TYPE_CHECKING:
    import torch
    from lightning import Trainer

    from smallgpt.data.datamodule import TokenDataModule
    from smallgpt.data.prepared_data import PreparedData
    from smallgpt.machine.device import Precision
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
    from smallgpt.machine.allocator import keep_freed_memory
    from smallgpt.machine.device import device, resolved_precision
    from smallgpt.models.cost import cost
    from smallgpt.ranks import is_first_process
    from smallgpt.tasks.evaluate import of_run
    from smallgpt.tasks.inspect import match
    from smallgpt.training.identity import refuse_other_identity, run_identity
    from smallgpt.training.loggers import until_the_end
    from smallgpt.training.metrics import Recorder
    from smallgpt.training.module import LanguageModel
    from smallgpt.training.processes import check_processes, share_cores

    check_processes(settings)
    require_contract(settings.model_class, settings.model, settings.cache_dir, f"model={settings.variant}")
    where = device(settings.trainer.accelerator, settings.trainer.devices)
    precision = resolved_precision(settings.trainer.precision, where)
    keep_freed_memory()
    share_cores(settings.trainer)
    state = run_dir / "checkpoints" / "last.ckpt"
    resumed = settings.resume is not None and state.exists()
    begun_from, begun_with = origin(settings), None if resumed else first_weights(settings)
    prepared = prepare(settings.data, settings.tokenizer, settings.cache_dir)
    seed_everything(settings.seed, verbose=False)
    model = settings.model_class(settings.model)
    if begun_with is not None:
        model.load_state_dict(begun_with)
        begun_with = None  # its memory is free for the training
    model.generation_config.eos_token_id = prepared.eos_id
    model.generation_config.pad_token_id = prepared.eos_id
    price = cost(settings.model)
    data = data_module(settings, prepared)
    length = run_length(settings, price.training_flops_per_token, data.epoch_tokens)
    if length.steps is not None:
        settings.schedule.refuse_endless(length.steps)
    warnings = [*prepared.warnings(), *warnings_of_epochs(settings, length.steps, data.epoch_tokens)]
    if is_first_process():
        announce(settings, length.steps, data.epoch_tokens, warnings)
    module = LanguageModel(
        model,
        settings.optimizer,
        settings.schedule,
        length,
        clip=settings.trainer.clip,
        validation_bytes=data.validation_bytes,
        compile=settings.compile,
    )
    recorder = Recorder(
        settings.batch.tokens,
        price.training_flops_per_token,
        peak(settings.trainer, where, precision) if is_first_process() else None,
        every=settings.log_every,
    )
    if not resumed and is_first_process():  # rows of a run that was stopped before its first checkpoint
        (run_dir / "metrics.csv").unlink(missing_ok=True)
    identity = run_identity(prepared.fingerprint, settings.model_class)
    if resumed:
        refuse_other_identity(state, identity)
    trainer = trainer_for(settings, run_dir, prepared, recorder, where, precision, identity)
    with until_the_end(trainer.loggers) as loggers:
        trainer.fit(module, datamodule=data, ckpt_path=state if resumed else None, weights_only=True)
        sections: dict[str, Any] = {
            "cost": price.to_dict(),
            **match(settings),
            **begun_from,
            "data_fingerprint": prepared.fingerprint,
            "data": prepared.section(),
            "warnings": warnings,
            "train": training_section(recorder, data.epoch_tokens),
        }
        if trainer.is_global_zero:
            sections |= score_sections(settings, prepared, run_dir, where)
            sections["samples"] = samples(settings, module, prepared, run_dir)
            print_summary(settings, sections)
            for logger in loggers:
                logger.log_scores({split: sections[split] for split in ("val", "test") if split in sections})
                logger.log_samples(sections["samples"])
        if settings.eval is not None and trainer.is_global_zero:
            sections["evaluation"], items = of_run(settings, run_dir, where, prepared.fingerprint)
            for logger in loggers:
                logger.log_evaluation(sections["evaluation"], items)
    return sections


def first_weights(settings: Settings) -> "dict[str, torch.Tensor] | None":
    """Weights of the checkpoint that the training begins from; None where they begin as random numbers."""
    from smallgpt.inference.checkpoint import load_checkpoint

    if settings.origin is None:
        return None
    return load_checkpoint(settings.origin)[0].state_dict()


def origin(settings: Settings) -> dict[str, Any]:
    """Section `origin` of a result: the checkpoint that the training began from; nothing where there was none."""
    from smallgpt.inference.checkpoint import variant_of, which_weights

    if settings.origin is None:
        return {}
    checkpoint, weights = settings.origin, which_weights(settings.origin)
    return {"origin": {"checkpoint": checkpoint, "weights": weights, "variant": variant_of(checkpoint)}}


def data_module(settings: Settings, prepared: "PreparedData") -> "TokenDataModule":
    """Data module of the run; with trainer.overfit=true it repeats one batch."""
    from smallgpt.data.datamodule import TokenDataModule
    from smallgpt.training.overfit import OverfitDataModule

    overfit = settings.trainer.overfit
    data = (OverfitDataModule if overfit else TokenDataModule)(
        prepared,
        block_size=settings.model.block_size,
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


def peak(trainer: "TrainerSettings", where: "torch.device", precision: "Precision") -> float | None:
    """FLOPs a second that the devices of the run, or the processes' shares of a CPU, reach together at their best."""
    from smallgpt.machine.rates import peak_flops

    one = peak_flops(where, precision)
    return None if one is None else one * trainer.processes


def trainer_for(
    settings: Settings,
    run_dir: Path,
    prepared: "PreparedData",
    recorder: "Recorder",
    where: "torch.device",
    precision: "Precision",
    identity: dict[str, Any],
) -> "Trainer":
    """Lightning's trainer for the run, with its callbacks and loggers."""
    from smallgpt.ranks import is_first_process
    from smallgpt.training.checkpoints import Checkpoints
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
    checkpoints = Checkpoints(run_dir / "checkpoints", prepared.tokenizer_dir, metrics, identity)
    _, scored_tokens, _ = prepared.held_out(settings.validation.final_tokens)
    callbacks = [
        ValidationSchedule(settings.validation.every),  # first: it says which step is the last
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


def epochs(number: float) -> str:
    """A number of epochs in words, such as `1.5 epochs`."""
    return f"{number:.2g} epoch{'' if f'{number:.2g}' == '1' else 's'}"


def training_section(recorder: "Recorder", epoch_tokens: int) -> dict[str, Any]:
    """The section `train`: where the run ended."""
    latest = recorder.latest
    return {
        "tokens": latest["tokens"],
        "epochs": latest["tokens"] / epoch_tokens,
        "steps": latest["step"],
        "seconds": latest["seconds"],
        "tokens_per_second": latest["tokens"] / latest["seconds"],
        "loss": latest["train/loss"],
        "mfu": latest.get("speed/mfu"),
    }


def score_sections(
    settings: Settings, prepared: "PreparedData", run_dir: Path, where: "torch.device"
) -> dict[str, Any]:
    """The sections `val`, of the last weights, `best`, and where the corpus has a test split `test`, of the best ones.

    Validation chooses the best weights, so their own score is that of the test split, which is read here alone.
    """
    from smallgpt.evaluation.run_scores import score_weights
    from smallgpt.results import read_weights_record

    folders, most = run_dir / "checkpoints", settings.validation.final_tokens
    found = {"val": score_weights(folders / "last", prepared.held_out_documents(most), where)}
    if prepared.test_documents:
        found["test"] = score_weights(folders / "best", prepared.held_out_documents(most, "test"), where)
    for score in found.values():
        score["bits_per_byte_comparable"] = prepared.bits_per_byte_comparable
    return {**found, "best": read_weights_record(folders / "best")}


def samples(settings: Settings, module: "LanguageModel", prepared: "PreparedData", run_dir: Path) -> list[str]:
    """Prompts with their continuations by the trained model."""
    from transformers import AutoTokenizer

    from smallgpt.inference.generate import generate

    tokenizer: Any = AutoTokenizer.from_pretrained(prepared.tokenizer_dir)
    model = module.model
    if module.sharded:  # this process has a part of it
        model = settings.model_class.from_pretrained(run_dir / "checkpoints" / "last")
    prompts = settings.prompt or ("",)
    return generate(model, tokenizer, prompts, settings.generation, settings.seed)


def print_summary(settings: Settings, sections: dict[str, Any]) -> None:
    """Prints what the run reached, and its first sample."""
    from smallgpt.speed.benchmark_table import with_interval

    train, val = sections["train"], sections["val"]
    rows = {
        "model": settings.model.model_type,
        "parameters": f"{sections['cost']['parameters']:,}",
        "tokens": f"{train['tokens']:,} in {train['steps']:,} steps, {epochs(train['epochs'])}",
        "time": f"{train['seconds']:.1f} s, {train['tokens_per_second']:,.0f} tokens/s",
        "train loss": f"{train['loss']:.4f}",
        "validation loss": f"{val['loss']:.4f} on {val['documents']:,} documents",
        "perplexity": f"{val['perplexity']:.2f}",
        "bits per byte": with_interval(val["bits_per_byte"], val["bits_per_byte_interval"])
        + ("" if val["bits_per_byte_comparable"] else " (the tokenizer loses text: not comparable with another's)"),
    }
    if test := sections.get("test"):
        bits = with_interval(test["bits_per_byte"], test["bits_per_byte_interval"])
        rows["test split"] = f"loss {test['loss']:.4f}, bits per byte {bits}, of the best weights (step {test['step']})"
    print()
    for name, value in rows.items():
        print(f"{name:<16} {value}")
    print(f"\n--- sample ---\n{sections['samples'][0]}\n--------------")
