"""What a fine-tuning ends with: scores of its best weights beside what they have to beat, and a table of them."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from smallgpt.notices import show
from smallgpt.settings import Settings

if TYPE_CHECKING:
    import torch

    from smallgpt.data.example_set import Example
    from smallgpt.tasks.example_training import Material

SHOWN_ITEMS = 5
BITS_EXAMPLES = 200
ORIGIN_TOKENS = 32_768


def scored(
    settings: Settings,
    run_dir: Path,
    material: "Material",
    where: "torch.device",
) -> dict[str, Any]:
    """Sections of the scores: of the best weights of a run, and of what they have to beat."""
    import torch

    from smallgpt.finetuning.adapted import Adapted, read_adapted
    from smallgpt.finetuning.scores import majority_scores
    from smallgpt.inference.checkpoint import load_checkpoint
    from smallgpt.results import read_weights_record

    assert settings.finetune is not None and settings.origin is not None
    how, sections = settings.finetune, {}
    found, examiner, best = material.examples, material.examiner(settings), run_dir / "checkpoints" / "best"
    after = read_adapted(load_checkpoint(str(best))[0].to(where), best)
    before = Adapted(load_checkpoint(settings.origin)[0].to(where))
    asked = {"val": found.of("validation"), "test": found.of("test")}
    asked = {name: examples[: how.scored_examples] for name, examples in asked.items()}
    for name, examples in asked.items():
        said = examiner.examine(after, examples)
        sections[name] = {"checkpoint": "best", "precision": "fp32", **said.scores}
        split = "validation" if name == "val" else name
        keep_rows(run_dir, f"finetune_{split}", said.items)
        keep_rows(run_dir, f"items_{split}", own_task_rows(examples, found.labels))
        if name == "test":
            sections["samples"] = [sample_of(item) for item in said.items[:SHOWN_ITEMS]]
    baselines: dict[str, Any] = {}
    if found.labels:
        numbers = [found.labels.index(each.references[0]) for each in material.chosen]
        labels = torch.tensor([found.labels.index(each.references[0]) for each in asked["test"]])
        baselines["majority"] = majority_scores(numbers, labels, len(found.labels))
    if found.kind != "chat":
        for number in how.shots:
            prompted = examiner.examine_with_shots(before, asked["test"], material.chosen[:number])
            baselines[f"{number} shots"] = prompted.scores
    sections |= {"baselines": baselines, "best": read_weights_record(best)}
    some = asked["test"][:BITS_EXAMPLES]
    sections["bits_per_byte"] = {
        "examples": {
            name: examiner.bits_per_byte(model, some) for name, model in (("before", before), ("after", after))
        },
        **bits_of_origin(settings, before, after),
    }
    return sections


def bits_of_origin(settings: Settings, before: Any, after: Any) -> dict[str, Any]:
    """Bits per byte of what the checkpoint's run held out, before and after, where that text is at hand."""
    from smallgpt.data.prepared_data import prepared_of
    from smallgpt.evaluation.measures import text_score
    from smallgpt.evaluation.text_likelihood import Reader
    from smallgpt.inference.checkpoint import load_checkpoint, locate
    from smallgpt.results import read_result

    assert settings.origin is not None
    path = Path(settings.origin)
    folder = Path(locate(settings.origin))
    run = read_result(path) or (read_result(folder.parent.parent) if folder.parent.name == "checkpoints" else None)
    fingerprint = (run or {}).get("data_fingerprint")
    prepared = prepared_of(fingerprint, settings.cache_dir) if fingerprint else ""
    if isinstance(prepared, str):
        return {}
    documents = [(ids.tolist(), size) for ids, size in prepared.held_out_documents(ORIGIN_TOKENS)]
    tokenizer = load_checkpoint(settings.origin)[1]
    found = {
        name: float(text_score(Reader(model.causal, tokenizer).likelihood_of_documents(documents))["bits_per_byte"])
        for name, model in (("before", before), ("after", after))
    }
    return {"pretraining": {"corpus": prepared.name, **found}}


def keep_rows(run_dir: Path, name: str, rows: list[dict[str, Any]]) -> None:
    """Writes a file of JSON lines into the run's `evaluation/`: what the model said, or what may be asked again."""
    from smallgpt.files import write_text

    (run_dir / "evaluation").mkdir(exist_ok=True)
    write_text(run_dir / "evaluation" / f"{name}.jsonl", "".join(json.dumps(row) + "\n" for row in rows))


def own_task_rows(examples: "list[Example]", labels: Sequence[str]) -> list[dict[str, Any]]:
    """Rows of a task for `eval=own eval.path=FILE`, which asks any model the same held-out examples."""
    if labels:
        return [{"prompt": each.prompt, "choices": list(labels), "answer": each.references[0]} for each in examples]
    return [{"prompt": each.prompt, "completion": each.completion} for each in examples if each.prompt]


def sample_of(item: dict[str, Any]) -> str:
    """A held-out example with what the model says to it, as a text."""
    right = item["answer"] if isinstance(item["answer"], str) else item["answer"][0]
    return f"{item['prompt']}\n-> {item['prediction']} (right: {right})"


TABLE = {
    "accuracy": "accuracy",
    "macro_f1": "macro F1",
    "matthews": "Matthews",
    "calibration_error": "calibration error",
    "exact_match": "exact match",
    "f1": "F1",
    "rouge1": "ROUGE-1",
    "rouge2": "ROUGE-2",
    "rougeL": "ROUGE-L",
    "bleu": "BLEU",
    "loss": "loss",
}
"""Scores that the table has, with their names."""


def print_scores(settings: Settings, sections: dict[str, Any]) -> None:
    """Prints a table of the scores on the test split, beside what the model had to beat."""
    assert settings.finetune is not None
    tuned, data, train, test = (sections[name] for name in ("finetune", "data", "train", "test"))
    print()
    print(
        f"{settings.finetune.method}: {tuned['learning_parameters']:,} of {tuned['parameters']:,} parameters learn, "
        f"{data['train_examples']:,} examples, {train['steps']:,} steps, {train['seconds']:.1f} s"
    )
    rows = {f"finetune={settings.finetune.method}": test, **sections["baselines"]}
    keys = [key for key in TABLE if any(key in row for row in rows.values())]
    print(f"{'test split, ' + str(test['n']):<20}" + "".join(f"{TABLE[key]:>19}" for key in keys))
    for name, row in rows.items():
        cells = "".join(f"{row[key]:>19.4f}" if key in row else f"{'':>19}" for key in keys)
        fit = f"  ({row['shots_that_fit']:.1f} shots fit)" if row.get("shots") else ""
        print(f"{name:<20}{cells}{fit}")
    for name, bits in sections["bits_per_byte"].items():
        print(f"bits per byte of the {name}: {bits['before']:.4f} before, {bits['after']:.4f} after")
    for sample in sections["samples"][:1]:
        show(f"\n--- sample ---\n{sample}\n--------------")
