"""Docstrings read as English: the first line of each is a sentence that names its subject, so that it stands alone.

Every module, and every public class and function at the top of one, must have a docstring. Methods, fields and
constants need none, since many are hooks of a library or say all with their name; those that have one follow the rule.
"""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "smallgpt"
ROOMS = (
    *("api", "launch", "tasks", "speed", "evaluation", "export", "inference", "training", "finetuning"),
    *("contract", "models", "machine", "settings", "reporting"),
)
# what follows one of these is part of a sentence whose subject is missing: "Of the last block.", "At a time."
FRAGMENTS = {
    *("also", "as", "at", "beside", "between", "by", "for", "from", "in", "instead", "like", "of", "on", "or", "that"),
    *("to", "where", "which", "whose", "with", "without"),
}
LEAST_WORDS = 3


def fault(text: str) -> str | None:
    """What is wrong with a docstring's first line, or None."""
    first = text.strip().partition("\n")[0].strip()
    words = first.split()
    if not first.endswith("."):
        return f"has no sentence that ends on the first line: {first}"
    if not (words[0][0].isupper() or words[0][0] == "`"):
        return f"does not begin with a capital: {first}"
    if len(words) < LEAST_WORDS or words[0].lower() in FRAGMENTS:
        return f"does not name its subject: {first}"
    return None


def documented(node: ast.AST) -> ast.Constant | None:
    """The constant of a bare string."""
    is_text = isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)
    return node.value if is_text else None


def docstrings(body: list[ast.stmt], owner: str = "") -> Iterator[tuple[int, str, str | None]]:
    """Line, name and docstring of public classes and functions, also nested in classes, and of fields below them."""
    for above, node in zip([None, *body], body, strict=False):
        if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef) and not node.name.startswith("_"):
            text = ast.get_docstring(node)
            if text or not owner:
                yield node.lineno, f"{owner}{node.name}", text
            if isinstance(node, ast.ClassDef):
                yield from docstrings(node.body, f"{owner}{node.name}.")
        elif isinstance(above, ast.Assign | ast.AnnAssign) and (constant := documented(node)):
            target = above.target if isinstance(above, ast.AnnAssign) else above.targets[0]
            yield node.lineno, f"{owner}{ast.unparse(target)}", str(constant.value)


def faults(source: str, name: str) -> list[str]:
    """A line for each docstring of a file that is missing or is no sentence of its own."""
    tree = ast.parse(source)
    every = [(1, "the module", ast.get_docstring(tree)), *docstrings(tree.body)]
    found = []
    for line, what, text in every:
        wrong = "has no docstring" if not text else fault(text)
        if wrong:
            found.append(f"{name}:{line} {what} {wrong}")
    return found


def files() -> list[Path]:
    return [*PACKAGE.glob("*.py"), *(path for room in ROOMS for path in (PACKAGE / room).rglob("*.py"))]


def test_first_lines_stand_alone():
    found = [line for path in files() for line in faults(path.read_text(), str(path.relative_to(PACKAGE.parent)))]
    assert not found, "\n".join(found)


@pytest.mark.parametrize(
    ("source", "wrong"),
    [
        ("def cores(): ...", "cores has no docstring"),
        ("class Cores: ...", "Cores has no docstring"),
        ('def cores():\n    """At a time."""', "cores does not name its subject: At a time."),
        ('def cores():\n    """Greedily."""', "cores does not name its subject: Greedily."),
        ('def cores():\n    """number of cores that work."""', "cores does not begin with a capital"),
        (
            'def cores():\n    """Number of cores\n    that work."""',
            "cores has no sentence that ends on the first line",
        ),
        ('class A:\n    """A class of jobs."""\n\n    n: int\n    """Which jobs are."""', "A.n does not name its"),
        ('class A:\n    """A class of jobs."""\n\n    def run(self):\n        """As is."""', "A.run does not name its"),
    ],
)
def test_what_does_not_stand_alone_is_named(source, wrong):
    (found,) = faults(f'"""A module of one thing."""\n\n{source}', "a.py")
    assert wrong in found


def test_private_names_hooks_and_fields_need_no_docstring():
    hooks = "def _helper(): ...\n\n\nclass A:\n    'A class of jobs.'\n    n: int\n\n    def run(self): ..."
    source = f'"""A module of one thing."""\n\n{hooks}'
    assert not faults(source, "a.py")
