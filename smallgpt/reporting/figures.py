"""Pictures of a study: all that its results have numbers for."""

from collections.abc import Callable

from smallgpt.reporting.axis_figures import axes, tuned_axes
from smallgpt.reporting.charts import Figure, missing
from smallgpt.reporting.curve_figures import curve_figures
from smallgpt.reporting.decision_figures import decision_figures
from smallgpt.reporting.diagrams import diagrams, parameter_bars
from smallgpt.reporting.evaluation_figures import evaluation_figures
from smallgpt.reporting.front_figures import front_figures
from smallgpt.reporting.inference_figures import inference_figures
from smallgpt.reporting.learning_curves import learning_curves
from smallgpt.reporting.quality_figures import pareto
from smallgpt.reporting.scaling_figures import scaling_figures
from smallgpt.reporting.seed_figures import seed_figures
from smallgpt.reporting.study import Comparison


def draw(comparison: Comparison) -> list[Figure]:
    """Every figure that the results have numbers for; what cannot be drawn takes no other with it."""
    makers: dict[str, tuple[str, Callable[[], list[Figure]]]] = {
        "answer": ("Loss of every seed", lambda: seed_figures(comparison)),
        "decision": ("Accuracy against cost", lambda: decision_figures(comparison)),
        "loss": ("Loss over training", lambda: curve_figures(comparison)),
        "quality": ("Quality against cost", lambda: (front_figures if comparison.metrics else pareto)(comparison)),
        "axis": ("What the study varies", lambda: [*axes(comparison), *tuned_axes(comparison)]),
        "examples": ("What further examples are worth", lambda: learning_curves(comparison)),
        "scaling": ("Loss against training compute", lambda: scaling_figures(comparison)),
        "inference": ("Bits per byte against cost", lambda: inference_figures(comparison)),
        "evaluation": ("What the models know", lambda: evaluation_figures(comparison)),
        "parameters": ("Where the parameters sit", lambda: parameter_bars(comparison)),
        "diagrams": ("Block by block", lambda: diagrams(comparison)),
    }
    figures = []
    for part, (title, make) in makers.items():
        try:
            figures += make()
        except Exception as error:  # the other figures are no worse for it
            figures.append(missing(part, part, title, error))
    return figures
