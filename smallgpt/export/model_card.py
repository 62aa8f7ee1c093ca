"""Model card, README.md of an exported model: what it is, what it was trained on, what it costs and is worth."""

import json
import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from smallgpt.errors import UserError
from smallgpt.inference.checkpoint import which_weights
from smallgpt.models.cost import cost
from smallgpt.models.decoder import Decoder
from smallgpt.models.sequence_classifier import SequenceClassifier
from smallgpt.results import TRAINED, read_result
from smallgpt.run_directory import config_of_run

HOW = {
    "hf": """
```python
from transformers import AutoModelForCausalLM, AutoTokenizer

model = AutoModelForCausalLM.from_pretrained("FOLDER", trust_remote_code=True)
tokenizer = AutoTokenizer.from_pretrained("FOLDER", trust_remote_code=True)
ids = tokenizer("Once upon a time", return_tensors="pt")
print(tokenizer.decode(model.generate(**ids, max_new_tokens=50)[0]))
```

The model's code is in this folder: nothing but `torch` and `transformers` is needed. `peft` adapts the maps of its
blocks with `LoraConfig(task_type="CAUSAL_LM", target_modules="all-linear")`.
""",
    "classifier": """
```python
from transformers import AutoModelForSequenceClassification, AutoTokenizer

model = AutoModelForSequenceClassification.from_pretrained("FOLDER", trust_remote_code=True)
tokenizer = AutoTokenizer.from_pretrained("FOLDER", trust_remote_code=True)
ids = tokenizer(PROMPT, return_tensors="pt")
print(model.config.id2label[int(model(**ids).logits.argmax())])
```

Write a text as above, as it was in the training. The model's code is in this folder: nothing but `torch` and
`transformers` is needed.
""",
    "onnx": """
```
pip install numpy onnxruntime tokenizers
python FOLDER/generate.py "Once upon a time"
```

`model.onnx` reads a prompt and continues it, with the cache as its inputs and outputs; `config.json` names them.
""",
}
KINDS = dict.fromkeys(HOW, "A decoder-only language model") | {"classifier": "A classifier of texts, a decoder"}
"""What an export is, by its form."""


@dataclass
class Run:
    """What a run directory says about its checkpoint; empty for a bare model folder."""

    result: dict[str, Any] = field(default_factory=dict)
    config: dict[str, Any] = field(default_factory=dict)
    origin: dict[str, str] = field(default_factory=dict)
    """Source and licence of the data."""
    checkpoint: str | None = None
    """Weights of the run that the checkpoint stands for, such as `best, step 900`."""
    imported: str | None = None
    """Program and name of the checkpoint that task=import took the weights from; None for a model trained here."""


OF_SPLITS = {"loss": "loss", "bits_per_byte": "bits per byte", "accuracy": "accuracy", "macro_f1": "macro F1"}
OF_SPLITS |= {"exact_match": "exact match", "f1": "F1", "rougeL": "ROUGE-L"}
"""Scores of a split, with their names; those behind the second are a fine-tuning's."""


def read_run(checkpoint: str) -> Run:
    """Reads what there is about a checkpoint: a run directory, or a model folder in its `checkpoints`."""
    path = Path(checkpoint).expanduser().absolute()
    run_dir = path.parent.parent if path.parent.name == "checkpoints" else path
    result = read_result(run_dir) or {}
    if result.get("task") == "import":
        name = str(result.get("checkpoint", "not known"))
        return Run(imported=f"{result['import']['program']} ({Path(name).name if Path(name).is_absolute() else name})")
    if result.get("task") not in TRAINED:
        return Run()
    try:
        config = config_of_run(run_dir)
    except UserError:
        config = {}
    return Run(result, config, origin_of(result, config), which_weights(checkpoint))


def origin_of(result: dict[str, Any], config: dict[str, Any]) -> dict[str, str]:
    """Source and licence of the data, as the prepared data has it, else as far as the config does."""
    prepared = Path(config.get("cache_dir") or ".").expanduser() / "prepared"
    for index in prepared.glob(f"*-{result.get('data_fingerprint')}/index.json"):
        try:
            return json.loads(index.read_text()).get("origin") or {}
        except (OSError, ValueError):
            continue
    data = config.get("data", {})
    found = {"source": data.get("repository") or data.get("path"), "licence": data.get("licence")}
    return {key: value for key, value in found.items() if value}


def model_card(model: Decoder | SequenceClassifier, run: Run, form: str, quantize: str) -> str:
    """Writes a model card in Markdown, with the hub's header."""
    config = model.config
    name = f"{config.model_type} {config.schedule_string()}"
    made = f"imported from {plain(run.imported)}" if run.imported else "trained with smallgpt"
    parts = [
        card_header(run, form),
        f"# {plain(name)}",
        f"{KINDS[form]} with {sum(each.numel() for each in model.parameters()):,} parameters, {made}"
        f"{'' if quantize == 'none' else f'; its weights are stored as {quantize}'}.",
        "## Use" + "\n" + HOW[form].rstrip().replace("PROMPT", json.dumps(prompt_of(run.config.get("data") or {}))),
        "## What it costs",
        card_table(("", ""), costs(model)),
        "## Data",
        card_table(("", ""), data(run))
        if run.result
        else f"Not known: the weights were {made}."
        if run.imported
        else "Not known: the checkpoint was no run directory of smallgpt.",
    ]
    if scores := quality(run.result):
        parts += ["## Measured quality", card_table(("", "value", "95 % interval", ""), scores)]
    if run.result:
        parts += ["## Training", card_table(("", ""), training(run))]
    parts += [
        "## Limits",
        f"A small model: what it writes may be wrong, biased or offensive, and is not to be relied on. It reads at "
        f"most {config.block_size:,} tokens. {adapted_to(run.result)} Texts "
        "like its training data suit it best.",
    ]
    return "\n\n".join(parts) + "\n"


def prompt_of(data: dict[str, Any]) -> str:
    """Text that a classifier was trained to read, with the fields of a row in braces."""
    template = str(data.get("template") or "").replace("\\n", "\n").replace("\\t", "\t")
    return template[: template.rfind("{")].rstrip() or str(data.get("prompt") or "A text")


def adapted_to(result: dict[str, Any]) -> str:
    """Sentence that says what a model was made for."""
    if result.get("task") != "finetune":
        return "It continues text, and was not tuned to follow instructions."
    section = result.get("data") or {}
    return f"It was adapted to {plain(section.get('kind', 'text'))} ({plain(section.get('corpus', 'own data'))})."


def card_header(run: Run, form: str) -> str:
    """Writes the YAML header by which the hub sorts a model."""
    repository = run.config.get("data", {}).get("repository")
    library = "onnx" if form == "onnx" else "transformers"
    task = "text-classification" if form == "classifier" else "text-generation"
    lines = ["---", f"library_name: {library}", f"pipeline_tag: {task}", "tags: [smallgpt]"]
    if repository and re.fullmatch(r"[\w.-]+/[\w.-]+", repository):
        lines.append(f"datasets: [{json.dumps(repository)}]")
    return "\n".join([*lines, "---"])


def costs(model: Decoder | SequenceClassifier) -> list[tuple[str, ...]]:
    """Rows of the table of costs: parameters, FLOPs and cache."""
    price = cost(model.config)
    return [
        ("parameters", f"{price.parameters:,}"),
        ("without embeddings", f"{price.parameters_without_embeddings:,}"),
        ("FLOPs a token", f"{price.inference_flops_per_token:,.0f}, at a context of {price.sequence_length:,} tokens"),
        ("cache", f"{price.cache_bytes_per_token:,} bytes a token in 16-bit numbers"),
        *([("fixed state", f"{price.state_bytes:,} bytes a sequence")] if price.state_bytes else []),
    ]


def data(run: Run) -> list[tuple[str, ...]]:
    """Rows of the table of the training data: corpus, source, licence and fingerprint."""
    section = run.config.get("data", {})
    target = str(section.get("_target_", "")).rpartition(".")[2]
    source = run.origin.get("source")
    if source and Path(source).is_absolute():
        source = Path(source).name  # its place on a machine says nothing elsewhere
    return [
        ("corpus", plain(section.get("repository") or {"StandardLibrary": "stdlib"}.get(target) or "own text")),
        *([("part", plain(section["config"]))] if section.get("config") else []),
        ("source", plain(source or "not known")),
        ("licence of the data", plain(run.origin.get("licence", "not known"))),
        ("fingerprint", plain(run.result.get("data_fingerprint", "not known"))),
    ]


def quality(result: dict[str, Any]) -> list[tuple[str, ...]]:
    """Rows of the table of quality: loss by split, then tasks and corpora of an evaluation, each with its weights."""
    evaluation = result.get("evaluation") or {}
    rows: list[tuple[str, ...]] = []
    for split, section in (("validation", result.get("val") or {}), ("test", result.get("test") or {})):
        for key, name in OF_SPLITS.items():
            if section.get(key) is not None:
                interval = section.get(f"{key}_interval")
                rows.append((f"{split} {name}", number(section[key]), span(interval), measured_on(section)))
    for part in ("tasks", "corpora"):
        for label, entry in (evaluation.get(part) or {}).items():
            if entry.get("accuracy") is not None:
                remark = f"{entry['n']:,} items, chance {number(entry['chance'])}" if "chance" in entry else ""
                remark = "; ".join(filter(None, (remark, measured_on(entry))))
                says = f"**at chance**, {remark}" if entry.get("at_chance") else remark
                rows.append((f"{plain(label)}, accuracy", number(entry["accuracy"]), span(entry.get("interval")), says))
            if entry.get("bits_per_byte") is not None:
                interval = span(entry.get("bits_per_byte_interval"))
                rows.append(
                    (f"{plain(label)}, bits per byte", number(entry["bits_per_byte"]), interval, measured_on(entry))
                )
    return rows


def measured_on(section: dict[str, Any]) -> str:
    """Remark that names the weights of the run a score is of."""
    if "step" in section:
        return f"checkpoint: {section['checkpoint']}, step {section['step']:,}"
    return f"checkpoint: {section['checkpoint']}" if section.get("checkpoint") else ""


def training(run: Run) -> list[tuple[str, ...]]:
    """Rows of the table of the training: tokens, optimizer, schedule, seed and libraries."""
    done, environment = run.result.get("train") or {}, run.result.get("environment") or {}
    versions = [f"{name} {environment[name]}" for name in ("python", "torch", "transformers") if environment.get(name)]
    return [
        *([("these weights", f"{run.checkpoint}")] if run.checkpoint else []),
        ("tokens", f"{done['tokens']:,} in {done['steps']:,} steps" if "steps" in done else "not known"),
        ("optimizer", settings_of(run.config.get("optimizer"))),
        ("schedule", settings_of(run.config.get("schedule"))),
        ("tokens a step", plain(run.config.get("batch", {}).get("tokens", "not known"))),
        ("seed", plain(run.result.get("seed", "not known"))),
        ("libraries", plain(", ".join(versions) or "not known")),
    ]


def settings_of(group: dict[str, Any] | None) -> str:
    """Writes a group of the config on one line, as `AdamW, lr 0.001, ...`."""
    if not group:
        return "not known"
    values = [f"{key} {value}" for key, value in group.items() if key != "_target_"]
    return plain(", ".join([str(group.get("_target_", "")).rpartition(".")[2], *values]))


def card_table(columns: Iterable[str], rows: Iterable[tuple[str, ...]]) -> str:
    """Writes a table in Markdown."""
    columns = list(columns)
    lines = [columns, ["---"] * len(columns), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def number(value: float) -> str:
    """Writes a measure with four decimals."""
    return f"{value:.4f}"


def span(interval: list[float] | None) -> str:
    """Writes an interval, or nothing where there is none."""
    return f"{number(interval[0])} to {number(interval[1])}" if interval else ""


def plain(text: Any) -> str:
    """Writes a text on one line, without what Markdown or HTML would take for a sign of its own."""
    return re.sub(r"([\\`*_{}\[\]<>|#~!$])", r"\\\1", " ".join(str(text).split()))
