"""Panels of a W&B dashboard, the views of the project's own report over runs that W&B has."""

from collections.abc import Callable
from typing import Any

from smallgpt.reporting.caveats import caveats
from smallgpt.reporting.evaluation_tables import evaluation_tables
from smallgpt.reporting.markdown import arm_markdown, escaped, known_table
from smallgpt.reporting.naming import GROUPS, short_names
from smallgpt.reporting.notes import arm_notes
from smallgpt.reporting.statistics import winner
from smallgpt.reporting.study import Comparison, Study
from smallgpt.results import evaluation_keys, in_key

ARM = "arm"  # key of a run's config that names what a study compares
CURVES = {"tokens": "training tokens", "flops": "training FLOPs", "seconds": "seconds of training"}
COSTS = {
    "cost.parameters": "parameters",
    "cost.training_flops_per_token": "training FLOPs a token",
    "cost.inference_flops_per_token": "inference FLOPs a token",
    "cost.cache_bytes_per_token": "cache bytes a token",
}
MEASURED = {"result/seconds": "seconds of training", "result/peak_memory_bytes": "peak memory"}
TRAINING = {
    "train/loss": "training loss",
    "train/lr": "learning rate",
    "train/grad_norm": "norm of the gradient",
    "speed/tokens_per_second": "tokens a second",
    "speed/mfu": "model FLOPs utilization",
}
WORTH_A_CHART = ("accuracy", "bits_per_byte", "hit_rate")


def sections(study: Study) -> dict[str, list[Any]]:
    """Panels by the name of their section; sections that the study has nothing for are left out."""
    makers: dict[str, Callable[[Study], list[Any]]] = {
        "findings": findings,
        "loss": loss_curves,
        "quality against cost": quality,
        "what was varied": ablation,
        "training": training_curves,
        "parameters": parameters,
        "evaluations": evaluations,
        "samples": samples,
    }
    return {name: panels for name, make in makers.items() if (panels := make(study))}


def final_loss(study: Study) -> str:
    """Key of the loss that the study reports, on the test split where every run has one."""
    splits = {comparison.split for comparison in study.comparisons}
    return f"result/{splits.pop() if len(splits) == 1 else 'val'}/loss"


def findings(study: Study) -> list[Any]:
    """What the report says first: the winner, and the table of arms with their paired differences."""
    import wandb_workspaces.reports.v2 as wr

    layout = wr.Layout(w=24, h=10)
    return [wr.MarkdownPanel(markdown=found_words(each), layout=layout) for each in study.comparisons]


def found_words(comparison: Comparison) -> str:
    """Findings of a comparison in Markdown."""
    words = [escaped(winner(comparison)), arm_markdown(comparison)]
    words += [known_table(table) for table in evaluation_tables(comparison)]
    words += [escaped(text) for text in (*caveats(comparison), *arm_notes(comparison))]
    return "\n\n".join(words)


def line_over(key: str, name: str, x: str) -> Any:
    """Mean of a metric over the seeds of each arm, with a band from the least to the largest."""
    import wandb_workspaces.reports.v2 as wr

    return wr.LinePlot(
        title=f"{name} against {CURVES[x]}",
        x=x,
        y=[key],
        groupby=wr.Config(ARM),
        groupby_aggfunc="mean",
        groupby_rangefunc="minmax",
    )


def loss_curves(study: Study) -> list[Any]:
    """Validation loss against each thing that a training spends."""
    return [line_over("val/loss", "validation loss", x) for x in CURVES]


def training_curves(study: Study) -> list[Any]:
    """Metrics beside the validation loss, against tokens."""
    return [line_over(key, name, "tokens") for key, name in TRAINING.items()]


def quality(study: Study) -> list[Any]:
    """Final loss against each cost; the line is the best loss at no more than this cost, a Pareto front."""
    import wandb_workspaces.reports.v2 as wr

    loss = wr.SummaryMetric(final_loss(study))
    axes = {wr.Config(key): name for key, name in COSTS.items()} | {
        wr.SummaryMetric(key): name for key, name in MEASURED.items()
    }
    return [
        wr.ScatterPlot(title=f"loss against {name}", x=x, y=loss, running_ymin=True, legend_template=LEGEND)
        for x, name in axes.items()
    ]


LEGEND = "${run:displayName}: x ${x}, y ${y}"


def ablation(study: Study) -> list[Any]:
    """The final loss over each key that the study varies, and all of them beside each other."""
    import wandb_workspaces.reports.v2 as wr

    loss = wr.SummaryMetric(final_loss(study))
    named = dict.fromkeys(name for arm in study.arms for name in arm.named if name not in GROUPS)
    named |= dict.fromkeys(key for comparison in study.comparisons for key in comparison.tuned_keys)
    if not named:
        return []
    short = short_names(list(named))
    scatter = [wr.ScatterPlot(title=f"loss against {short[key]}", x=wr.Config(key), y=loss) for key in named]
    axes = [*(wr.Config(key) for key in named), wr.Config("cost.parameters"), loss]
    columns = [wr.ParallelCoordinatesPlotColumn(metric=metric) for metric in axes]
    return [*scatter, wr.ParallelCoordinatesPlot(title="what was varied, against the loss", columns=columns)]


def bars(title: str, keys: list[Any]) -> Any:
    """Summary values of each arm, the mean over its seeds."""
    import wandb_workspaces.reports.v2 as wr

    return wr.BarPlot(title=title, metrics=keys, groupby=wr.Config(ARM), groupby_aggfunc="mean")


def parameters(study: Study) -> list[Any]:
    """Panels of the parameters, by group and layer by layer."""
    import wandb_workspaces.reports.v2 as wr

    costs = [job.section("cost") for arm in study.arms for job in arm.jobs]
    groups = list(dict.fromkeys(name for cost in costs for name in cost.get("parameters_by_group") or {}))
    if not groups:
        return []
    return [
        bars("where the parameters sit", [f"parameters/{in_key(name)}" for name in groups]),
        wr.WeavePanelSummaryTable(table_name="layers"),
    ]


def evaluations(study: Study) -> list[Any]:
    """Scores of the benchmarks that the jobs were asked, a chart each."""
    found = [evaluation_keys(job.section("evaluation")) for arm in study.arms for job in arm.jobs]
    keys = dict.fromkeys(key for scores in found for key in scores if key.rpartition("/")[2] in WORTH_A_CHART)
    return [bars(key.removeprefix("evaluation/").replace("/", ": "), [key]) for key in keys]


def samples(study: Study) -> list[Any]:
    """Texts that the models wrote."""
    import wandb_workspaces.reports.v2 as wr

    return [wr.WeavePanelSummaryTable(table_name="samples")] if any(arm.sample for arm in study.arms) else []
