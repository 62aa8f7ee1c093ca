"""What stands beside a verdict: versions, warnings, budgets, repeated text, combinations that make no model."""

import json
from pathlib import Path
from typing import Any

import pytest
from command_line import CommandLine
from sweeps import job

from smallgpt.reporting.arm_table import arm_table
from smallgpt.reporting.budget_notes import budget_notes
from smallgpt.reporting.caveats import caveats
from smallgpt.reporting.report import report
from smallgpt.reporting.study import Comparison, read_study


def comparison(sweep: Path) -> Comparison:
    (found,) = read_study([sweep]).comparisons
    return found


def add_data(run_dir: Path, **section: Any) -> None:
    path = run_dir / "result.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "data": section}))


def test_other_versions_and_machines_are_named_beside_the_verdict(tmp_path: Path, capsys):
    environment = {"torch": "2.9.0", "cpu": "one", "gpu": None}
    job(tmp_path, "gpt", 1, 4.0, environment=environment)
    job(tmp_path, "lineargpt", 1, 4.1, environment=environment)
    assert caveats(comparison(tmp_path)) == []
    job(tmp_path, "lineargpt", 2, 4.1, environment={**environment, "torch": "2.8.0"})
    (said,) = caveats(comparison(tmp_path))
    assert said.startswith("Warning: not all jobs ran with the same torch: 2.9.0 (jobs 0, 1), 2.8.0 (job 2);")
    report(read_study([tmp_path]), tmp_path)
    lines = capsys.readouterr().out.splitlines()
    winner = next(i for i, line in enumerate(lines) if "has the lowest" in line)
    assert lines[winner + 1].startswith("The price of gpt beside lineargpt:") and lines[winner + 2] == said
    assert said in (tmp_path / "results.md").read_text()
    page = (tmp_path / "report.html").read_text()
    assert said in page[page.index('class="winner"') :].partition("</ul>")[0]


def test_another_precision_is_named_beside_the_verdict(tmp_path: Path):
    for seed, precision in enumerate(("fp32", "fp32", "bf16")):
        run_dir = job(tmp_path, "gpt", seed, 4.0)
        result = json.loads((run_dir / "result.json").read_text())
        result["train"] = {**result.get("train", {}), "precision": precision}
        (run_dir / "result.json").write_text(json.dumps(result))
        if precision == "fp32":
            assert caveats(comparison(tmp_path)) == []
    (said,) = caveats(comparison(tmp_path))
    assert said.startswith("Warning: not all jobs ran with the same precision: fp32 (jobs 0, 1), bf16 (job 2);")
    config = (tmp_path / "2" / "config.yaml").read_text()
    (tmp_path / "2" / "config.yaml").write_text(config.replace("threads: null", "precision: bf16"))
    assert caveats(comparison(tmp_path)) == []  # what it was asked for is what is compared


def test_what_a_run_warns_of_stands_there_too(tmp_path: Path):
    job(tmp_path, "gpt", 1, 4.0, warnings=["data=x: 5.0% of the held-out 13-grams occur in the training text"])
    job(tmp_path, "gpt", 2, 4.0, warnings=["data=x: 5.0% of the held-out 13-grams occur in the training text"])
    assert caveats(comparison(tmp_path)) == [
        "Warning: data=x: 5.0% of the held-out 13-grams occur in the training text."
    ]


def test_repeated_text_is_shown_and_warned_of(tmp_path: Path):
    add_data(job(tmp_path, "gpt", 1, 4.0), train_tokens=2000, overlap=0.004)
    assert arm_table(comparison(tmp_path))[0]["epochs"] == "2"
    overlap = "Of the 13-grams of the held-out text, 0.40% occur in the training text."
    assert caveats(comparison(tmp_path)) == [overlap]
    add_data(job(tmp_path, "lineargpt", 1, 4.0), train_tokens=600, overlap=2e-6)
    said, overlaps = caveats(comparison(tmp_path))
    assert overlaps == overlap
    assert said.startswith("Warning: the training text was read up to 6.7 times, over 4")


@pytest.mark.parametrize(
    ("words", "tokens", "says"),
    [
        ([], (4000, 4000), []),
        ([], (4000, 5000), ["The arms were trained on unequal budgets: 4,000 to 5,000 tokens."]),
        (
            ["budget.flops=4e9"],
            (3000, 4900),
            [
                "Equal training compute, 4 GFLOP: in whole steps 4.025 GFLOP to 4.06 GFLOP, 0.9% apart; 3,000 to 4,900 "
                "tokens."
            ],
        ),
        (["budget.seconds=60"], (4000, 9000), ["Equal training time, 60 s: 4,000 to 9,000 tokens."]),
    ],
)
def test_what_was_equal_is_said(tmp_path: Path, words: list[str], tokens: tuple[int, int], says: list[str]):
    for variant, number in zip(("gpt", "lineargpt"), tokens, strict=True):
        job(tmp_path, variant, 1, 4.0, *words, train={"tokens": number})
    assert budget_notes(comparison(tmp_path)) == says


def test_combinations_that_make_no_model_are_in_the_report(cli: CommandLine):
    words: tuple[Any, ...] = ("model=lineargpt", "size=debug", "model.downsample_operator=linear,conv")
    done = cli("-m", "task=inspect", *words, "model.kernel_size=1,3", "hydra.sweep.dir=x", "hydra/launcher=basic")
    assert done.code == 0, done.err
    study = read_study([Path("x")])
    ((left_out, why),) = study.left_out
    assert len(study.jobs) == 3 and "model.downsample_operator=linear" in left_out and "model.kernel_size=3" in left_out
    assert why.startswith("model.kernel_size=3: belongs to downsample_operator=conv")
    page = Path("x/report.html").read_text()
    assert "Combinations that cannot exist" in page and "model.kernel_size=3: belongs to" in page
    assert "1 combinations" not in page
