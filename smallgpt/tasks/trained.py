"""What a training ends with: the scores of its weights, a sample of their text, and a summary on the terminal."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from smallgpt.environment import environment
from smallgpt.errors import Unfinished, UserError, one_line
from smallgpt.notices import say, show
from smallgpt.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Sequence

    import torch

    from smallgpt.data.prepared_data import PreparedData
    from smallgpt.training.loggers import Lasting
    from smallgpt.training.module import LanguageModel


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
    from smallgpt.training.compiled_parts import uncompiled

    tokenizer: Any = AutoTokenizer.from_pretrained(prepared.tokenizer_dir, trust_remote_code=False)
    model = getattr(module.model, "causal", module.model)  # of an adapted model what predicts tokens
    if module.sharded:  # this process has a part of it
        model = settings.model_class.from_pretrained(run_dir / "checkpoints" / "last")
    prompts = settings.prompt or ("",)
    with uncompiled():  # blocks that were compiled for training would be compiled again for each length of a text
        return generate(model, tokenizer, prompts, settings.generation, settings.seed)


def samples_or_warning(
    settings: Settings, module: "LanguageModel", prepared: "PreparedData", run_dir: Path
) -> list[str]:
    """The samples of a run; none, and a line that says why, where they cannot be made: the training is done."""
    try:
        return samples(settings, module, prepared, run_dir)
    except (UserError, RuntimeError, ValueError) as error:
        say(f"warning: no sample: {one_line(error)}")
        return []


def evaluated(
    settings: Settings, run_dir: Path, where: "torch.device", sections: dict[str, Any], loggers: "Sequence[Lasting]"
) -> dict[str, Any]:
    """The section `evaluation` of a trained run, by the tasks of `eval=`; nothing where it names none.

    Raises Unfinished, with the other sections, where a task cannot be asked: the training is done.
    """
    from smallgpt.tasks.evaluate import of_run

    if settings.eval is None:
        return {}
    try:
        found, items = of_run(settings, run_dir, where, sections["data_fingerprint"])
    except UserError as error:
        raise Unfinished(f"{error}; the training is done, and task=evaluate scores it", sections) from error
    for logger in loggers:
        logger.log_evaluation(found, items)
    return {"evaluation": found}


def tell(settings: Settings, sections: dict[str, Any], run_dir: Path, loggers: "Sequence[Lasting]") -> None:
    """Tells loggers what a run reached, and hands its checkpoint over to those that keep one."""
    for logger in loggers:
        logger.log_result(sections)
        if logger.wants:
            keep_checkpoint(settings, sections, run_dir, logger)


def keep_checkpoint(settings: Settings, sections: dict[str, Any], run_dir: Path, logger: "Lasting") -> None:
    """Hands the checkpoint that a logger keeps over to it, with the model card that an export would write."""
    from smallgpt.export.model_card import Run, model_card
    from smallgpt.inference.checkpoint import load_checkpoint, which_weights
    from smallgpt.models.decoder import Decoder

    folder = run_dir / "checkpoints" / str(logger.wants)
    model: Any = load_checkpoint(str(folder))[0]
    result = {**sections, "seed": settings.seed, "environment": environment()}
    run = Run(result, settings.plain, sections["data"].get("origin") or {}, which_weights(str(folder)))
    # of a model of transformers' own nothing is known that a card could say
    logger.log_checkpoint(folder, model_card(model, run, "hf", "none") if isinstance(model, Decoder) else "")


def print_summary(settings: Settings, sections: dict[str, Any]) -> None:
    """Prints what the run reached, and its first sample."""
    from smallgpt.speed.benchmark_table import with_interval

    train, val = sections["train"], sections["val"]
    speed = train["tokens_per_second"]  # none where the clock did not move
    rows = {
        "model": settings.model.model_type,
        "parameters": f"{sections['cost']['parameters']:,}",
        "tokens": f"{train['tokens']:,} in {train['steps']:,} steps, {epochs(train['epochs'])}",
        "time": f"{train['seconds']:.1f} s" + ("" if speed is None else f", {speed:,.0f} tokens/s"),
        "other time": ", ".join(f"{name} {seconds:.1f} s" for name, seconds in train["seconds_beside"].items()),
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
    for sample in sections["samples"][:1]:
        show(f"\n--- sample ---\n{sample}\n--------------")


def epochs(number: float) -> str:
    """A number of epochs in words, such as `1.5 epochs`."""
    return f"{number:.2g} epoch{'' if f'{number:.2g}' == '1' else 's'}"
