"""task=log and task=dashboard: what W&B would be sent, checked by W&B's own classes and reader, and what is refused."""

import csv
import json
from collections.abc import Iterator
from functools import cache
from importlib.util import find_spec
from pathlib import Path

import pytest
from sweeps import failed, job
from test_evaluations import task

from smallgpt.reporting import dashboard, dashboard_panels, dashboard_preview, wandb_files
from smallgpt.reporting.study import read_study
from smallgpt.reporting.wandb_files import LoggedRun, logged_runs

pytestmark = pytest.mark.skipif(find_spec("wandb_workspaces") is None, reason="wandb-workspaces is not installed")


EVALUATION = {"tasks": {"piqa (0-shot)": task(0.625)}}


@pytest.fixture(scope="module", autouse=True)
def read_once() -> Iterator[None]:
    """W&B's reader takes a second to start."""
    with pytest.MonkeyPatch.context() as patch:
        read = wandb_files.records
        patch.setattr(wandb_files, "records", cache(lambda folder: list(read(folder))))
        yield


@pytest.fixture(scope="module")
def logged(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A sweep of two variants and two rates that was finished without W&B."""
    folder = tmp_path_factory.mktemp("logged") / "rates"
    for variant in ("gpt", "lineargpt"):
        for rate in ("1e-3", "4e-3"):
            loss = 4.0 + len(variant) / 100 + float(rate)
            job(folder, variant, 1, loss, f"optimizer.lr={rate}", "experiment=learning_rate", evaluation=EVALUATION)
    failed(folder, f"RuntimeError: no room in {folder}/4", "model=gpt", "optimizer.lr=1e-3", "seed=2")
    (folder / "4" / "metrics.csv").write_text("step,tokens,val/loss\n1,1000,4.5\n")
    return folder


@pytest.fixture
def sweep(tmp_path: Path) -> Path:
    folder = tmp_path / "sweep"
    for number in (1, 2, 3):
        run_dir = job(folder, "lineargpt", 1, 4.0 + number / 10, f"model.downsample_frequency={number}")
        (run_dir / "wandb_id.txt").write_text("an id")
    return folder


def runs_of(sweep: Path) -> list[LoggedRun]:
    ids = [(run_dir / "wandb_id.txt").read_text() for run_dir in sorted(sweep.glob("[0-9]"))]
    return logged_runs(ids, [sweep])


@pytest.mark.slow
def test_finished_runs_are_logged_without_training_again(cli, logged):
    done = cli("task=log", "logger=wandb", f"sweep={logged}", "hydra.run.dir=run")
    assert done.code == 0, done.err
    assert len(done.result["logged"]) == 5
    runs = runs_of(logged)
    assert [run.name for run in runs[:3]] == ["gpt lr=0.001 s1", "gpt lr=0.004 s1", "lineargpt lr=0.001 s1"]
    assert {run.group for run in runs} == {"rates"}
    assert runs[2].tags == ["learning_rate", "lineargpt"]
    config, summary = runs[2].config, runs[2].summary
    assert (config["arm"], config["variant"], config["recipe"]) == ("lineargpt lr=0.001", "lineargpt", "learning_rate")
    assert config["data_fingerprint"] == "text-a" and config["machine"] == "a processor"
    assert summary["result/val/loss"] == summary["last/val/loss"] and summary["result/tokens_per_second"] == 2000.0
    assert summary["evaluation/piqa_0_shot/accuracy"] == 0.625
    with (logged / "2" / "metrics.csv").open() as file:
        rows = [{key: float(value) for key, value in row.items() if value} for row in csv.DictReader(file)]
    assert [{key: runs[2].history[int(row["step"])][key] for key in row} for row in rows] == rows
    assert runs[4].summary["error"] == "RuntimeError: no room in 4"
    everything = " ".join(path.read_text(errors="replace") for path in logged.rglob("*.wandb"))
    assert str(logged) not in everything

    again = cli("task=log", "logger=wandb", f"sweep={logged}", "hydra.run.dir=again")
    assert again.code == 0 and again.result["logged"] == [] and "has an offline run already" in again.err


def test_the_specification_has_the_views_of_the_report_over_keys_that_the_runs_have(cli, logged):
    if not (logged / "0" / "wandb_id.txt").exists():
        cli("task=log", "logger=wandb", f"sweep={logged}", "hydra.run.dir=run")
    done = cli("task=dashboard", "logger=wandb", f"sweep={logged}", "dry_run=true", "hydra.run.dir=shown")
    assert done.code == 0, done.err
    written = json.loads((logged / "dashboard_specification.json").read_text())
    sections = {
        section["name"]: section["panels"] for section in written["spec"]["section"]["panelBankConfig"]["sections"]
    }
    assert list(sections) == [
        *("findings", "loss", "quality against cost", "what was varied", "training", "parameters"),
        *("evaluations", "samples"),
    ]
    assert [panel["config"]["xAxis"] for panel in sections["loss"]] == ["tokens", "flops", "seconds"]
    assert {panel["config"]["groupBy"] for panel in sections["loss"]} == {"arm.value"}
    assert {panel["config"]["groupArea"] for panel in sections["loss"]} == {"minmax"}
    assert "| lineargpt lr=0.004 |" in json.dumps(sections["findings"])  # with its paired difference
    assert "config:optimizer.value.lr" in json.dumps(sections["what was varied"])
    run_set = json.dumps(written["spec"]["section"]["runSets"])
    assert '"rates"' in run_set and "arm.value" in run_set

    study = read_study([logged])
    runs = runs_of(logged)
    missing = {}
    for name, panels in dashboard_panels.sections(study).items():
        for panel in panels:
            drawn = dashboard_preview.draw_panel(panel, runs)
            wrong = "no run has" in drawn if isinstance(drawn, str) else drawn.error
            if wrong:
                missing.setdefault(name, []).append(panel.title)
    # what the made-up runs do not measure
    assert missing == {
        "quality against cost": ["loss against peak memory"],
        "training": [panel.title for panel in dashboard_panels.training_curves(study)],
    }
    page = (logged / "dashboard.html").read_text()
    assert page.count("<svg") == 3 + 5 + 2 + 1 + 1 and "lineargpt wrote this" in page


def test_several_sweeps_have_one_dashboard(cli, sweep, tmp_path):
    other = tmp_path / "other"
    (job(other, "gpt", 1, 4.0) / "wandb_id.txt").write_text("another id")
    done = cli("task=dashboard", "logger=wandb", f"sweep=[{sweep},{other}]", "dry_run=true", "hydra.run.dir=run")
    assert done.code == 0, done.err
    written = json.loads(Path("run/dashboard_specification.json").read_text())
    assert written["displayName"] == "sweep and other"
    assert '["sweep", "other"]' in json.dumps(written["spec"]["section"]["runSets"])


def test_the_second_call_updates_what_the_first_made(sweep, monkeypatch):
    import wandb
    import wandb_workspaces.reports.v2 as wr
    import wandb_workspaces.workspaces as ws

    class Saved:
        saved = 0

        def __init__(self, **values):
            self.__dict__ |= values | {"url": "https://address"}

        def save(self):
            Saved.saved += 1

    asked = []
    monkeypatch.setattr(wandb, "Api", lambda: type("Api", (), {"default_entity": "us"})())
    monkeypatch.setattr(dashboard, "workspace", lambda *_: Saved(sections=[], settings=None, runset_settings=None))
    monkeypatch.setattr(wr, "Runset", lambda **values: values)
    monkeypatch.setattr(wr, "PanelGrid", lambda **values: values)
    for owner in (ws.Workspace, wr.Report):
        monkeypatch.setattr(owner, "from_url", lambda address: asked.append(address) or Saved())
    monkeypatch.setattr(wr, "Report", type("Report", (Saved,), {"from_url": wr.Report.from_url}))
    study = read_study([sweep], None)
    first = dashboard.publish(study, None, "smallgpt", ["sweep"], {})
    assert first == {"workspace": "https://address", "report": "https://address"} and not asked and Saved.saved == 2
    dashboard.publish(study, None, "smallgpt", ["sweep"], first)
    assert asked == ["https://address"] * 2 and Saved.saved == 4


@pytest.mark.parametrize("words", [(), ("dry_run=true",)])
def test_a_sweep_that_was_not_logged_to_wandb_is_refused(cli, tmp_path, words):
    job(tmp_path / "study", "gpt", 1, 4.0)
    done = cli("task=dashboard", "logger=wandb", "sweep=study", "hydra.run.dir=run", *words)
    assert done.code == 1 and "sweep=study: none of its jobs was logged to W&B; run them with logger=wandb" in done.err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["logger=wandb"], "not logged in to W&B"),
        ([], "needs logger=wandb"),
        (["logger=wandb", "sweep=null"], "sweep=null: task=dashboard takes the directory of a sweep"),
        (["logger=wandb", "sweep=nowhere"], "sweep=nowhere"),
    ],
)
def test_refusals(cli, sweep, monkeypatch, words, message):
    monkeypatch.delenv("WANDB_API_KEY", raising=False)
    monkeypatch.setenv("HOME", str(sweep))
    done = cli("task=dashboard", f"sweep={sweep}", "hydra.run.dir=run", *words)
    assert done.code == 1 and len(done.err.splitlines()) == 1 and message in done.err
