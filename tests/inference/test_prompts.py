"""What may be given as a prompt, and what is refused."""

import pytest
from command_line import CommandLine
from helpers import CASES
from small_checkpoints import CONTEXT, save_checkpoint

GENERATE = ("task=generate", "checkpoint=model", "generation.temperature=0", "generation.max_new_tokens=5")
LONG = "".join(chr(97 + i % 26) for i in range(CONTEXT + 4))


@pytest.fixture(autouse=True)
def model(cli: CommandLine) -> None:
    save_checkpoint(CASES[0], cli.folder / "model")


def test_a_prompt_longer_than_the_context_is_refused_or_loses_its_beginning(cli: CommandLine) -> None:
    assert cli.refused(*GENERATE, f"prompt={LONG}") == (
        f"prompt: {len(LONG)} tokens; the model's context has {CONTEXT}, so use at most {CONTEXT - 1}, "
        "or generation.window=true, which drops its beginning"
    )
    [sample] = cli(*GENERATE, f"prompt={LONG}", "generation.window=true", "hydra.run.dir=a").result["samples"]
    kept = LONG[-(CONTEXT - 5) :]
    assert sample.startswith(kept)
    assert cli(*GENERATE, f"prompt={kept}", "hydra.run.dir=b").result["samples"] == [sample]


def test_an_empty_prompt_starts_a_document(cli: CommandLine) -> None:
    words = (["prompt="], ["prompt=''"], ["prompt=[]"], [])
    said = [cli(*GENERATE, *each, f"hydra.run.dir=run{i}").result["samples"] for i, each in enumerate(words)]
    assert all(texts == said[0] for texts in said) and len(said[0]) == 1
    both = cli(*GENERATE, "prompt=['',ab]", "hydra.run.dir=both").result["samples"]
    assert both[0] == said[0][0] and both[1].startswith("ab")


def test_a_special_token_written_out_is_text(cli: CommandLine) -> None:
    literal = "<|endoftext|>"
    [sample] = cli(*GENERATE, f"prompt='a {literal} b'").result["samples"]
    assert sample.startswith(f"a {literal} b")
