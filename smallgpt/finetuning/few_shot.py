"""Few-shot prompting: solved examples before each prompt, as many as fit; what a fine-tuning has to beat."""

from collections.abc import Sequence
from dataclasses import dataclass

from smallgpt.data.example_encoding import ExampleEncoder
from smallgpt.data.example_set import Example

BETWEEN = "\n\n"
"""Text between two examples; a model that goes on behind its answer goes on with it."""


@dataclass(frozen=True)
class ShotPrompts:
    """Prompts as tokens, each behind the solved examples that fit."""

    prompts: list[list[int]]
    fitted: list[int]
    """Number of solved examples before each."""


def shot_prompts(
    encoder: ExampleEncoder, examples: Sequence[Example], shots: Sequence[Example], context: int, room: int
) -> ShotPrompts:
    """Makes the prompts of examples with solved ones before them.

    Args:
        shots: solved examples in the order in which they are tried; one that does not fit is left out.
        context: number of tokens that the model can read.
        room: tokens that are left for the answer.
    """
    solved = [encoder.encode_text(shot.prompt + shot.completion + BETWEEN) for shot in shots]
    prompts, fitted = [], []
    for example in examples:
        prompt = encoder.prompt_within(example, context - room)
        before: list[int] = []
        number = 0
        for ids in solved:
            if len(before) + len(ids) + len(prompt) + room <= context:
                before += ids
                number += 1
        prompts.append(before + prompt)
        fitted.append(number)
    return ShotPrompts(prompts, fitted)
