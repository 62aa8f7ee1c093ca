"""What quantization costs, in a report: only what was measured on one text stands side by side."""

import csv
import re
from pathlib import Path
from typing import Any

import pytest
from sweeps import job

from smallgpt.reporting.inference_figures import inference_figures
from smallgpt.reporting.inferences import inference_tables
from smallgpt.reporting.report import report
from smallgpt.reporting.statistics import mean
from smallgpt.reporting.study import read_study


def section(kind: str, bits: float, more: float | None = None, text: str = "books", **numbers: Any) -> dict[str, Any]:
    """Of a benchmark; `more`: bits per byte than the same checkpoint unquantized."""
    gap = {"difference": more, "interval": [0.0, 0.5], "verdict": "worse", "over": "x", "from_unquantized": True}
    known = {"name": text, "bits_per_byte": bits, "bits_per_byte_interval": [bits - 0.1, bits + 0.1], "n": 7}
    known |= {"bytes": 900, "tokens": 300, "difference": None if more is None else gap}
    size = {"none": 4e6, "bf16": 2e6, "int8_dynamic": 1e6}[kind]
    costs = {"seconds_per_token": size / 1e9, "tokens_per_second": 1e9 / size, "weight_bytes": size}
    return {"kind": kind, **costs, "peak_memory_bytes": None, "prefill": {"4": {}}, "text": known, **numbers}


def fill(sweep: Path, seeds: int = 2) -> None:
    for seed in range(seeds):
        for variant, bits in (("gpt", 1.0), ("lineargpt", 2.0)):
            noise = 0.01 * seed
            kinds = {"int8_dynamic": section("int8_dynamic", bits + 0.3 + 3 * noise, 0.3 + 2 * noise)}
            job(sweep, variant, seed, 4.0, inference={**section("none", bits + noise), "kinds": kinds})


def table(sweep: Path) -> dict[tuple[str, str], dict[str, str]]:
    (found,) = inference_tables(read_study([sweep]).comparisons[0])
    rows = [dict(zip(found.columns, (cell.text for cell in row), strict=True)) for row in found.rows]
    return {(row["arm"], row["weights"]): row for row in rows}


def points(sweep: Path) -> dict[str, list[dict[str, Any]]]:
    figures = inference_figures(read_study([sweep]).comparisons[0])
    return {each.name: each.spec["datasets"][each.spec["layer"][-1]["data"]["name"]] for each in figures}


def test_a_row_an_arm_and_kind_over_seeds(tmp_path: Path):
    fill(tmp_path)
    rows = table(tmp_path)
    assert list(rows) == [(arm, kind) for arm in ("gpt", "lineargpt") for kind in ("none", "int8_dynamic")]
    row, over_seeds, gap = rows["gpt", "int8_dynamic"], mean([1.3, 1.33]), mean([0.3, 0.32])
    half = over_seeds.half_width or 0
    assert row["bits per byte"] == f"1.3150 [{1.315 - half:.4f}, {1.315 + half:.4f}]"
    half = gap.half_width or 0
    assert row["less unquantized [95 %]"] == f"+0.3100 [{0.31 - half:+.4f}, {0.31 + half:+.4f}]"
    assert (row["weights MB"], row["ms a token"], row["tokens/s"]) == ("1", "1", "1,000")
    assert row["ms a byte"] == "0.333"  # 300 tokens of 900 bytes
    assert rows["gpt", "none"]["less unquantized [95 %]"] == ""


def test_one_seed_has_the_intervals_over_its_documents(tmp_path: Path):
    fill(tmp_path, seeds=1)
    row = table(tmp_path)["lineargpt", "int8_dynamic"]
    assert row["bits per byte"] == "2.3000 [2.2000, 2.4000]"
    assert row["less unquantized [95 %]"] == "+0.3000 [+0.0000, +0.5000]"


def test_other_texts_and_other_checkpoints_are_left_out(tmp_path: Path):
    fill(tmp_path, seeds=1)
    other = section("int8_dynamic", 9.0, 0.5, text="verse")
    job(tmp_path, "parallelgpt", 0, 4.0, inference={**section("none", 8.0, text="verse"), "kinds": {"x": other}})
    foreign = section("bf16", 1.5, 0.5)
    foreign["text"]["difference"]["from_unquantized"] = False
    job(tmp_path, "gpt", 0, 4.0, "model.n_layer=9", inference={"kinds": {"bf16": foreign}})
    job(tmp_path, "gpt", 0, 4.0, "model.n_layer=8")
    rows = table(tmp_path)
    assert (
        rows["parallelgpt n_layer=4", "none"]["bits per byte"] == ""
        and rows["parallelgpt n_layer=4", "none"]["ms a token"] == "4"
    )
    assert rows["gpt n_layer=9", "bf16"]["bits per byte"].startswith("1.5000")
    assert rows["gpt n_layer=9", "bf16"]["less unquantized [95 %]"] == ""
    assert not any(arm == "gpt n_layer=8" for arm, _ in rows)
    drawn = points(tmp_path)["bits_latency"]
    assert "parallelgpt n_layer=4" not in {row["arm"] for row in drawn} and len(drawn) == 5
    (found,) = inference_tables(read_study([tmp_path]).comparisons[0])
    assert "Not measured on this text: parallelgpt n_layer=4 none, parallelgpt n_layer=4 x." in found.notes


def test_a_point_an_arm_and_kind(tmp_path: Path):
    fill(tmp_path, seeds=1)
    found = points(tmp_path)
    assert found.keys() == {"bits_latency", "bits_weight_bytes"}  # no memory was measured
    drawn = {(row["arm"], row["weights"]): (row["cost"], row["bits per byte"]) for row in found["bits_weight_bytes"]}
    assert drawn["gpt", "none"] == (4e6, 1.0) and drawn["lineargpt", "int8_dynamic"] == (1e6, pytest.approx(2.3))
    assert len(drawn) == 4


def test_latency_alone_has_a_table_and_no_such_figure(tmp_path: Path):
    for variant, seconds in (("gpt", 0.004), ("lineargpt", 0.002)):
        job(tmp_path, variant, 1, 4.0, inference={"seconds_per_token": seconds, "weight_bytes": 5e6})
    rows = table(tmp_path)
    assert list(rows["gpt", "none"]) == ["arm", "weights", "weights MB", "ms a token"]
    assert points(tmp_path) == {}


def test_files_have_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    """Of a sweep of task=benchmark: no job has a loss, and columns that none fills are left out."""
    for kind, bits in (("none", 1.0), ("bf16", 1.1)):
        entry = section(kind, bits, 0.1 if kind == "bf16" else None)
        words = ("task=benchmark", f"quantize={kind}")
        job(tmp_path, "gpt", 1, None, *words, data=None, cost={}, train={}, samples=[], inference=entry)
    report(read_study([tmp_path]), tmp_path)
    out = capsys.readouterr().out
    assert "bits per byte" in out and "1.1000 [1.0000, 1.2000]" in out and "+0.1000 [+0.0000, +0.5000]" in out
    assert "validation loss" not in out and "perplexity" not in out
    page, markdown = ((tmp_path / name).read_text() for name in ("report.html", "results.md"))
    assert page.count("<h2>Inference</h2>") == 1 and 'id="bits_latency"' in page
    assert "**Inference**" in markdown and "| gpt quantize=bf16 | bf16 | 2 | 2 | 0.667 | 500 | 1.1000" in markdown
    with (tmp_path / "results.csv").open() as file:
        first, second = csv.DictReader(file)
    keys = ["weight_bytes", "seconds_per_token", "tokens_per_second", "bits_per_byte", "bits_per_byte_low"]
    keys += ["bits_per_byte_high", "difference", "difference_low", "difference_high"]
    numbers = [2e6, 0.002, 500, 1.1, 1.0, 1.2, 0.1, 0.0, 0.5]
    assert [float(second[f"inference/{key}"]) for key in keys] == pytest.approx(numbers)
    assert first["inference/difference"] == "" and second["inference/text"] == "books"
    assert (tmp_path / "figures" / "bits_latency.png").read_bytes().startswith(b"\x89PNG")


def test_kinds_of_a_run_are_columns(tmp_path: Path):
    fill(tmp_path, seeds=1)
    report(read_study([tmp_path]), tmp_path)
    with (tmp_path / "results.csv").open() as file:
        first, *_ = csv.DictReader(file)
    assert float(first["inference/bits_per_byte"]) == 1.0
    assert float(first["inference/int8_dynamic/difference"]) == 0.3
    assert not [name for name in first if re.search("prefill|speed_up/", name)]
