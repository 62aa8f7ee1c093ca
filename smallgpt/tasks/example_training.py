"""Training on examples: what it reads, the model that learns from it, in which batches and for how long."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from smallgpt.errors import UserError
from smallgpt.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Sequence

    from transformers import PreTrainedModel

    from smallgpt.data.example_batches import ExampleDataModule
    from smallgpt.data.example_encoding import EncodedExample, ExampleEncoder
    from smallgpt.data.example_set import Example, ExampleSet
    from smallgpt.finetuning.adapted import Adapted
    from smallgpt.finetuning.examination import Examiner
    from smallgpt.models.cost import Cost
    from smallgpt.training.module import LanguageModel
    from smallgpt.training.run_length import RunLength


@dataclass(frozen=True)
class Material:
    """The examples of a fine-tuning, as texts and as tokens."""

    examples: "ExampleSet"
    chosen: "list[Example]"
    """Those that are trained on."""
    encoder: "ExampleEncoder"
    train: "list[EncodedExample]"
    validation: "list[EncodedExample]"

    @property
    def tokenizer(self) -> Any:
        """The checkpoint's tokenizer."""
        return self.encoder.tokenizer

    @property
    def head_labels(self) -> tuple[str, ...]:
        """Labels that a head says; none: labels are words, or there are none."""
        return self.examples.labels if self.encoder.prompts_alone else ()

    def warnings(self, settings: Settings) -> list[str]:
        """What a reader of the scores should know, a line each."""
        found, said = self.examples, []
        if cut := sum(each.cut for each in self.train):
            said.append(
                f"data={found.name}: {cut:,} of {len(self.train):,} training examples are longer than the context of "
                f"{settings.context} tokens and are cut"
            )
        seen = {each.references[0] for each in self.chosen if each.references}
        if unseen := [label for label in found.labels if label not in seen]:
            said.append(
                f"data.examples={len(self.chosen)}: no training example is {', '.join(unseen)}; another seed has others"
            )
        if found.left_out:
            said.append(f"data={found.name}: {found.left_out:,} training examples are left out, near held-out ones")
        return said

    def examiner(self, settings: Settings) -> "Examiner":
        """Asks models the held-out examples; a written answer may be as long as the longest that is trained on."""
        from smallgpt.finetuning.examination import Examiner

        longest = max(len(each.ids) - each.prompt_length for each in self.train)
        most = max(1, min(settings.generation.max_new_tokens, longest, settings.context // 2))
        return Examiner(self.examples.kind, self.examples.labels, self.encoder, most)


def read_material(settings: Settings, tokenizer: Any) -> Material:
    """Reads the examples of the run and encodes them with the checkpoint's tokenizer."""
    from smallgpt.data.example_encoding import ExampleEncoder
    from smallgpt.data.example_set import example_set, first_examples

    assert settings.finetune is not None
    found = example_set(settings.data, settings.cache_dir)
    chosen = first_examples(found.of("train"), settings.data.examples, settings.seed)
    with_head = found.kind == "classification" and settings.finetune.classifier == "head"
    encoder = ExampleEncoder(tokenizer, settings.context, found.labels, with_head, settings.finetune.too_long)
    return Material(found, chosen, encoder, encoder.encode(chosen), encoder.encode(found.of("validation")))


def adapted_model(
    settings: Settings, begun_with: "PreTrainedModel", material: Material
) -> "tuple[Adapted, Cost, dict[str, Any]]":
    """The model that learns, its cost, and the section `origin`: from which checkpoint it begins.

    Args:
        begun_with: the checkpoint's model.
    """
    from lightning import seed_everything

    from smallgpt.finetuning.methods import adapt
    from smallgpt.tasks.train import origin, price_of
    from smallgpt.training.first_weights import take_weights

    assert settings.finetune is not None
    seed_everything(settings.seed, verbose=False)
    causal = settings.model_class(settings.model)
    begun_from = origin(settings)
    if settings.first_weights != "random":
        begun_from["origin"] |= take_weights(causal, begun_with)
    eos = material.tokenizer.eos_token_id
    causal.generation_config.eos_token_id = causal.generation_config.pad_token_id = eos
    price = price_of(settings, causal)
    return adapt(causal, settings.finetune, material.head_labels, settings.origin), price, begun_from


def learner(settings: Settings, material: Material, model: "Adapted") -> "LanguageModel":
    """The model with its objective, optimizer and schedule, for the trainer."""
    from smallgpt.finetuning.objectives import Completions, Labels
    from smallgpt.training.module import LanguageModel

    length = run_length(settings, len(material.train))
    if length.steps is not None:
        settings.schedule.refuse_endless(length.steps)
    return LanguageModel(
        model,
        settings.optimizer,
        settings.schedule,
        length,
        clip=settings.trainer.clip,
        objective=Labels(model) if material.head_labels else Completions(model),
    )


def run_length(settings: Settings, examples: int) -> "RunLength":
    """Length of a training on so many examples that the budget gives, in optimizer steps or in seconds."""
    from smallgpt.training.run_length import RunLength

    budget = settings.budget
    if budget.seconds is not None:
        return RunLength(seconds=budget.seconds)
    seen = budget.examples if budget.examples is not None else (budget.epochs or 0) * examples
    return RunLength(steps=max(1, int(-(-seen // settings.batch_examples))))


def data_module(settings: Settings, material: Material) -> "ExampleDataModule":
    """Data module of a training on examples."""
    from smallgpt.data.example_batches import ExampleDataModule

    assert settings.finetune is not None
    weights = class_weights(material.examples, material.train) if settings.finetune.class_weights else None
    return ExampleDataModule(
        material.train,
        material.validation,
        settings.micro_batch_size,
        settings.seed,
        material.tokenizer.eos_token_id,
        with_label=bool(material.head_labels),
        side=settings.finetune.padding,
        class_weights=weights,
        workers=settings.trainer.workers,
        validation_tokens=settings.validation.tokens,
    )


def class_weights(found: "ExampleSet", train: "Sequence[EncodedExample]") -> list[float]:
    """Weight of each label, so that all that occur weigh the same together. Raises UserError where there are none."""
    counts = [sum(each.label == number for each in train) for number in range(len(found.labels))]
    if not counts:
        raise UserError(f"finetune.class_weights=true: of labels, and data={found.name} has none; leave it out")
    seen = sum(count > 0 for count in counts)
    return [len(train) / (seen * count) if count else 0.0 for count in counts]
