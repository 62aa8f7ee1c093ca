"""task=benchmark: what models cost at inference, on this machine."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from smallgpt.errors import Impossible, UserError, one_line
from smallgpt.loading import baseline_model
from smallgpt.settings import Settings

if TYPE_CHECKING:
    from smallgpt.inference.subjects import Subject

LONGEST_CONTEXT = 1024  # of a model that sets no limit


def run(settings: Settings, run_dir: Path) -> dict[str, Any]:
    """Measures checkpoints in turn, or a config's model and a baseline; prints tables, returns `inference`.

    What a run directory's checkpoint costs also goes into the result.json of that run.
    """
    import torch

    from smallgpt.inference.benchmark import fitted, measure
    from smallgpt.inference.benchmark_table import print_benchmark
    from smallgpt.inference.machine import measured
    from smallgpt.models.cost import cost
    from smallgpt.run_directory import add_section
    from smallgpt.training.hardware import device

    check(settings)
    if settings.trainer.threads is not None:
        torch.set_num_threads(settings.trainer.threads)
    where = device(settings.trainer.accelerator)
    subjects = of_checkpoints(settings) if settings.checkpoint else of_config(settings)
    contexts = [getattr(subject.config, "max_position_embeddings", None) for subject in subjects]
    context = min([length for length in contexts if length], default=LONGEST_CONTEXT)
    works, lines = fitted(settings.benchmark, context, settings.chosen)
    for line in lines:
        print(line)
    found = measure(subjects, settings.benchmark, works, measured(where))
    sections = {subject.name: section for subject, section in zip(subjects, found, strict=True)}
    print_benchmark(sections)
    if not settings.checkpoint:
        *baseline, own = found
        result = {"inference": own, "cost": cost(settings.model).to_dict()}
        return {**result, "inference_of_baseline": baseline[0]} if baseline else result
    checked = found[-len(settings.checkpoint) :]
    # one that is quantized was measured as it is stored, too
    owners = settings.checkpoint if len(settings.checkpoint) == len(found) else settings.checkpoint * len(found)
    for checkpoint, section in zip(owners, found, strict=True):
        add_section(Path(checkpoint), "inference", section, beside)
    if len(settings.checkpoint) == 1:
        return {"checkpoint": settings.checkpoint[0], "inference": checked[0]}
    return {"checkpoints": dict(zip(sections, settings.checkpoint, strict=True)), "inferences": sections}


def beside(before: dict[str, Any], new: dict[str, Any]) -> dict[str, Any]:
    """The section of a run: as its weights are stored, with those in fewer bits by kind under `quantized`."""
    quantized = before.get("quantized", {})
    if new["quantize"] != "none":
        return {**before, "quantized": {**quantized, new["quantize"]: new}}
    return {**new, "quantized": quantized} if quantized else new


def check(settings: Settings) -> None:
    """Raises UserError where nothing can be measured."""
    from smallgpt.inference import onnx_engine
    from smallgpt.inference.checkpoint import locate
    from smallgpt.inference.packing import check
    from smallgpt.tasks.generate import refuse_for_graphs
    from smallgpt.training.hardware import device

    check(settings.quantize, device(settings.trainer.accelerator), settings.compile)
    if len(set(settings.checkpoint)) < len(settings.checkpoint):
        raise UserError(f"checkpoint={list(settings.checkpoint)}: one is there twice")
    graphs = [checkpoint for checkpoint in settings.checkpoint if onnx_engine.find(checkpoint)]
    for checkpoint in settings.checkpoint:
        if checkpoint not in graphs:
            locate(checkpoint)
    if graphs:
        refuse_for_graphs(settings)


def of_checkpoints(settings: Settings) -> list["Subject"]:
    """The first is the baseline, as it is stored; one alone that is quantized is compared with itself."""
    from smallgpt.inference import onnx_engine
    from smallgpt.inference.checkpoint import load
    from smallgpt.inference.subjects import OnnxSubject, Subject
    from smallgpt.tasks.evaluate import names_of
    from smallgpt.training.hardware import device

    model_type = settings.model.model_type if "model" in settings.chosen else None
    named = list(zip(settings.checkpoint, names_of(settings.checkpoint), strict=True))
    kinds = ["none"] + [settings.quantize] * (len(named) - 1)
    if len(named) == 1 and settings.quantize != "none":
        checkpoint, name = named[0]
        named, kinds = [(checkpoint, f"{name} unquantized"), (checkpoint, name)], ["none", settings.quantize]
    subjects = []
    for (checkpoint, name), kind in zip(named, kinds, strict=True):
        if folder := onnx_engine.find(checkpoint):
            subjects.append(OnnxSubject(name, folder, settings.trainer.threads))
            continue
        model, _ = load(checkpoint, model_type)
        subjects.append(Subject(name, model.to(device(settings.trainer.accelerator)), kind, settings.compile))
    return subjects


def of_config(settings: Settings) -> list["Subject"]:
    """The baseline at the size and block of the config, then the config's own model, with random weights.

    Where they are the same there is one.
    """
    import torch

    from smallgpt.inference.subjects import Subject
    from smallgpt.training.hardware import device

    where, model = device(settings.trainer.accelerator), settings.model
    size = {}
    if settings.matched is not None:
        size = {"n_embd": settings.matched.width_before, "n_layer": settings.matched.depth_before}
    to, values, given = settings.benchmark.to, settings.benchmark.baseline, settings.plain["model"]
    try:
        baseline_class, config = baseline_model("benchmark.baseline", values, model, given, **size)
    except ValueError as error:
        raise Impossible(f"benchmark.to={to}: {one_line(error)}") from error
    torch.manual_seed(settings.seed)
    name = settings.variant or model.model_type
    own = Subject(name, settings.model_class(model).to(where), settings.quantize, settings.compile)
    if settings.quantize == "none" and config.to_dict() == model.to_dict():
        return [own]
    name = f"{to} baseline" if to == name else to
    return [Subject(name, baseline_class(config).to(where), compiled=settings.compile), own]
