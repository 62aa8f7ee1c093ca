"""`task=export` writes a checkpoint as a folder for transformers, or as a graph for ONNX Runtime."""

from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from smallgpt.errors import UserError, shown
from smallgpt.notices import say
from smallgpt.packages import require
from smallgpt.settings import Settings

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from smallgpt.export.model_card import Run
    from smallgpt.models.decoder import Decoder
    from smallgpt.models.sequence_classifier import SequenceClassifier

TAKES = {"hf": ("none", "bf16"), "onnx": ("none", "int8_dynamic", "int4")}
SCORES = ("val", "best", "test", "evaluation")
ONNX_PACKAGES = ("onnx", "onnxscript", "onnxruntime")


def run(settings: Settings, run_dir: Path) -> dict[str, Any]:
    """Writes `hf/` or `onnx/` into the run directory, compares it with the checkpoint, returns the section `export`."""
    check_export(settings)
    from smallgpt.export.model_card import read_run
    from smallgpt.files import remove_partial, size_of, whole_folder
    from smallgpt.finetuning.adapted import HEAD, read_adapted
    from smallgpt.inference.checkpoint import (
        check_checkpoints,
        load_checkpoint,
        locate,
        resolved_checkpoint,
        variant_of,
        wanted,
        which_weights,
    )
    from smallgpt.models.decoder import Decoder
    from smallgpt.reporting.tables import print_pairs

    (checkpoint,) = settings.checkpoint
    form, quantize = settings.format, settings.quantize
    refuse_other_folder(run_dir, form)
    asked = wanted(settings)
    check_checkpoints(settings.checkpoint, asked, settings.cache_dir)
    model, tokenizer = load_checkpoint(checkpoint, asked)
    if not isinstance(model, Decoder):
        what = "transformers reads it as it is" if form == "hf" else "use its own library's exporter"
        raise UserError(f"checkpoint={checkpoint}: a {model.config.model_type} model, none of smallgpt's; {what}")
    if form == "onnx" and not model.config.can_cache:
        raise UserError(
            f"format=onnx: a model of type {model.config.model_type} has no cache, which the graph needs; use format=hf"
        )
    write = partial(write_onnx if form == "onnx" else write_hf, model)
    if (Path(locate(checkpoint)) / HEAD).is_dir() and form == "hf":
        write = partial(write_classifier, read_adapted(model, Path(locate(checkpoint))).classifier())
    elif (Path(locate(checkpoint)) / HEAD).is_dir():
        say("warning: the head that says labels stays behind; format=hf takes it, finetune.classifier=words needs none")
    record = read_run(checkpoint)
    if asked.at_inference:  # the scores are not those of this model
        record = replace(record, result={key: value for key, value in record.result.items() if key not in SCORES})
    target = run_dir / form
    for name in TAKES:  # of a killed export to either
        remove_partial(run_dir / name)
    with whole_folder(target) as folder:
        measured = write(tokenizer, record, quantize, folder)
    weights = which_weights(checkpoint)
    section = {
        "checkpoint": weights,
        "format": form,
        "path": str(target),
        "bytes": size_of(target),
        "quantize": quantize,
        **measured,
    }
    print_pairs(
        "export",
        {name.replace("_", " "): shown(value) if isinstance(value, bool) else value for name, value in section.items()},
    )
    return {"checkpoint": resolved_checkpoint(checkpoint), "variant": variant_of(checkpoint), "export": section}


def check_export(settings: Settings) -> None:
    """Raises UserError where nothing can be exported."""
    if len(settings.checkpoint) != 1:
        given = list(settings.checkpoint) or "null"
        raise UserError(f"checkpoint={given}: task=export needs one run directory, model folder or hub name")
    form, quantize = settings.format, settings.quantize
    if quantize not in TAKES[form]:
        raise UserError(f"quantize={quantize}: format={form} takes {', '.join(TAKES[form])}")
    if form == "onnx":
        require("format=onnx", *ONNX_PACKAGES, install="'smallgpt[export]'")


def refuse_other_folder(run_dir: Path, form: str) -> None:
    """Raises UserError where what would be written over is no exported model."""
    target = run_dir / form
    if (
        target.exists()
        and not (target / "config.json").is_file()
        and not (target.is_dir() and not any(target.iterdir()))
    ):
        raise UserError(
            f"hydra.run.dir={run_dir}: its {form}/ is no exported model and would be written over; "
            "choose another directory"
        )


def write_hf(
    model: "Decoder", tokenizer: "PreTrainedTokenizerBase", record: "Run", quantize: str, folder: Path
) -> dict[str, Any]:
    """Writes a folder for transformers; returns how it compares with the checkpoint."""
    from smallgpt.export import hf, verify_hf
    from smallgpt.export.model_card import model_card

    before = verify_hf.answers(model, len(tokenizer))
    hf.write_hf_folder(model, tokenizer, folder, bf16=quantize == "bf16")
    (folder / "README.md").write_text(model_card(model, record, "hf", quantize), encoding="utf-8")
    return verify_hf.verify_hf(model, tokenizer, folder, before)


def write_classifier(
    model: "SequenceClassifier", tokenizer: "PreTrainedTokenizerBase", record: "Run", quantize: str, folder: Path
) -> dict[str, Any]:
    """Writes the model with the head of its run as a classifier for transformers; returns how the two compare."""
    from smallgpt.export import hf, verify_hf
    from smallgpt.export.model_card import model_card

    tokenizer.pad_token = tokenizer.pad_token or tokenizer.eos_token  # texts of a batch differ in length
    model.config.pad_token_id = tokenizer.pad_token_id
    before = verify_hf.label_logits(model, tokenizer)
    hf.write_hf_folder(model, tokenizer, folder, bf16=quantize == "bf16")
    (folder / "README.md").write_text(model_card(model, record, "classifier", quantize), encoding="utf-8")
    return verify_hf.verify_classifier(model, tokenizer, folder, before)


def write_onnx(
    model: "Decoder", tokenizer: "PreTrainedTokenizerBase", record: "Run", quantize: str, folder: Path
) -> dict[str, Any]:
    """Writes a folder for ONNX Runtime; returns how it compares with the checkpoint."""
    from smallgpt.export import onnx_graph, verify_onnx
    from smallgpt.export.model_card import model_card
    from smallgpt.export.quantize import quantize_graph
    from smallgpt.inference.onnx_engine import GRAPH

    onnx_graph.write_onnx_folder(model, tokenizer, folder)
    (folder / "README.md").write_text(model_card(model, record, "onnx", quantize), encoding="utf-8")
    found = verify_onnx.verify_onnx(model, folder, exact=True)
    if quantize != "none":
        quantize_graph(folder / GRAPH, quantize, onnx_graph.is_large(model))
        found = verify_onnx.verify_onnx(model, folder, exact=False)
    onnx_graph.describe_weights(folder, quantize)
    return found
