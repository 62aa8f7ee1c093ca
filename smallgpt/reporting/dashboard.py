"""A saved W&B workspace and report of a sweep that was logged there, with the views of the project's own report."""

from typing import Any

from smallgpt.errors import UserError
from smallgpt.packages import private
from smallgpt.reporting.naming import GROUPS
from smallgpt.reporting.study import Study

RECORD = "dashboard.json"
LOSS = "val/loss"
CURVES = {"tokens": "training tokens", "flops": "training FLOPs", "seconds": "seconds of training"}
COSTS = {
    "cost.parameters": "parameters",
    "cost.training_flops_per_token": "training FLOPs a token",
    "cost.cache_bytes_per_token": "cache bytes a token",
}


def panels(study: Study) -> dict[str, list[Any]]:
    """Panels by the name of their section: curves, quality against cost, the ablation."""
    import wandb_workspaces.reports.v2 as wr

    curves = [
        wr.LinePlot(
            title=f"{LOSS} against {title}",
            x=key,
            y=[LOSS],
            groupby="JobType",
            groupby_aggfunc="mean",
            groupby_rangefunc="minmax",
        )
        for key, title in CURVES.items()
    ]
    loss = wr.SummaryMetric(LOSS)
    quality = [wr.ScatterPlot(title=f"loss against {text}", x=wr.Config(key), y=loss) for key, text in COSTS.items()]
    named = dict.fromkeys(name for arm in study.arms for name in arm.named if name not in GROUPS)
    varied = [wr.Config(key) for key in named]
    axes = [*varied, wr.Config("cost.parameters"), loss]
    columns = [wr.ParallelCoordinatesPlotColumn(metric=metric) for metric in axes]
    ablation = [wr.ParallelCoordinatesPlot(title="what was varied, against the loss", columns=columns)]
    return {"loss": curves, "quality and cost": quality, "ablation": ablation}


def workspace(study: Study, entity: str, project: str, group: str) -> Any:
    """Runs of the sweep's group, grouped by variant, over training tokens."""
    import wandb_workspaces.workspaces as ws

    return ws.Workspace(
        entity=entity,
        project=project,
        name=group,
        sections=[ws.Section(name=name, panels=found, is_open=True) for name, found in panels(study).items()],
        settings=ws.WorkspaceSettings(x_axis="tokens", max_runs=100),
        runset_settings=ws.RunsetSettings(filters=own(group), groupby=[ws.Metric("JobType")]),
    )


def own(group: str) -> str:
    """W&B's filter for the runs of a sweep."""
    return f"Group = '{group}'"


def report_blocks(study: Study, runset: Any) -> list[Any]:
    """The parts of the W&B report: the question, who won, and the panels over the sweep's runs."""
    import wandb_workspaces.reports.v2 as wr

    from smallgpt.reporting.statistics import winner

    words = [wr.P(text=study.question)] if study.question else []
    words += [wr.P(text=winner(comparison)) for comparison in study.comparisons]
    grids = [
        part
        for name, found in panels(study).items()
        for part in (wr.H2(text=name), wr.PanelGrid(runsets=[runset], panels=found))
    ]
    return [*words, *grids]


def specification(study: Study, project: str, group: str) -> dict[str, Any]:
    """The workspace as W&B would be sent it."""
    made = workspace(study, "", project, group)
    with private("wandb-workspaces"):
        model = made._to_model()
    return model.model_dump(mode="json", by_alias=True, exclude_none=True)


def publish(study: Study, entity: str | None, project: str, group: str, before: dict[str, str]) -> dict[str, str]:
    """Makes the workspace and the report, or updates those of `before`; returns their addresses.

    Raises:
        UserError: W&B refuses.
    """
    import wandb
    import wandb_workspaces.reports.v2 as wr
    import wandb_workspaces.workspaces as ws

    try:
        owner: Any = entity or wandb.Api().default_entity
        made = workspace(study, owner, project, group)
        if "workspace" in before:
            saved = ws.Workspace.from_url(before["workspace"])
            saved.sections, saved.settings, saved.runset_settings = made.sections, made.settings, made.runset_settings
            made = saved
        made.save()
        report = wr.Report(entity=owner, project=project, title=group)
        if "report" in before:
            report = wr.Report.from_url(before["report"])
        runset = wr.Runset(entity=owner, project=project, name=group, filters=own(group), groupby=["JobType"])
        report.blocks = report_blocks(study, runset)
        report.save()
    except (wandb.Error, ValueError) as error:
        raise UserError(f"task=dashboard: W&B says {type(error).__name__}: {' '.join(str(error).split())}") from error
    return {"workspace": made.url, "report": report.url}
