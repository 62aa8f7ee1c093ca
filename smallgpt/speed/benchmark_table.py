"""Tables of a benchmark on a terminal."""

from collections.abc import Sequence
from typing import Any

from smallgpt.reporting.tables import print_table
from smallgpt.speed.time_breakdown import PARTS

TIMED = {"prefill": ("time_to_first_token", "matrix_rate"), "decode": ("seconds_per_token", "bandwidth")}
"""Time that each kind of work is measured by, and the limit of the machine it is held against."""
PROMISES = ("times faster", "by FLOPs", "by bytes")


def print_benchmark(sections: dict[str, dict[str, Any]]) -> None:
    """Prints tables of what each model takes; the first model is the baseline."""
    first = next(iter(sections.values()))
    threads = f", {first['threads']} threads" if first["device"] == "cpu" else ""
    print_table(
        f"inference on {first['device']}{threads}: memory",
        (
            "model",
            "weights",
            "weights MB",
            "a token reads MB",
            "cache B / token",
            "cache MB / sequence",
            "weights and work MB",
            "process MB",
        ),
        [[name, section["kind"], *memory(section)] for name, section in sections.items()],
    )
    print_table(
        f"prefill, one prompt, median of {first['rounds']} rounds in turn",
        ("model", "prompt", "first token ms", "tokens/s", "of the matrix rate", *PROMISES),
        [row for name, section in sections.items() for row in benchmark_rows(name, section, "prefill")],
    )
    print_table(
        f"decode, {first['new_tokens']} tokens after a prompt of {first['prompt']}",
        ("model", "batch", "ms a token", "ms a byte", "tokens/s", "of the bandwidth", *PROMISES),
        [row for name, section in sections.items() for row in benchmark_rows(name, section, "decode")],
    )
    known = {name: section for name, section in sections.items() if section.get("text")}
    if known:
        text = first["text"]
        print_table(
            f"bits per byte of {text['name']}: {text['bytes']:,} bytes, {text['n']} documents",
            ("model", "checkpoint", "weights", "bits per byte [95 %]", "less the first [95 %]", "verdict"),
            [
                [name, section.get("checkpoint"), section["kind"], *bits(section["text"])]
                for name, section in known.items()
            ],
        )
    profiled = {name: section["breakdown"] for name, section in sections.items() if section["breakdown"]}
    if profiled:
        cells = [[name, *(share(found[part]) for part in PARTS)] for name, found in profiled.items()]
        print_table("where the time of a token goes, batch 1, ms", ("model", *PARTS), cells)
    rates = {each["dtype"]: each["machine"]["matrix_flops_per_second"] for each in sections.values()}
    text = "".join(f"; {rate / 1e9:.0f} GFLOP/s in large {name} products" for name, rate in rates.items() if rate)
    print(f"This machine: {first['machine']['copy_bytes_per_second'] / 1e9:.1f} GB/s read and written{text}.")


def memory(section: dict[str, Any]) -> list[Any]:
    """Cells of a model's row in the table of memory."""
    return [
        megabytes(section["weight_bytes"]),
        megabytes(section["weight_bytes_read_per_token"]),
        section["cache_bytes_per_token"],
        megabytes(section["cache_bytes_per_sequence"]),
        megabytes(section["peak_memory_bytes"]),
        megabytes(section["process_memory_bytes"]),
    ]


def benchmark_rows(name: str, section: dict[str, Any], kind: str) -> list[list[Any]]:
    """Rows of a model in the table of prefill or of decode, one for each size."""
    time, limit = TIMED[kind]
    faster = (section["speed_up"] or {}).get(kind, {})
    found = []
    for size, entry in section[kind].items():
        used = section["utilisation"][limit][size]
        found.append(
            [
                name,
                int(size),
                with_range(entry[time], 1e3),
                *([] if kind == "prefill" else [milliseconds_a_byte(entry[time]["median"], section.get("text"))]),
                entry["tokens_per_second"],
                None if used is None else f"{used:.0%}",
                *promises(faster.get(size)),
            ]
        )
    return found


def milliseconds_a_byte(seconds: float, text: dict[str, Any] | None) -> float | None:
    """Milliseconds per byte of the text that was read: models whose tokenizers differ are compared in bytes."""
    return 1e3 * seconds * text["tokens"] / text["bytes"] if text else None


def bits(text: dict[str, Any]) -> list[str | None]:
    """Cells of a model's bits per byte, their difference to the first model's, and the verdict."""
    gap = text["difference"]
    known = with_interval(text["bits_per_byte"], text["bits_per_byte_interval"])
    if not text["bits_per_byte_comparable"]:
        known += " (lossy tokenizer: not comparable)"
    if gap is None:
        return [known, "baseline", None]
    return [known, with_interval(gap["difference"], gap["interval"], "+"), gap["verdict"]]


def with_interval(value: float, interval: Sequence[float] | None, sign: str = "") -> str:
    """Writes a value with its 95 % interval, as `1.2345 [1.1, 1.3]`."""
    texts = [f"{number:{sign}.4f}" for number in (value, *(interval or ()))]
    return f"{texts[0]} [{texts[1]}, {texts[2]}]" if interval else texts[0]


def promises(gain: dict[str, Any] | None) -> list[Any]:
    """Cells of how many times faster a model is, as measured and as FLOPs and bytes promise."""
    if gain is None:
        return ["baseline", None, None]
    return [with_range(gain["measured"]), gain["flops"], gain["bytes"]]


def with_range(spread: dict[str, float], scale: float = 1.0) -> str:
    """Writes the median with the least and the greatest, as `12.3 [11.9, 14]`."""
    median, low, high = (f"{scale * spread[key]:.3g}" for key in ("median", "min", "max"))
    return f"{median} [{low}, {high}]"


def share(part: dict[str, float]) -> str:
    """Writes milliseconds and share of one part of a token's time."""
    return f"{1e3 * part['seconds']:.3g} ({part['share']:.0%})"


def megabytes(size: float | None) -> float | None:
    """Converts bytes to megabytes; None stays None."""
    return None if size is None else size / 1e6
