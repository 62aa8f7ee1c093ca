"""Tables of an evaluation on a terminal."""

from collections.abc import Sequence
from typing import Any

from smallgpt.reporting.tables import print_table

COLUMNS = (
    "accuracy", "by characters", "by bytes", "margin", "chance", "majority", "shortest", "untrained", "says",
    "in training",
)  # fmt: skip

LOSSY = "(lossy)"


def print_evaluation(sections: dict[str, dict[str, Any]], comparisons: Sequence[dict[str, Any]]) -> None:
    """Prints tables of what each checkpoint did, and of how they differ."""
    several = len(sections) > 1
    for name, section in sections.items():
        entries = [*section.get("tasks", {}).values(), *section.get("corpora", {}).values()]
        for weights in {entry["checkpoint"] for entry in entries if entry.get("checkpoint")}:
            print(f"checkpoint of {name}: {weights}")
    first = ("checkpoint",) if several else ()
    named = [(([name] if several else []), section) for name, section in sections.items()]
    choices = [
        [*name, task, entry["n"], *choice_row(entry)]
        for name, section in named
        for task, entry in section.get("tasks", {}).items()
        if "accuracy" in entry and "by" not in entry
    ]
    if choices:
        print_table("multiple choice", (*first, "task", "items", *COLUMNS), choices)
        print("In brackets the 95 % interval. margin: of the right option over the best wrong one, nats a byte.")
    for name, section in named:
        for task, entry in section.get("tasks", {}).items():
            if entry.get("cut_items"):
                print(f"{' '.join([*name, task])}: {cut_items(entry)}")
    paper = [
        [*name, task, f"{entry['accuracy']:.3f}", *(f"{value:.3f}" for value in entry["paper_scoring"].values())]
        for name, section in named
        for task, entry in section.get("tasks", {}).items()
        if "paper_scoring" in entry
    ]
    if paper:
        title = "the faulty score of the paper's code (log p summed over the whole vocabulary), for study alone"
        print_table(title, (*first, "task", "accuracy", "faulty accuracy", "takes a shortest option"), paper)
    kinds = [
        [*name, task, kind, entry["n"], rate_with_interval(entry), "at 0.5" if entry["at_chance"] else ""]
        for name, section in named
        for task, whole in section.get("tasks", {}).items()
        for kind, entry in [*whole.get("by", {}).items(), *([("all", whole)] if "by" in whole else [])]
    ]
    if kinds:
        print_table(
            "share of pairs whose stereotype is the likelier", (*first, "task", "kind", "pairs", "share", "says"), kinds
        )
    texts = [
        [*name, text, entry.get("n"), *text_row(entry)]
        for name, section in named
        for text, entry in [*section.get("corpora", {}).items(), *section.get("tasks", {}).items()]
        if "bits_per_byte" in entry
    ]
    if texts:
        columns = ("text", "documents", "bits per byte", "token perplexity", "exact match", "untrained", "in training")
        print_table("likelihood", (*first, *columns), texts)
        if any(LOSSY in str(row) for row in texts):
            print(f"{LOSSY}: the tokenizer loses characters, so bits per byte compare with no other tokenizer's.")
    others = [
        [*name, task, metric, f"{value:.4g}"]
        for name, section in named
        for task, entry in section.get("tasks", {}).items()
        if "accuracy" not in entry and "bits_per_byte" not in entry
        for metric, value in entry["harness"].items()
    ]
    if others:
        print_table("the harness's own metrics", (*first, "task", "metric", "value"), others)
    for name, section in named:
        if found := section.get("continuations"):
            print_continuations([*name, ""][0], found)
    seen = [
        e["contamination"]
        for _, s in named
        for e in (s.get("tasks", {}) | s.get("corpora", {})).values()
        if "contamination" in e
    ]
    if seen:
        print(
            "in training: items that share 13 words in a row with the training text, of those that have 13 words; "
            f"{seen[0]['of_training_text']:.0%} of that text was looked at."
        )
    if comparisons:
        print_comparisons(comparisons)


def cut_items(entry: dict[str, Any]) -> str:
    """Says on how many items the model had no room for the beginning of the context."""
    return (
        f"{entry['cut_items']} of {entry['n']} items are longer than the model's context and lose their beginning, "
        "examples first"
    )


def choice_row(entry: dict[str, Any]) -> list[Any]:
    """Cells of a multiple-choice task's row in the table."""
    untrained = entry.get("untrained")
    return [
        rate_with_interval(entry),
        rate_with_interval(entry, "accuracy_by_characters"),
        rate_with_interval(entry, "accuracy_by_bytes"),
        f"{entry['margin']:+.3f}",
        f"{entry['chance']:.3f}",
        f"{entry['majority']:.3f}",
        f"{entry['shortest']:.3f}",
        rate_with_interval(untrained) if untrained else None,
        verdict(entry),
        in_training(entry),
    ]


def verdict(entry: dict[str, Any]) -> str:
    """Names what an accuracy says: at chance, as untrained, above or below chance.

    A model of random weights may have found what is wrong with a task's options.
    """
    if entry["at_chance"]:
        return "at chance"
    if entry.get("over_untrained", {}).get("verdict") == "no difference":
        return "as untrained"
    return "above chance" if entry["accuracy"] > entry["chance"] else "below chance"


def text_row(entry: dict[str, Any]) -> list[Any]:
    """Cells of a text's row in the table of likelihood."""
    untrained, perplexity = entry.get("untrained"), entry.get("token_perplexity")
    return [
        bits_per_byte(entry),
        None if perplexity is None else f"{perplexity:.4g}",
        rate_with_interval(entry, "exact_match") if "exact_match" in entry else None,
        f"{untrained['bits_per_byte']:.3f}" if untrained and "bits_per_byte" in untrained else None,
        in_training(entry),
    ]


def in_training(entry: dict[str, Any]) -> str | None:
    """Formats the share of the items that have a run of 13 words in common with the training text."""
    found = entry.get("contamination")
    if found is None or found["share_of_items"] is None:
        return None
    return f"{found['share_of_items']:.0%} of {found['items']}"


def bits_per_byte(entry: dict[str, Any]) -> str | None:
    """Bits per byte with their interval, marked where the tokenizer loses text."""
    found = rate_with_interval(entry, "bits_per_byte")
    return found if entry.get("bits_per_byte_comparable", True) else f"{found} {LOSSY}"


def rate_with_interval(entry: dict[str, Any], key: str = "accuracy") -> str | None:
    """Writes a measure with its 95 % interval, as `0.312 [0.29, 0.33]`; None where it was not measured."""
    value = entry.get(key)
    if value is None:
        return None
    interval = entry.get("interval" if key == "accuracy" else f"{key}_interval")
    return f"{value:.3f} [{interval[0]:.2f}, {interval[1]:.2f}]" if interval else f"{value:.3f}"


def print_continuations(name: str, found: dict[str, Any]) -> None:
    """Prints the table of free continuations, of a model and of its untrained twin."""
    rows = []
    for who, scores in (("model", found), ("untrained", found.get("untrained"))):
        if scores:
            distinct = [scores[f"distinct_{n}"] for n in (1, 2, 3)]
            hits = rate_with_interval(scores, "hit_rate")
            rows.append([who, scores["n"], hits, f"{scores['prompts_with_a_hit']:.3f}", *distinct])
    columns = ("", "continuations", "with a listed word", "prompts with one", "distinct 1", "distinct 2", "distinct 3")
    print_table(f"free continuations {name}".strip(), columns, rows)


def print_comparisons(comparisons: Sequence[dict[str, Any]]) -> None:
    """Prints the table of how each later model differs from the first on the same items."""
    columns = ("second", "on", "second less first", "95 %", "p (Holm)", "verdict", "items", "items needed")
    rows = []
    for gap in comparisons:
        interval = gap["interval"]
        rows.append(
            [
                gap["second"],
                gap.get("task") or f"{gap['corpus']} (bits per byte)",
                f"{gap['difference']:+.4f}",
                f"{interval[0]:+.4f} to {interval[1]:+.4f}" if interval else None,
                f"{gap['p_corrected']:.2g}" if "p_corrected" in gap else None,
                gap["verdict"],
                gap["n"],
                gap.get("items_needed"),
            ]
        )
    print_table(f"against {comparisons[0]['first']}, on the same items", columns, rows)
    print("items needed: to show a difference of this size with 80 % power.")
