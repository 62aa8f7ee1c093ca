"""Examination of a model on held-out examples: its loss, its answers and their scores."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from smallgpt.data.example_batches import batch_of_examples
from smallgpt.data.example_encoding import EncodedExample, ExampleEncoder
from smallgpt.data.example_set import Example
from smallgpt.evaluation.measures import text_score
from smallgpt.evaluation.text_likelihood import Reader
from smallgpt.finetuning.adapted import Adapted
from smallgpt.finetuning.answers import option_probabilities, written_answers
from smallgpt.finetuning.few_shot import BETWEEN, shot_prompts
from smallgpt.finetuning.objectives import Completions, Labels
from smallgpt.finetuning.scores import answer_scores, label_scores

BATCH = 32


@dataclass(frozen=True)
class Examined:
    """What a model was asked, what it said, and what that is worth."""

    scores: dict[str, Any]
    items: list[dict[str, Any]]


class Examiner:
    """Asks models the same examples.

    Args:
        kind: kind of task.
        labels: labels of a classification.
        encoder: of the tokenizer that all of the models have.
        answer_tokens: largest number of tokens of a written answer.
    """

    def __init__(self, kind: str, labels: Sequence[str], encoder: ExampleEncoder, answer_tokens: int):
        self.kind, self.labels, self.encoder, self.answer_tokens = kind, tuple(labels), encoder, answer_tokens
        self.tokenizer, self.context = encoder.tokenizer, encoder.context

    def examine(self, model: Adapted, examples: Sequence[Example]) -> Examined:
        """Scores of a model on examples as it was trained to answer them."""
        encoded = self.encoder.encode(examples)
        model.eval()
        loss = {"loss": self.loss(model, encoded), "cut_examples": sum(each.cut for each in encoded)}
        if model.head is not None:
            found = self.judged(examples, self.head_probabilities(model, encoded))
        elif self.kind == "classification":
            found = self.by_words(model.causal, examples, self.label_prompts(examples))
        else:
            prompts = [self.encoder.prompt_within(each, self.context - self.answer_tokens) for each in examples]
            found = self.by_writing(model, examples, prompts)
        return Examined({**loss, **found.scores}, found.items)

    def examine_with_shots(self, model: Adapted, examples: Sequence[Example], shots: Sequence[Example]) -> Examined:
        """Scores of a model that sees solved examples before each one, as many as fit; how many did is said."""
        model.eval()
        words = self.kind == "classification"
        room = self.option_room(examples) if words else self.answer_tokens
        made = shot_prompts(self.encoder, examples, shots, self.context, room)
        if words:
            found = self.by_words(model.causal, examples, made.prompts)
        else:
            found = self.by_writing(model, examples, made.prompts, stop=(BETWEEN,))
        fitted = made.fitted
        said = {"shots": len(shots), "shots_that_fit": sum(fitted) / len(fitted), "fewest_shots": min(fitted)}
        return Examined({**said, **found.scores}, found.items)

    @torch.inference_mode()
    def loss(self, model: Adapted, encoded: Sequence[EncodedExample]) -> float:
        """Mean loss of examples: in nats a label, or a token of what follows the prompts."""
        objective = Labels(model) if model.head is not None else Completions(model)
        nats = count = 0.0
        for batch in self.batches(model, encoded):
            sums = objective.total(batch)
            nats, count = nats + float(sums[0]), count + float(sums[1])
        return nats / max(count, 1)

    @torch.inference_mode()
    def head_probabilities(self, model: Adapted, encoded: Sequence[EncodedExample]) -> Tensor:
        """Probability of each label of each example by the head, (examples, labels)."""
        logits = [
            model.label_logits(batch["input_ids"], batch.get("attention_mask")).float().cpu()
            for batch in self.batches(model, encoded)
        ]
        return torch.softmax(torch.cat(logits), dim=-1)

    def batches(self, model: Adapted, encoded: Sequence[EncodedExample]) -> Any:
        """Batches of examples, padded on the right, on the model's device."""
        with_label = model.head is not None
        for start in range(0, len(encoded), BATCH):
            batch = batch_of_examples(encoded[start : start + BATCH], self.tokenizer.eos_token_id, "right", with_label)
            yield {name: value.to(model.causal.device) for name, value in batch.items()}

    def options(self, examples: Sequence[Example]) -> list[list[int]]:
        """Tokens of each label as it follows a prompt."""
        first = examples[0]
        space = first.completion[: len(first.completion) - len(first.references[0])]
        return [self.encoder.encode_text(space + label) for label in self.labels]

    def option_room(self, examples: Sequence[Example]) -> int:
        """Tokens that the longest label takes."""
        return max(map(len, self.options(examples)))

    def label_prompts(self, examples: Sequence[Example]) -> list[list[int]]:
        """Tokens of each prompt, cut so that there is room for the longest label."""
        room = self.context - self.option_room(examples)
        return [self.encoder.prompt_within(each, room) for each in examples]

    def by_words(self, model: Any, examples: Sequence[Example], prompts: Sequence[Sequence[int]]) -> Examined:
        """Scores of the labels whose words a causal model, or a graph, finds likeliest after each prompt."""
        found = option_probabilities(model, prompts, self.options(examples), self.context)
        return self.judged(examples, found)

    def judged(self, examples: Sequence[Example], probability_NC: Tensor) -> Examined:
        """Scores and items of predicted labels."""
        label_N = torch.tensor([self.encoder.numbers[each.references[0]] for each in examples])
        items = [
            {
                "place": each.place,
                "prompt": each.prompt,
                "answer": each.references[0],
                "prediction": self.labels[int(row.argmax())],
                "probability": float(row.max()),
            }
            for each, row in zip(examples, probability_NC, strict=True)
        ]
        return Examined(label_scores(probability_NC, label_N), items)

    def by_writing(
        self,
        model: Adapted,
        examples: Sequence[Example],
        prompts: Sequence[Sequence[int]],
        stop: tuple[str, ...] = (),
    ) -> Examined:
        """Scores of the texts that the model writes after each prompt."""
        texts = written_answers(model.causal, self.tokenizer, prompts, self.answer_tokens, stop)
        references = [self.right(each) for each in examples]
        items = [
            {"place": each.place, "prompt": each.prompt or each.text, "answer": list(right), "prediction": text}
            for each, right, text in zip(examples, references, texts, strict=True)
        ]
        return Examined(answer_scores(self.kind, texts, references), items)

    def right(self, example: Example) -> Sequence[str]:
        """Right answers to an example."""
        return example.references or (example.messages[-1]["content"],)

    def bits_per_byte(self, model: Adapted, examples: Sequence[Example]) -> float:
        """Bits per byte of the examples as text, each alone."""
        found = Reader(model.causal, self.tokenizer).likelihood_of_texts([each.text for each in examples])
        return float(text_score(found)["bits_per_byte"])
