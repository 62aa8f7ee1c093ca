"""A saved W&B workspace and report of sweeps that were logged there, with the views of the project's own report."""

from collections.abc import Sequence
from typing import Any

from smallgpt.errors import UserError
from smallgpt.packages import private
from smallgpt.reporting.dashboard_panels import ARM, final_loss, findings, sections
from smallgpt.reporting.study import Study

SHOWN = ("result/tokens_per_second", "result/peak_memory_bytes", "error")  # columns of the table of runs


def title_of(groups: Sequence[str]) -> str:
    """Name of the workspace and the report of these groups of runs."""
    return " and ".join(groups)


def own(groups: Sequence[str]) -> str:
    """W&B's filter for the runs of sweeps."""
    return f"Group in {list(groups)}"


def workspace(study: Study, entity: str, project: str, groups: Sequence[str]) -> Any:
    """Runs of the sweeps' groups, grouped by arm, over training tokens."""
    import wandb_workspaces.workspaces as ws

    return ws.Workspace(
        entity=entity,
        project=project,
        name=title_of(groups),
        sections=[ws.Section(name=name, panels=found, is_open=True) for name, found in sections(study).items()],
        settings=ws.WorkspaceSettings(x_axis="tokens", max_runs=100),
        runset_settings=ws.RunsetSettings(
            filters=own(groups),
            groupby=[ws.Config(ARM)],
            pinned_columns=[f"summary:{key}" for key in (final_loss(study), "best/val/loss", *SHOWN)],
        ),
    )


def report_blocks(study: Study, runset: Any) -> list[Any]:
    """The parts of the W&B report: the question, what was found, and the panels over the sweeps' runs."""
    import wandb_workspaces.reports.v2 as wr

    words: list[Any] = [wr.P(text=study.question)] if study.question else []
    words += [wr.MarkdownBlock(text=panel.markdown) for panel in findings(study)]
    grids = [
        part
        for name, found in sections(study).items()
        if name != "findings"
        for part in (wr.H2(text=name), wr.PanelGrid(runsets=[runset], panels=found))
    ]
    return [*words, *grids]


def specification(study: Study, project: str, groups: Sequence[str]) -> dict[str, Any]:
    """The workspace as W&B would be sent it."""
    made = workspace(study, "", project, groups)
    with private("wandb-workspaces"):
        model = made._to_model()
    return model.model_dump(mode="json", by_alias=True, exclude_none=True)


def publish(
    study: Study, entity: str | None, project: str, groups: Sequence[str], before: dict[str, str]
) -> dict[str, str]:
    """Makes the workspace and the report, or updates those of `before`; returns their addresses.

    Raises:
        UserError: W&B refuses.
    """
    import wandb
    import wandb_workspaces.reports.v2 as wr
    import wandb_workspaces.workspaces as ws

    title = title_of(groups)
    try:
        owner: Any = entity or wandb.Api().default_entity
        made = workspace(study, owner, project, groups)
        if "workspace" in before:
            saved = ws.Workspace.from_url(before["workspace"])
            saved.sections, saved.settings, saved.runset_settings = made.sections, made.settings, made.runset_settings
            made = saved
        made.save()
        report = wr.Report(entity=owner, project=project, title=title[:128])
        if "report" in before:
            report = wr.Report.from_url(before["report"])
        runset = wr.Runset(entity=owner, project=project, name=title, filters=own(groups), groupby=[f"config.{ARM}"])
        report.blocks = report_blocks(study, runset)
        report.save()
    except (wandb.Error, ValueError) as error:
        raise UserError(f"task=dashboard: W&B says {type(error).__name__}: {' '.join(str(error).split())}") from error
    return {"workspace": made.url, "report": report.url}
