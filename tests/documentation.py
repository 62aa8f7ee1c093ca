"""What README and the pages of docs/ show: their commands, and the files of their recipes."""

import re
import shlex
from pathlib import Path

ROOT = Path(__file__).parents[1]
PAGES = ROOT / "docs" / "pages"
FILE = re.compile(r"^`([\w/]+\.(?:py|yaml))`\n\n```\w+\n(.*?)^```", re.MULTILINE | re.DOTALL)
PROGRAM = re.compile(r"^ *((?:srun .*)?python run\.py(?:[^\\\n]|\\\n|\\.)*)", re.MULTILINE)


def commands(path: Path) -> list[list[str]]:
    """Words of each command of the program that a page shows, without the program and without comments."""
    found = []
    for text in PROGRAM.findall(path.read_text()):
        words = shlex.split(text.replace("\\\n", " "), comments=True)
        found.append(words[words.index("run.py") + 1 :])
    return found


def recipe(page: str) -> dict[str, str]:
    """Files of a guide's recipe by their names."""
    return dict(FILE.findall((PAGES / "guides" / f"{page}.md").read_text()))
