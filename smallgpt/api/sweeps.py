"""One or several sweeps as an object: the report's answer, its tables as frames, and its figures as Altair charts."""

from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from smallgpt.api.runs import Run
from smallgpt.settings import one_or_several

if TYPE_CHECKING:
    import altair as alt
    import pandas as pd

    from smallgpt.reporting.study import Comparison, Study


class Sweep:
    """What a report says of one or several sweeps; a notebook shows its answer and its table of arms."""

    def __init__(self, study: "Study") -> None:
        self.study = study
        """Jobs, arms and comparisons, as the report has them."""

    def __repr__(self) -> str:
        return "\n".join([f"<Sweep {' and '.join(map(str, self.directories))}>", *self.answer])

    def _repr_html_(self) -> str:
        from html import escape

        return "".join(f"<p>{escape(line)}</p>" for line in self.answer) + self.arms.to_html(
            float_format="{:,.4g}".format
        )

    @property
    def directories(self) -> list[Path]:
        """Directories of the sweeps."""
        return self.study.sweeps

    @property
    def question(self) -> str | None:
        """What the sweep was to answer, where it says so."""
        return self.study.question

    @property
    def answer(self) -> list[str]:
        """A sentence for each data set: which arm has the lowest loss, and how sure that is."""
        from smallgpt.reporting.statistics import winner

        return [winner(comparison) for comparison in self.study.comparisons]

    @property
    def caveats(self) -> list[str]:
        """What stands beside the answer and makes it worth less, such as training text in what was held out."""
        from smallgpt.reporting.caveats import caveats

        return [line for comparison in self.study.comparisons for line in caveats(comparison)]

    @property
    def runs(self) -> list[Run]:
        """The job directories, as `smallgpt.load` gives them, also of jobs that failed."""
        return [Run(job.run_dir, job.result) for job in self.study.jobs]

    @cached_property
    def jobs(self) -> "pd.DataFrame":
        """A row for each job: its arm, and every number of its result, as in results.csv."""
        import pandas as pd

        from smallgpt.reporting.report import flat_result

        arms = {job.name: arm.label for arm in self.study.arms for job in arm.jobs}
        rows = [
            {"job": job.name, "arm": arms.get(job.name), "directory": str(job.run_dir), **flat_result(job.result)}
            for job in self.study.jobs
        ]
        return pd.DataFrame(rows).set_index("job")

    @cached_property
    def arms(self) -> "pd.DataFrame":
        """A row for each arm: mean loss and difference to the baseline with 95 % intervals, p, verdict, costs."""
        import pandas as pd

        rows = [row for comparison in self.study.comparisons for row in arm_rows(comparison)]
        return pd.DataFrame(rows).set_index("arm") if rows else pd.DataFrame()

    @cached_property
    def curves(self) -> "pd.DataFrame":
        """A row for each validation of each run: arm, job, seed, step, tokens, seconds, FLOPs, loss."""
        import pandas as pd

        return pd.DataFrame(
            [
                {"arm": arm.label, "job": job.name, "seed": job.seed, **point}
                for arm in self.study.arms
                for job in arm.jobs
                for point in job.curve
            ]
        )

    @cached_property
    def figures(self) -> "dict[str, alt.Chart]":
        """The report's figures by name, such as `loss`; of several data sets with `data1_` before it."""
        import altair as alt

        from smallgpt.reporting.figures import draw

        several = len(self.study.comparisons) > 1
        return {
            f"data{number}_{figure.name}" if several else figure.name: alt.Chart.from_dict(figure.spec)
            for number, comparison in enumerate(self.study.comparisons, 1)
            for figure in draw(comparison)
            if not figure.error
        }


def arm_rows(comparison: "Comparison") -> list[dict[str, Any]]:
    """Rows of numbers, an arm each: losses on the split that is reported, differences to the baseline, costs."""
    from smallgpt.reporting.statistics import compare_arms, mean

    gaps, rows = compare_arms(comparison), []
    for arm in comparison.arms:
        gap, losses = gaps.get(arm.label), list(comparison.losses(arm).values())
        score = mean(losses) if losses else None
        half = score.half_width if score else None
        baseline = comparison.baseline_of(arm)
        rows.append(
            {
                "arm": arm.label,
                "variant": arm.variant,
                **{key: value for key, value in arm.named.items() if key != "model"},
                "seeds": len(arm.jobs),
                "split": comparison.split,
                "loss": score.value if score else None,
                "loss_low": score.value - half if score and half is not None else None,
                "loss_high": score.value + half if score and half is not None else None,
                "baseline": baseline.label if baseline else None,
                "difference": gap.value if gap else None,
                "difference_low": gap.low if gap else None,
                "difference_high": gap.high if gap else None,
                "p": gap.p if gap else None,
                "verdict": gap.verdict if gap else ("baseline" if arm in comparison.references else None),
                "parameters": arm.number("cost", "parameters"),
                "training_flops": arm.cost("train", "flops"),
                "tokens": arm.number("train", "tokens"),
                "tokens_per_second": arm.number("train", "tokens_per_second"),
                "data_fingerprint": comparison.fingerprint,
            }
        )
    return rows


def compare(
    sweep: "str | Path | Sweep | Sequence[str | Path | Sweep]",
    baseline: str | None = None,
    tune: str | Sequence[str] = (),
    label: Mapping[str, str] = MappingProxyType({}),
) -> Sweep:
    """Reads one sweep, or several together, as `task=report` does, and writes nothing.

    Args:
        sweep: directory of a sweep, or a list of them.
        baseline: arm that the others are compared with, such as "gpt lr=1e-3"; None: gpt at equal other choices.
        tune: keys on which each arm uses its own best; none: those that the sweeps themselves name.
        label: names for arms, each with the arm that it is for, such as {"Ours": "canon lr=1e-3"}.

    Raises:
        UserError: a directory is no sweep, no arm is called `baseline` or as `label` has it, or no job has a key to
            tune.
    """
    from smallgpt.errors import UserError
    from smallgpt.reporting.study import read_study

    several = [sweep] if isinstance(sweep, str | Path | Sweep) else sweep
    paths = [path for each in several for path in (each.directories if isinstance(each, Sweep) else [Path(each)])]
    if not paths:
        raise UserError("sweep=[]: names no directory of a sweep, such as multirun_outputs/STUDY")
    directories = list(dict.fromkeys(path.expanduser() for path in paths))
    return Sweep(read_study(directories, baseline, one_or_several(tune), label))
