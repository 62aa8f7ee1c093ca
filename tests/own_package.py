"""A package of a user's own with a variant, and a folder of YAML files that names it: no fork of smallgpt."""

import re
from pathlib import Path

from documentation import recipe

TEXT = "\n\n".join(f"Sentence {i} of a text with {i % 7} words and {i % 11} others." for i in range(2000))
SMALL = (
    *("size=debug", "model.n_layer=2", "data=files", "data.path=text.txt", "tokenizer.vocab_size=300"),
    *("batch.tokens=512", "budget.tokens=2048", "generation.max_new_tokens=5", "trainer.threads=1"),
)


def write_own_package(folder: Path) -> None:
    """The variant of the guide as `packages/mine`, its YAML in `myconf` and in the package, and a text to train on."""
    package = folder / "packages" / "mine"
    code = recipe("own_variant")["smallgpt/models/skipgpt.py"]
    for path, text in {
        package / "__init__.py": "",
        package / "model.py": re.sub(r"^from \.(\w+)", r"from smallgpt.models.\1", code, flags=re.MULTILINE),
        package / "conf" / "__init__.py": "",
        package / "conf" / "model" / "packaged.yaml": "_target_: mine.model.SkipGPT\n",
        folder / "myconf" / "model" / "mine.yaml": "_target_: mine.model.SkipGPT\nn_head: 4\n",
        folder / "text.txt": TEXT,
    }.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
