"""`task=benchmark` measures what models cost on this machine at inference, and what checkpoints know beside that."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Any

from smallgpt.errors import Impossible, UserError, one_line
from smallgpt.settings import Settings
from smallgpt.targets import baseline_model

if TYPE_CHECKING:
    import torch

    from smallgpt.evaluation.held_out import HeldOut
    from smallgpt.evaluation.text_likelihood import Reader
    from smallgpt.inference.checkpoint import Wanted
    from smallgpt.speed.measured_models import MeasuredModel
    from smallgpt.speed.roofline import Work

LONGEST_CONTEXT = 1024  # of a model that sets no limit


@dataclass(frozen=True)
class Loaded:
    """Checkpoint that is measured: the model that is timed, and a reader of texts with the same weights."""

    checkpoint: str
    subject: "MeasuredModel"
    reader: "Reader"
    """Reader of texts, with the weights of the subject."""


def run(settings: Settings, run_dir: Path) -> dict[str, Any]:
    """Measures checkpoints in turn, or a config's model and a baseline; prints tables, returns `inference`.

    What is found of a run directory's checkpoint, or of a graph that was exported from it, also goes into the
    result.json of that run, if it runs as it was trained. Of a sweep, one run of each arm is measured, and the report
    is made again with what was found.
    """
    from smallgpt.evaluation.held_out import held_out
    from smallgpt.inference.checkpoint import check_checkpoints, run_of, variant_of, wanted, which_weights
    from smallgpt.machine.cores import use_threads
    from smallgpt.machine.device import device
    from smallgpt.machine.rates import measured_machine
    from smallgpt.models.cost import cost
    from smallgpt.reporting.report import report
    from smallgpt.reporting.study import read_study
    from smallgpt.results import add_section
    from smallgpt.speed.benchmark import fitted, measure_models
    from smallgpt.speed.benchmark_table import print_benchmark

    where = device(settings.trainer.accelerator)
    check_benchmark(settings, where)
    use_threads(settings.trainer.threads)
    sweeps = [Path(sweep).expanduser() for sweep in dict.fromkeys(settings.sweep)]
    named = runs_of(sweeps, settings) if sweeps else named_checkpoints(settings.checkpoint)
    asked = wanted(settings)
    check_checkpoints(named.values(), asked, settings.cache_dir)
    text = held_out(settings, [run_of(checkpoint) for checkpoint in named.values()])
    loaded = of_checkpoints(settings, named, asked, where) if named else []
    subjects = [each.subject for each in loaded] or of_config(settings, where)
    contexts = [getattr(subject.config, "max_position_embeddings", None) for subject in subjects]
    context = min([length for length in contexts if length], default=LONGEST_CONTEXT)
    works, lines = fitted(settings.benchmark, context, settings.chosen)
    for line in lines:
        print(line)
    check_memory(subjects, works, where)
    found = measure_models(subjects, settings.benchmark, works, measured_machine(where))
    if text is not None:
        found = [section | {"text": known} for section, known in zip(found, text_sections(loaded, text), strict=True)]
    for each, section in zip(loaded, found, strict=False):  # none is loaded where a config is measured
        section["checkpoint"] = which_weights(each.checkpoint)
    sections = {subject.name: section for subject, section in zip(subjects, found, strict=True)}
    print_benchmark(sections)
    if not loaded:
        *baseline, own = found
        result = {"inference": own, "cost": cost(settings.model).to_dict()}
        return {**result, "inference_of_baseline": baseline[0]} if baseline else result
    if not asked.at_inference:
        for each, section in zip(loaded, found, strict=True):
            add_section(Path(run_of(each.checkpoint)), "inference", section, beside)
    if sweeps:
        made = report(read_study(sweeps, settings.baseline, settings.tune), sweeps[0] if len(sweeps) == 1 else run_dir)
        return {"checkpoints": named, "inferences": sections, "report": made}
    if len(named) == 1:
        (checkpoint,) = named.values()
        return {"checkpoint": checkpoint, "variant": variant_of(checkpoint), "inference": found[-1]}
    return {"checkpoints": named, "inferences": sections}


def named_checkpoints(checkpoints: Sequence[str]) -> dict[str, str]:
    """Checkpoints by the names that tables give them."""
    from smallgpt.tasks.evaluate import names_of

    return dict(zip(names_of(checkpoints), checkpoints, strict=True))


def runs_of(sweeps: Sequence[Path], settings: Settings) -> dict[str, str]:
    """One trained run of each arm, by its job and arm; the baseline first.

    Raises UserError where there is none, or no sweep.
    """
    from smallgpt.reporting.study import read_study
    from smallgpt.results import TRAINED

    found = {}
    for comparison in read_study(sweeps, settings.baseline, settings.tune).comparisons:
        for arm in sorted(comparison.arms, key=lambda arm: arm not in comparison.references):
            if (job := arm.jobs[0]).result.get("task") in TRAINED:
                found[f"{job.name} {arm.label}"] = str(job.run_dir)
    if not found:
        raise UserError(f"sweep={sweeps[0]}: no completed job has trained a model; give the directory of one that has")
    return found


def text_sections(loaded: list[Loaded], text: "HeldOut") -> list[dict[str, Any]]:
    """Sections `text`; a difference names the model it is from, and whether that is the same checkpoint unquantized."""
    from smallgpt.evaluation.held_out import measure_held_out
    from smallgpt.inference.checkpoint import run_of

    first = loaded[0]
    unquantized = run_of(first.checkpoint) if first.subject.quantize == "none" else None
    found = measure_held_out([each.reader for each in loaded], text)
    for each, section in zip(loaded, found, strict=True):
        if section["difference"]:
            section["difference"] |= {
                "over": first.subject.name,
                "from_unquantized": run_of(each.checkpoint) == unquantized,
            }
    return found


def beside(before: dict[str, Any], new: dict[str, Any]) -> dict[str, Any]:
    """Section `inference` of a run: the trained model in PyTorch; quantized, compiled or a graph under `kinds`."""
    kinds = before.get("kinds", {})
    if new["kind"] != "none":
        return {**before, "kinds": {**kinds, new["kind"]: new}}
    return {**new, "kinds": kinds} if kinds else new


def check_benchmark(settings: Settings, where: "torch.device") -> None:
    """Raises UserError where nothing can be measured."""
    from smallgpt.evaluation import held_out as quality
    from smallgpt.inference import onnx_engine
    from smallgpt.inference import weight_formats as packing
    from smallgpt.inference.checkpoint import locate, resolved_checkpoint, wanted
    from smallgpt.tasks.generate import refuse_for_graphs

    packing.check_quantize(settings.quantize, where, bool(settings.compile))
    quality.check_held_out(settings)
    if len(set(map(resolved_checkpoint, settings.checkpoint))) < len(settings.checkpoint):
        raise UserError(f"checkpoint={list(settings.checkpoint)}: one is there twice")
    graphs = [checkpoint for checkpoint in settings.checkpoint if onnx_engine.find_onnx_folder(checkpoint)]
    for checkpoint in settings.checkpoint:
        if checkpoint not in graphs:
            locate(checkpoint)
    if graphs:
        refuse_for_graphs(settings, wanted(settings), where)
    if settings.sweep and settings.checkpoint:
        raise UserError(f"sweep={settings.sweep[0]}: checkpoint= is given too; leave one of them out")
    if settings.sweep and settings.quantize != "none":
        raise UserError(f"quantize={settings.quantize}: sweep= is measured as it is stored; give runs by checkpoint=")


def check_memory(subjects: Sequence["MeasuredModel"], works: Sequence["Work"], where: "torch.device") -> None:
    """Raises UserError for a batch that does not fit beside the models, which are loaded."""
    from smallgpt.machine.memory import free_bytes, refuse_too_large
    from smallgpt.models.cost import sequence_bytes

    free = free_bytes(where)
    for subject, work in product(subjects, works):
        each = sequence_bytes(subject.config, work.prompt, work.prompt + work.new_tokens, subject.dtype.itemsize)
        key = f"benchmark.batches={work.batch}" if work.kind == "decode" else f"benchmark.prompts={work.prompt}"
        refuse_too_large(f"{key}: {subject.name}", work.batch, each, free)


def of_checkpoints(settings: Settings, named: dict[str, str], asked: "Wanted", where: "torch.device") -> list[Loaded]:
    """Loaded checkpoints: the first is the baseline, as it is stored; a single quantized one is its own baseline."""
    from smallgpt.evaluation.onnx_model import reader_of
    from smallgpt.evaluation.text_likelihood import Reader
    from smallgpt.inference import onnx_engine
    from smallgpt.inference.checkpoint import load_checkpoint
    from smallgpt.speed.measured_models import MeasuredGraph, MeasuredModel

    kinds = ["none"] + [settings.quantize] * (len(named) - 1)
    pairs = list(named.items())
    if len(pairs) == 1 and settings.quantize != "none":
        name, checkpoint = pairs[0]
        pairs, kinds = [(f"{name} unquantized", checkpoint), (name, checkpoint)], ["none", settings.quantize]
    loaded = []
    for (name, checkpoint), kind in zip(pairs, kinds, strict=True):
        if folder := onnx_engine.find_onnx_folder(checkpoint):
            graph = MeasuredGraph(name, folder, settings.trainer.threads)
            graph.runtime.check_type(asked.model_type)
            loaded.append(Loaded(checkpoint, graph, reader_of(graph.runtime, name)))
            continue
        model, tokenizer = load_checkpoint(checkpoint, asked)
        subject = MeasuredModel(name, model.to(where), kind, bool(settings.compile))
        loaded.append(Loaded(checkpoint, subject, Reader(subject.model, tokenizer, title=name)))
    return loaded


def of_config(settings: Settings, where: "torch.device") -> list["MeasuredModel"]:
    """Models of a config, with random weights: the baseline at the same size and block, then the config's own.

    Where both are the same there is only one.
    """
    import torch

    from smallgpt.contract.required import require_contract
    from smallgpt.speed.measured_models import MeasuredModel

    model = settings.model
    require_contract(settings.model_class, model, settings.cache_dir, f"model={settings.variant}")
    before = model if settings.matched is None else settings.matched.before
    to, values, given = settings.benchmark.to, settings.benchmark.baseline, settings.plain["model"]
    try:
        baseline_class, config = baseline_model("benchmark.baseline", values, before, given)
    except ValueError as error:
        raise Impossible(f"benchmark.to={to}: {one_line(error)}") from error
    torch.manual_seed(settings.seed)
    name = settings.variant or model.model_type
    own = MeasuredModel(name, settings.model_class(model).to(where), settings.quantize, bool(settings.compile))
    if settings.quantize == "none" and config.to_dict() == model.to_dict():
        return [own]
    name = f"{to} baseline" if to == name else to
    return [MeasuredModel(name, baseline_class(config).to(where), compiled=bool(settings.compile)), own]
