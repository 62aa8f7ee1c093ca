"""`task=finetune` adapts a checkpoint to examples, or to more text, and says what that is worth."""

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from smallgpt.errors import Unfinished, UserError
from smallgpt.notices import say
from smallgpt.packages import require
from smallgpt.settings import Settings
from smallgpt.tasks.finetuned import print_scores, scored

if TYPE_CHECKING:
    from smallgpt.data.example_batches import ExampleDataModule
    from smallgpt.data.example_set import Example, ExampleSet
    from smallgpt.training.run_length import RunLength


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
    from lightning import seed_everything

    from smallgpt.contract.required import require_contract
    from smallgpt.data.example_encoding import ExampleEncoder
    from smallgpt.data.example_set import example_set, first_examples
    from smallgpt.finetuning.examination import Examiner
    from smallgpt.finetuning.methods import adapt, learning
    from smallgpt.finetuning.objectives import Completions, Labels
    from smallgpt.inference.checkpoint import load_checkpoint
    from smallgpt.machine.allocator import keep_freed_memory
    from smallgpt.machine.device import device, resolved_precision
    from smallgpt.models.decoder import Decoder
    from smallgpt.ranks import is_first_process
    from smallgpt.results import read_weights_record
    from smallgpt.tasks.evaluate import of_run
    from smallgpt.tasks.train import origin, peak, price_of, trainer_for, training_section
    from smallgpt.training.first_weights import narrowing_line, take_weights
    from smallgpt.training.identity import refuse_other_identity, run_identity
    from smallgpt.training.loggers import until_the_end
    from smallgpt.training.metrics import Recorder
    from smallgpt.training.module import LanguageModel
    from smallgpt.training.processes import check_processes, share_cores
    from smallgpt.training.saved_state import check_weights_of_state, weights_of_module

    assert settings.finetune is not None and settings.origin is not None
    how = settings.finetune
    check_processes(settings)
    if issubclass(settings.model_class, Decoder):
        require_contract(settings.model_class, settings.model, settings.cache_dir, f"checkpoint={settings.origin}")
    where = device(settings.trainer.accelerator, settings.trainer.devices)
    precision = resolved_precision(settings.trainer.precision, where)
    keep_freed_memory()
    share_cores(settings.trainer)
    begun_with, tokenizer = load_checkpoint(settings.origin)
    found = example_set(settings.data, settings.cache_dir)
    chosen = first_examples(found.of("train"), settings.data.examples, settings.seed)
    with_head = found.kind == "classification" and how.classifier == "head"
    encoder = ExampleEncoder(tokenizer, settings.context, found.labels, with_head, how.too_long)
    train, validation = encoder.encode(chosen), encoder.encode(found.of("validation"))
    seed_everything(settings.seed, verbose=False)
    causal = settings.model_class(settings.model)
    begun_from = origin(settings)
    if settings.first_weights != "random":
        begun_from["origin"] |= take_weights(causal, begun_with)
    causal.generation_config.eos_token_id = causal.generation_config.pad_token_id = tokenizer.eos_token_id
    price = price_of(settings, causal)
    model = adapt(causal, how, found.labels if with_head else (), settings.origin)
    data = data_module(settings, found, train, validation, tokenizer.eos_token_id, with_head)
    length = run_length(settings, len(train))
    if length.steps is not None:
        settings.schedule.refuse_endless(length.steps)
    warnings = warnings_of(found, chosen, train, settings)
    if is_first_process():
        for warning in warnings:
            say(f"warning: {warning}")
        if narrowing := begun_from["origin"].get("narrowing"):
            print(narrowing_line(narrowing))
    module = LanguageModel(
        model,
        settings.optimizer,
        settings.schedule,
        length,
        clip=settings.trainer.clip,
        objective=Labels(model) if with_head else Completions(model),
    )
    recorder = Recorder(
        round(settings.batch_examples * data.tokens_per_example),
        price.training_flops_per_token,
        peak(settings.trainer, where, precision) if is_first_process() else None,
        every=settings.log_every,
    )
    state = run_dir / "checkpoints" / "last.ckpt"
    resumed = settings.resume is not None and state.exists()
    identity = run_identity(found.fingerprint, settings.model_class)
    if resumed:
        check_weights_of_state(state, weights_of_module(model))
        refuse_other_identity(state, identity)
    elif is_first_process():
        (run_dir / "metrics.csv").unlink(missing_ok=True)
    tokenizer.save_pretrained(tokenizer_dir)
    trainer = trainer_for(
        settings, run_dir, tokenizer_dir, 0, recorder, where, precision, identity, patience=how.patience
    )
    with until_the_end(trainer.loggers) as loggers:
        trainer.fit(module, datamodule=data, ckpt_path=state if resumed else None, weights_only=True)
        weights, every = learning(model)
        sections: dict[str, Any] = {
            "cost": price.to_dict(),
            **begun_from,
            "data_fingerprint": found.fingerprint,
            "data": found.section(len(train)),
            "warnings": warnings,
            "train": training_section(recorder, round(len(train) * data.tokens_per_example), where),
            "finetune": {
                "method": how.method,
                "kind": found.kind,
                "learning_parameters": weights,
                "parameters": every,
                "cut_examples": sum(each.cut for each in train),
                "stopped_early": length.steps is not None and trainer.global_step < length.steps,
            },
        }
        if trainer.is_global_zero:
            best = run_dir / "checkpoints" / "best"
            examiner = Examiner(found.kind, found.labels, encoder, answer_tokens(settings, train))
            sections |= scored(settings, run_dir, best, found, chosen, examiner, where)
            sections["best"] = read_weights_record(best)
            print_scores(settings, sections)
            for logger in loggers:
                logger.log_result(sections)
        if settings.eval is not None and trainer.is_global_zero:
            try:
                sections["evaluation"], items = of_run(settings, run_dir, where, found.fingerprint)
            except UserError as error:
                raise Unfinished(f"{error}; the training is done, and task=evaluate scores it", sections) from error
            for logger in loggers:
                logger.log_evaluation(sections["evaluation"], items)
    return sections


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


def data_module(
    settings: Settings, found: "ExampleSet", train: Any, validation: Any, pad: int, with_head: bool
) -> "ExampleDataModule":
    """Data module of a training on examples."""
    from smallgpt.data.example_batches import ExampleDataModule

    assert settings.finetune is not None
    weights = None
    if settings.finetune.class_weights:
        counts = [sum(each.label == number for each in train) for number in range(len(found.labels))]
        if not counts:
            raise UserError(f"finetune.class_weights=true: of labels, and data={found.name} has none; leave it out")
        seen = sum(count > 0 for count in counts)
        weights = [len(train) / (seen * count) if count else 0.0 for count in counts]
    return ExampleDataModule(
        train,
        validation,
        settings.micro_batch_size,
        settings.seed,
        pad,
        with_label=with_head,
        side=settings.finetune.padding,
        class_weights=weights,
        workers=settings.trainer.workers,
        validation_tokens=settings.validation.tokens,
    )


def run_length(settings: Settings, examples: int) -> "RunLength":
    """Length of a training on so many examples that the budget gives, in optimizer steps or in seconds."""
    from smallgpt.training.run_length import RunLength

    budget = settings.budget
    if budget.seconds is not None:
        return RunLength(seconds=budget.seconds)
    seen = budget.examples if budget.examples is not None else (budget.epochs or 0) * examples
    return RunLength(steps=max(1, int(-(-seen // settings.batch_examples))))


def warnings_of(found: "ExampleSet", chosen: "list[Example]", train: Any, settings: Settings) -> list[str]:
    """What a reader of the scores should know, a line each."""
    said = []
    if cut := sum(each.cut for each in train):
        said.append(
            f"data={found.name}: {cut:,} of {len(train):,} training examples are longer than the context of "
            f"{settings.context} tokens and are cut"
        )
    if unseen := [label for label in found.labels if not any(each.references[0] == label for each in chosen)]:
        said.append(f"data.examples={len(chosen)}: no training example is {', '.join(unseen)}; another seed has others")
    if found.left_out:
        said.append(f"data={found.name}: {found.left_out:,} training examples are left out, near held-out ones")
    return said


def answer_tokens(settings: Settings, train: Any) -> int:
    """Largest number of tokens of a written answer: that of the longest in training, within the settings."""
    longest = max(len(each.ids) - each.prompt_length for each in train)
    return max(1, min(settings.generation.max_new_tokens, longest, settings.context // 2))
