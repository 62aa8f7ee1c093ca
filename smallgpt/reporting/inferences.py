"""What the models of a study cost at inference and know with the same weights, from the section `inference`."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from smallgpt.reporting.arms import Arm
from smallgpt.reporting.axis_units import Measure
from smallgpt.reporting.evaluation_tables import Cell, Table
from smallgpt.reporting.statistics import mean
from smallgpt.reporting.study import Comparison

INFERENCE_AXES = {  # numbers of the section, and how a figure calls them
    "seconds_per_token": Measure("time a generated token", "s"),
    "weight_bytes": Measure("weights at inference", "B"),
    "peak_memory_bytes": Measure("weights and working memory at inference", "B"),
}
STORED = "weights"  # a column: how they are stored
UNQUANTIZED = "none"


@dataclass(frozen=True)
class MeasuredText:
    """What bits per byte were measured on. They are compared where all of it is the same."""

    name: str
    documents: int
    bytes: int


@dataclass(frozen=True)
class InferenceScore:
    """Bits per byte of an arm whose weights are stored in one way, or their difference."""

    value: float
    low: float | None
    high: float | None
    """Ends of the 95 % interval over seeds, or over documents where there is one seed; None where there is none."""
    seeds: int


@dataclass(frozen=True)
class MeasuredArm:
    """An arm with its weights stored in one way."""

    arm: Arm
    kind: str
    sections: list[dict[str, Any]]
    """One a seed."""

    def number(self, key: str) -> float | None:
        found = [section[key] for section in self.sections if section.get(key) is not None]
        return sum(found) / len(found) if found else None

    def seconds_per_byte(self, text: MeasuredText | None) -> float | None:
        """Seconds to generate a byte of a text: those of a token by the bytes that the text's tokens have."""
        sections = [section for section in self.sections if text is not None and text_of(section) == text]
        found = [each["seconds_per_token"] * each["text"]["tokens"] / each["text"]["bytes"] for each in sections]
        return sum(found) / len(found) if found else None

    def bits(self, text: MeasuredText | None) -> InferenceScore | None:
        """Per byte of this text."""
        found = [section["text"] for section in self.sections if text is not None and text_of(section) == text]
        return inference_score([(each["bits_per_byte"], each["bits_per_byte_interval"]) for each in found])

    def difference(self, text: MeasuredText | None) -> InferenceScore | None:
        """Bits per byte more than the same weights have unquantized."""
        gaps = [section["text"]["difference"] for section in self.sections if text and text_of(section) == text]
        return inference_score(
            [(gap["difference"], gap["interval"]) for gap in gaps if gap and gap["from_unquantized"]]
        )


def inference_score(found: Sequence[tuple[float, list[float] | None]]) -> InferenceScore | None:
    """Mean over seeds, each given as a value and its interval over documents."""
    if not found:
        return None
    over_seeds = mean([value for value, _ in found])
    if over_seeds.half_width is None:
        low, high = found[0][1] or (None, None)
    else:
        low, high = over_seeds.value - over_seeds.half_width, over_seeds.value + over_seeds.half_width
    return InferenceScore(over_seeds.value, low, high, over_seeds.n)


def text_of(section: dict[str, Any]) -> MeasuredText | None:
    """Text that a section was measured on, None where it was on none."""
    text = section.get("text")
    return text and MeasuredText(text["name"], text["n"], text["bytes"])


def measured_arms(comparison: Comparison) -> list[MeasuredArm]:
    """Every arm in every way that its weights were stored."""
    found = []
    for arm in comparison.arms:
        kinds: dict[str, list[dict[str, Any]]] = {}
        for whole in arm.found("inference").values():
            own = {whole.get("kind", UNQUANTIZED): whole} if "seconds_per_token" in whole else {}
            for kind, section in {**own, **whole.get("kinds", {})}.items():
                kinds.setdefault(kind, []).append(section)
        order = sorted(kinds, key=lambda kind: (kind != UNQUANTIZED, kind))
        found += [MeasuredArm(arm, kind, kinds[kind]) for kind in order]
    return found


def common_text(everything: Sequence[MeasuredArm]) -> MeasuredText | None:
    """The text that most of them were measured on."""
    found = Counter(text for each in everything for section in each.sections if (text := text_of(section)))
    return found.most_common(1)[0][0] if found else None


def inference_tables(comparison: Comparison) -> list[Table]:
    """The one with a row an arm and kind, if anything was measured; columns that none fills are left out."""
    everything = measured_arms(comparison)
    if not everything:
        return []
    text = common_text(everything)
    rows = [inference_row(each, text) for each in everything]
    columns = [name for name in rows[0] if any(each[name] for each in rows)]
    cells = [[Cell(each[name]) for name in columns] for each in rows]
    return [Table(columns, cells, {"arm", STORED}, inference_notes(everything, text))]


def inference_row(each: MeasuredArm, text: MeasuredText | None) -> dict[str, str]:
    """Texts of a row by the names of the columns, empty where nothing was measured."""
    size, seconds, speed = (each.number(key) for key in ("weight_bytes", "seconds_per_token", "tokens_per_second"))
    byte = each.seconds_per_byte(text)
    return {
        "arm": each.arm.label,
        STORED: each.kind,
        "weights MB": "" if size is None else f"{size / 1e6:,.4g}",
        "ms a token": "" if seconds is None else f"{1e3 * seconds:.3g}",
        "ms a byte": "" if byte is None else f"{1e3 * byte:.3g}",
        "tokens/s": "" if speed is None else f"{speed:,.0f}",
        "bits per byte": score_with_interval(each.bits(text)),
        "less unquantized [95 %]": score_with_interval(each.difference(text), "+"),
    }


def score_with_interval(score: InferenceScore | None, sign: str = "") -> str:
    """Score with its interval, where there is one."""
    if score is None:
        return ""
    shown = f"{score.value:{sign}.4f}"
    return shown if score.low is None else f"{shown} [{score.low:{sign}.4f}, {score.high:{sign}.4f}]"


def inference_notes(everything: Sequence[MeasuredArm], text: MeasuredText | None) -> list[str]:
    """Sentences that the table needs to be read."""
    found = ["Decoding one sequence, greedily: the median of rounds in which the models took turns."]
    machines = [section.get("machine") for each in everything for section in each.sections]
    # each benchmark measures the bandwidth anew, to many digits
    if len({machine["copy_bytes_per_second"] for machine in machines if machine}) > 1:
        found.append("Not all were measured by one benchmark, so the machine may have been busier for some.")
    if text is None:
        return found
    found.append(
        f"Bits per byte of {text.name}: {text.documents} documents, {text.bytes:,} bytes. In brackets the 95 % "
        "interval, over seeds, or over documents where there is one seed."
    )
    if any(each.difference(text) for each in everything):
        found.append(
            "Less unquantized: the same checkpoint on the same documents, so a difference can be certain where the "
            "intervals overlap."
        )
    others = [f"{each.arm.label} {each.kind}" for each in everything if each.bits(text) is None]
    if others:
        found.append(f"Not measured on this text: {', '.join(others)}.")
    return found
