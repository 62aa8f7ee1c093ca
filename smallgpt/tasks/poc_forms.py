"""Forms in which a candidate of a proof of concept can be deployed, and what each is worth and costs.

A form is the model in PyTorch, or its exported graph in ONNX Runtime, in fp32 or quantized.
"""

import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from smallgpt.errors import Unfinished
from smallgpt.settings import Evaluation, Generation, Settings

if TYPE_CHECKING:
    from smallgpt.data.example_set import Example, ExampleSet
    from smallgpt.evaluation.evaluate import Plan
    from smallgpt.finetuning.examination import Examiner

WORST = 10
BITS_EXAMPLES = 200
LONGEST_BUT = 0.95


@dataclass(frozen=True)
class Form:
    """Form of a candidate: how its weights are stored, and what runs them."""

    quantize: str
    """Format of the weights; `none` is fp32."""
    graph: bool
    """Whether ONNX Runtime runs it, else PyTorch."""

    @property
    def name(self) -> str:
        """Name in tables, such as `ONNX int8`."""
        if not self.graph:
            return "PyTorch"
        return "ONNX" if self.quantize == "none" else f"ONNX {self.quantize.partition('_')[0]}"

    def folder(self, run_dir: Path) -> Path:
        """Folder of the form in the candidate's run."""
        return run_dir / (f"onnx_{self.quantize}" if self.graph else "pytorch")

    def checkpoint(self, run_dir: Path) -> str:
        """What is loaded to answer in this form."""
        return str(self.folder(run_dir) if self.graph else run_dir / "adapted")

    def deployed(self, run_dir: Path) -> Path:
        """Folder of what is deployed."""
        from smallgpt.inference.checkpoint import locate

        return self.folder(run_dir) / "onnx" if self.graph else Path(locate(self.checkpoint(run_dir)))


def forms_of(settings: Settings) -> list[Form]:
    """Forms of a candidate; a model of transformers' own, and one without a cache, has no graph."""
    from smallgpt.models.decoder import Decoder

    assert settings.poc is not None
    exported = issubclass(settings.model_class, Decoder) and settings.model.can_cache
    return [Form("none", False), *(Form(kind, True) for kind in ("none", *settings.poc.quantize) if exported)]


def measured(settings: Settings, found: "ExampleSet", form: Form, run_dir: Path) -> dict[str, Any]:
    """What a form is worth, and what of it is deployed; made and asked once."""
    from smallgpt.tasks.poc_stages import as_task, export, stage

    adapted = str(run_dir / "adapted")
    how = export(settings, adapted, form.quantize) if form.graph else as_task(settings, "poc", checkpoint=(adapted,))

    def work(stage_settings: Settings, folder: Path) -> dict[str, Any]:
        from smallgpt.tasks import export as exporting

        made = exporting.run(stage_settings, folder) if form.graph else {}
        return {**made, "form": form.name, **asked_of_form(settings, found, form, run_dir)}

    result = stage(how, form.folder(run_dir), work)
    kept = ("form", "test", "right", "worst", "bits_per_byte", "disk_bytes", "evaluation")
    return {key: result.get(key) for key in kept}


def asked_of_form(settings: Settings, found: "ExampleSet", form: Form, run_dir: Path) -> dict[str, Any]:
    """Sections of a form's answers to the held-out examples, its bits per byte and its size."""
    from smallgpt.files import size_of
    from smallgpt.tasks.finetuned import keep_rows

    assert settings.poc is not None
    model, tokenizer, engine = loaded(settings, form, run_dir)
    examiner = examiner_of(settings, found, tokenizer)
    examples = found.of("test")[: settings.poc.scored_examples]
    said = examiner.by_words(model, examples, examiner.label_prompts(examples))
    right = [item["prediction"] == item["answer"] for item in said.items]
    wrong = [item for item, is_right in zip(said.items, right, strict=True) if not is_right]
    keep_rows(form.folder(run_dir), "answers_test", said.items)
    return {
        "test": said.scores,
        "right": "".join("01"[each] for each in right),
        "worst": sorted(wrong, key=lambda item: -item["probability"])[:WORST],
        "bits_per_byte": example_bits(model, tokenizer, examples),
        "disk_bytes": size_of(form.deployed(run_dir)),
        "evaluation": None if settings.eval is None else evaluation(settings, model, tokenizer, engine),
    }


def loaded(settings: Settings, form: Form, run_dir: Path) -> tuple[Any, Any, Any]:
    """Model of a form that answers, its tokenizer, and the engine of a graph."""
    from smallgpt.evaluation.onnx_model import GraphModel
    from smallgpt.inference.checkpoint import load_checkpoint
    from smallgpt.inference.onnx_engine import OnnxEngine, find_onnx_folder
    from smallgpt.machine.device import device

    model, tokenizer = load_checkpoint(str(run_dir / "adapted"))
    if not form.graph:
        return model.to(device(settings.trainer.accelerator)), tokenizer, None
    folder = find_onnx_folder(form.checkpoint(run_dir))
    assert folder is not None
    engine = OnnxEngine(folder, settings.trainer.threads)
    return GraphModel(engine), tokenizer, engine


def examiner_of(settings: Settings, found: "ExampleSet", tokenizer: Any) -> "Examiner":
    """Examiner that asks for labels in words."""
    from smallgpt.data.example_encoding import ExampleEncoder
    from smallgpt.finetuning.examination import Examiner

    encoder = ExampleEncoder(tokenizer, settings.context, found.labels)
    return Examiner(found.kind, found.labels, encoder, answer_tokens=1)


def answer_size(settings: Settings, examiner: "Examiner", examples: "Sequence[Example]") -> tuple[int, int]:
    """Numbers of tokens of a prompt and of an answer that are timed: the user's, or those of the held-out examples."""
    asked = settings.poc
    assert asked is not None
    new = asked.new_tokens or max(2, examiner.option_room(examples))
    lengths = sorted(map(len, examiner.label_prompts(examples)))
    prompt = asked.prompt_tokens or lengths[int(LONGEST_BUT * (len(lengths) - 1))]
    return max(1, min(prompt, settings.context - new)), new


def example_bits(model: Any, tokenizer: Any, examples: "Sequence[Example]") -> float:
    """Bits per byte of the first held-out examples as text, each alone."""
    from smallgpt.evaluation.measures import text_score
    from smallgpt.evaluation.text_likelihood import Reader

    texts = [each.text for each in examples[:BITS_EXAMPLES]]
    return float(text_score(Reader(model, tokenizer).likelihood_of_texts(texts))["bits_per_byte"])


def evaluation(settings: Settings, model: Any, tokenizer: Any, engine: Any) -> dict[str, Any]:
    """Section `evaluation` of a model or graph: what `eval=` asks."""
    from smallgpt.evaluation.evaluate import answers_of, answers_of_graph, evaluation_section

    assert settings.eval is not None
    plan = probe_plan(settings.eval, settings.generation, settings.seed, settings.trainer.accelerator)
    if engine is not None:
        return evaluation_section(plan, answers_of_graph(plan, "", engine, tokenizer))
    return evaluation_section(plan, answers_of(plan, "", model, tokenizer, shown=False))


@cache
def probe_plan(asked: Evaluation, generation: Generation, seed: int, accelerator: str) -> "Plan":
    """Plan of what `eval=` asks, made once for all forms: the harness reads all of its tasks to find one.

    Raises UserError for the first thing that cannot be asked.
    """
    from smallgpt.evaluation.evaluate import make_plan
    from smallgpt.machine.device import device

    return make_plan(asked, generation, seed, device(accelerator))


def asked_before(settings: Settings, checkpoint: str, folder: Path) -> dict[str, Any]:
    """Section `evaluation` of the model before it is adapted; asked once."""
    from smallgpt.inference.checkpoint import load_checkpoint
    from smallgpt.tasks.poc_stages import as_task, stage

    def work(_: Settings, __: Path) -> dict[str, Any]:
        return {"evaluation": evaluation(settings, *load_checkpoint(checkpoint), None)}

    return stage(as_task(settings, "evaluate", checkpoint=(checkpoint,)), folder, work)["evaluation"]


def speeds(settings: Settings, found: "ExampleSet", forms: Sequence[Form], run_dir: Path) -> dict[str, dict[str, Any]]:
    """Times of an answer by each form, measured in turn; by the names of the forms."""
    from smallgpt.tasks.poc_stages import as_task, stage

    def work(_: Settings, __: Path) -> dict[str, Any]:
        return {"speed": timed_answers(settings, found, forms, run_dir)}

    return stage(as_task(settings, "benchmark"), run_dir / "speed", work)["speed"]


def timed_answers(
    settings: Settings, found: "ExampleSet", forms: Sequence[Form], run_dir: Path
) -> dict[str, dict[str, Any]]:
    """Times the forms of a candidate in turn: the first token, each further one, and the whole answer, in seconds."""
    from smallgpt.inference.checkpoint import load_checkpoint
    from smallgpt.inference.onnx_engine import find_onnx_folder
    from smallgpt.machine.device import device
    from smallgpt.speed.benchmark import in_turn
    from smallgpt.speed.measured_models import MeasuredGraph, MeasuredModel
    from smallgpt.speed.roofline import Work

    assert settings.poc is not None
    model, tokenizer = load_checkpoint(str(run_dir / "adapted"))
    examples = found.of("test")[: settings.poc.scored_examples]
    prompt, new = answer_size(settings, examiner_of(settings, found, tokenizer), examples)
    batch = settings.poc.batch
    subjects: list[Any] = []
    for form in forms:
        folder = find_onnx_folder(form.checkpoint(run_dir)) if form.graph else None
        if folder is None:
            subjects.append(MeasuredModel(form.name, model.to(device(settings.trainer.accelerator))))
        else:
            subjects.append(MeasuredGraph(form.name, folder, settings.trainer.threads))
    works = [Work("decode", prompt, new, batch)]
    in_turn(subjects, works, 2, MeasuredModel.token_times)  # warms up
    times = in_turn(subjects, works, settings.poc.rounds, MeasuredModel.token_times)
    made = {}
    for form, own in zip(forms, times, strict=True):
        rounds: Any = own[works[0]]
        answer = middle([each[-1] for each in rounds])
        made[form.name] = {
            "prompt_tokens": prompt,
            "new_tokens": new,
            "first_token_seconds": middle([each[0] for each in rounds]),
            "seconds_per_token": middle([(each[-1] - each[0]) / (new - 1) for each in rounds]),
            "answer_seconds": answer,
            "tokens_per_second": batch * new / answer["median"],
            "answers_per_second": batch / answer["median"],
        }
    return made


def memories(
    settings: Settings, forms: Sequence[Form], times: dict[str, dict[str, Any]], run_dir: Path
) -> dict[str, Any]:
    """Result of the stage that measures the `memory` of a process which answers, by the names of the forms."""
    from smallgpt.speed.resident_memory import resident_memory
    from smallgpt.tasks.poc_stages import as_task, stage

    assert settings.poc is not None
    batch, threads = settings.poc.batch, settings.trainer.threads

    def work(_: Settings, __: Path) -> dict[str, Any]:
        found = {}
        for form in forms:
            prompt, new = (times[form.name][key] for key in ("prompt_tokens", "new_tokens"))
            found[form.name] = resident_memory(str(form.deployed(run_dir)), prompt, batch, new, threads)
        if failed := [f"{name} ({each['error']})" for name, each in found.items() if each.get("error")]:
            raise Unfinished(f"the memory of {', '.join(failed)} was not measured", {"memory": found})
        return {"memory": found}

    return stage(as_task(settings, "benchmark"), run_dir / "memory", work)


def middle(seconds: Sequence[float]) -> dict[str, float]:
    """Median of rounds with its 95 % interval by ranks, which assumes nothing of how times are spread."""
    from scipy import stats

    ranked, n = sorted(seconds), len(seconds)
    rank = max(int(stats.binom.ppf(0.025, n, 0.5)) - 1, 0)
    return {"median": statistics.median(ranked), "low": ranked[rank], "high": ranked[n - 1 - rank]}
