"""What a hostile case is, a wrong command line or a broken file, and what the command lines of all of them share."""

from dataclasses import dataclass

from damage import Damage

SMALL = ("size=debug", "model.n_layer=2", "tokenizer.vocab_size=300", "batch.tokens=512", "budget.tokens=1024")
TEXT = ("data=files", "data.path=text.txt")
TRAIN = (*SMALL, *TEXT, "validation.every=1", "generation.max_new_tokens=5", "trainer.threads=1")
OUT = "hydra.run.dir=out"
RUN_FOLDERS = ("run", "onnx", "hf", "sweep")


@dataclass(frozen=True)
class HostileCase:
    """Words of a command line, and what is done to the files that they name."""

    name: str
    words: tuple[str, ...]
    damage: Damage | None = None
    says: str = ""
    """Words that the message must have."""
