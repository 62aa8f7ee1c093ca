"""Examples as tokens: the prompt, what follows it, and which tokens of it all are learnt.

A prompt is encoded alone, as it is when the model is asked, so that no token lies across its end. What is longer than
the context loses the end of the prompt's first field, whatever stands behind it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from smallgpt.data.example_set import Example
from smallgpt.errors import UserError, one_line

TooLong = Literal["cut", "refuse"]


@dataclass(frozen=True)
class EncodedExample:
    """Tokens of an example."""

    ids: np.ndarray
    """Prompt, what follows, and the end of text; of one whose label a head says, the prompt alone."""
    learnt: np.ndarray
    """Whether each token is a target; the first never is."""
    prompt_length: int
    label: int = -1
    """Number of its label; -1: none."""
    cut: bool = False

    @property
    def prompt(self) -> list[int]:
        """Tokens of the prompt."""
        return self.ids[: self.prompt_length].tolist()


class ExampleEncoder:
    """Encodes examples for a model.

    Args:
        context: number of tokens that the model can read.
        labels: labels by their numbers.
        prompts_alone: whether a label is said by a head, behind the prompt.
        too_long: what becomes of an example that is longer than the context.
    """

    def __init__(
        self,
        tokenizer: Any,
        context: int,
        labels: Sequence[str] = (),
        prompts_alone: bool = False,
        too_long: TooLong = "cut",
    ):
        self.tokenizer, self.context, self.prompts_alone, self.too_long = tokenizer, context, prompts_alone, too_long
        self.numbers = {label: number for number, label in enumerate(labels)}

    def encode(self, examples: Sequence[Example]) -> list[EncodedExample]:
        """Encodes examples. Raises UserError for one that is longer than the context, where that is to be refused."""
        if not examples:
            return []
        if examples[0].messages:
            return [self._chat(example) for example in examples]
        prompts = self._batch([example.prompt for example in examples])
        completions = [[] for _ in examples] if self.prompts_alone else self._batch([e.completion for e in examples])
        return [self._one(*each) for each in zip(examples, prompts, completions, strict=True)]

    def encode_text(self, text: str) -> list[int]:
        """Tokens of a text."""
        return self._batch([text])[0]

    def prompt_within(self, example: Example, room: int) -> list[int]:
        """Tokens of a prompt, cut to `room` tokens."""
        if example.messages:
            ids, starts = self._rendered(example)
            return ids[: starts[-1][0]][-room:]
        return self._cut_prompt(example, self._batch([example.prompt])[0], room)

    def _batch(self, texts: list[str]) -> list[list[int]]:
        found = self.tokenizer(texts, add_special_tokens=False, split_special_tokens=True, verbose=False)
        return found["input_ids"]

    def _one(self, example: Example, prompt: list[int], completion: list[int]) -> EncodedExample:
        prompt = prompt or [self.tokenizer.eos_token_id]
        follows = completion if self.prompts_alone else [*completion, self.tokenizer.eos_token_id]
        # nothing is read behind the last target
        most = self.context + (0 if self.prompts_alone else 1)
        length = len(prompt) + len(follows)
        cut = length > most
        if cut:
            self._refuse(example, length, most)
            prompt = self._cut_prompt(example, prompt, max(1, most - len(follows)))
            follows = follows[: most - len(prompt)]
        ids = np.array([*prompt, *follows], np.int64)
        learnt = np.arange(len(ids)) >= len(prompt)
        label = self.numbers.get(example.references[0], -1) if self.numbers else -1
        return EncodedExample(ids, learnt, len(prompt), label, cut)

    def _refuse(self, example: Example, length: int, most: int) -> None:
        if self.too_long == "refuse":
            raise UserError(
                f"data.path={example.place}: {length} tokens, and the model's context has room for {most}; "
                "finetune.too_long=cut cuts its first field"
            )

    def _cut_prompt(self, example: Example, prompt: list[int], room: int) -> list[int]:
        if len(prompt) <= room:
            return prompt or [self.tokenizer.eos_token_id]
        head, tail = self._batch([example.head, example.tail])
        tail = tail[-room:]
        return [*head[: room - len(tail)], *tail]

    def _chat(self, example: Example) -> EncodedExample:
        ids, starts = self._rendered(example)
        learnt = np.zeros(len(ids), bool)
        for start, stop in starts:
            learnt[start:stop] = True
        first, cut = 0, len(ids) > self.context + 1
        if cut:
            self._refuse(example, len(ids), self.context + 1)
            first = len(ids) - self.context - 1  # a chat loses its beginning
        learnt = learnt[first:]
        learnt[0] = False
        return EncodedExample(np.array(ids[first:], np.int64), learnt, max(1, starts[-1][0] - first), cut=cut)

    def _rendered(self, example: Example) -> tuple[list[int], list[tuple[int, int]]]:
        """Tokens of a chat, and where in them each turn of the assistant begins and ends."""
        messages = list(example.messages)
        ids: list[int] = []
        starts = []
        text = ""
        for number, message in enumerate(messages):
            if message["role"] != "assistant":
                continue
            before = self._template(messages[:number], example, prompt=True)
            after = self._template(messages[: number + 1], example)
            if not before.startswith(text) or not after.startswith(before):
                raise UserError(
                    f"data.path={example.place}: the tokenizer's chat template writes a turn differently once it is "
                    "answered; give data.prompt and data.completion"
                )
            ids += self._special(before[len(text) :])
            turn = self._special(after[len(before) :])
            starts.append((len(ids), len(ids) + len(turn)))
            ids += turn
            text = after
        return ids, starts

    def _special(self, text: str) -> list[int]:
        return self.tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"]

    def _template(self, messages: list[dict[str, str]], example: Example, prompt: bool = False) -> str:
        if not self.tokenizer.chat_template:
            raise UserError(
                "data.messages: the checkpoint's tokenizer has no chat template; give data.template, or data.prompt "
                "and data.completion"
            )
        try:
            return self.tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=prompt)
        except Exception as error:  # of whatever the template says
            raise UserError(f"data.path={example.place}: the chat template refuses it ({one_line(error)})") from None
