"""task=dashboard: what W&B would be sent, checked by W&B's own classes, and what is refused."""

import json
from importlib.util import find_spec
from pathlib import Path

import pytest
from sweeps import job

from smallgpt.reporting import dashboard
from smallgpt.reporting.study import read_study

pytestmark = pytest.mark.skipif(find_spec("wandb_workspaces") is None, reason="wandb-workspaces is not installed")


@pytest.fixture
def sweep(tmp_path: Path) -> Path:
    folder = tmp_path / "sweep"
    for number in (1, 2, 3):
        run_dir = job(folder, "lineargpt", 1, 4.0 + number / 10, f"model.downsample_frequency={number}")
        (run_dir / "wandb_id.txt").write_text("an id")
    return folder


def test_the_specification_has_the_views_of_the_report(cli, sweep):
    done = cli("task=dashboard", "logger=wandb", f"sweep={sweep}", "dry_run=true", "hydra.run.dir=run")
    assert done.code == 0, done.err
    written = json.loads((sweep / "dashboard_specification.json").read_text())
    sections = written["spec"]["section"]["panelBankConfig"]["sections"]
    assert [section["name"] for section in sections] == ["loss", "quality and cost", "ablation"]
    axes = [panel["config"]["xAxis"] for panel in sections[0]["panels"]]
    assert axes == ["tokens", "flops", "seconds"]
    assert {panel["config"]["groupBy"] for panel in sections[0]["panels"]} == {"jobType"}
    assert "config:model.value.downsample_frequency" in json.dumps(sections[2])
    run_set = json.dumps(written["spec"]["section"]["runSets"])
    assert '"value": "sweep"' in run_set and "jobType" in run_set


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
    first = dashboard.publish(study, None, "smallgpt", "sweep", {})
    assert first == {"workspace": "https://address", "report": "https://address"} and not asked and Saved.saved == 2
    dashboard.publish(study, None, "smallgpt", "sweep", first)
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
        (["logger=wandb", "sweep=null"], "takes the directory of one sweep"),
        (["logger=wandb", "sweep=nowhere"], "sweep=nowhere"),
    ],
)
def test_refusals(cli, sweep, monkeypatch, words, message):
    monkeypatch.delenv("WANDB_API_KEY", raising=False)
    monkeypatch.setenv("HOME", str(sweep))
    done = cli("task=dashboard", f"sweep={sweep}", "hydra.run.dir=run", *words)
    assert done.code == 1 and len(done.err.splitlines()) == 1 and message in done.err
