"""Tables on a terminal: no number is broken in two, whatever the width."""

import re

import pytest
from rich.console import Console

from smallgpt.reporting import tables

COLUMNS = ("arm", "validation loss", "difference [95 %]", "bits per byte", "parameters", "training FLOPs", "tokens/s")
ROWS = [
    ["gpt lr=0.001", "4.2059 [4.1021, 4.3097]", "baseline", 2.2104, 1_234_567_890, "12.31 T", 12_345.678],
    ["lineargpt lr=0.001", "4.1934 [4.0001, 4.3867]", "-0.0125 [-0.1021, +0.0771]", 2.1994, 987_654, "1.2 T", None],
]


@pytest.mark.parametrize("width", [40, 60, 80, 120, 160])
def test_no_number_is_broken_in_two(width: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    monkeypatch.setattr(tables, "console", lambda: Console(width=width, highlight=False, markup=False))
    tables.print_table("arms", COLUMNS, ROWS)
    tables.print_pairs("pairs", {"parameters": 1_234_567_890, "step": "1,024 tokens: 1 device(s) x 1 x 8 sequences"})
    out = capsys.readouterr().out
    assert max(map(len, out.splitlines())) <= width
    expected = {word for row in ROWS for value in row for word in tables.cell(value).split()}
    printed = set(out.split())
    assert {word for word in expected if re.search(r"\d", word)} <= printed, out
    assert out.count("arms") == 1


def test_a_wide_table_goes_on_below_with_its_first_column(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    assert tables.blocks([10, 20, 20, 20], 80) == [[0, 1, 2], [0, 3]]
    assert tables.blocks([10, 200], 80) == [[0, 1]]
    assert tables.blocks([10], 80) == [[0]]
