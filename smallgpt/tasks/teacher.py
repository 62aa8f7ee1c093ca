"""Teacher of a training: it is loaded, made part of the loss, and named in the result."""

from typing import TYPE_CHECKING, Any, cast

from smallgpt.settings import Settings

if TYPE_CHECKING:
    from smallgpt.data.prepared_data import PreparedData
    from smallgpt.models.decoder import Decoder
    from smallgpt.training.objectives import Objective


def load_teacher(settings: Settings) -> "Decoder | None":
    """Trained model whose logits the training learns from; None where there is none."""
    from smallgpt.inference.checkpoint import load_checkpoint

    if settings.teacher is None:
        return None
    return cast("Decoder", load_checkpoint(str(settings.distill.teacher))[0])


def distilled(
    settings: Settings, model: "Decoder", teacher: "Decoder | None", prepared: "PreparedData"
) -> "Objective | None":
    """Objective of a training with a teacher; None without one. Raises UserError for a teacher of other tokens."""
    from smallgpt.inference.checkpoint import locate
    from smallgpt.training.distillation import Distillation, refuse_other_tokenizer

    if teacher is None:
        return None
    distill, name = settings.distill, str(settings.distill.teacher)
    refuse_other_tokenizer(f"distill.from={name}", locate(name), prepared.tokenizer_dir)
    return Distillation(model, teacher, distill.weight, distill.temperature)


def distillation(settings: Settings) -> dict[str, Any]:
    """Section `distillation` of a result: the teacher, and how much it counts; nothing where there was none."""
    from smallgpt.inference.checkpoint import variant_of, which_weights

    if settings.teacher is None:
        return {}
    distill, name = settings.distill, str(settings.distill.teacher)
    teacher = {"teacher": name, "weights": which_weights(name), "variant": variant_of(name)}
    return {"distillation": {**teacher, "weight": distill.weight, "temperature": distill.temperature}}
