"""Imports run one way: from a layer of the architecture's list to those below it, and never round in a circle."""

import ast
import re
from pathlib import Path

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "smallgpt"


def layers() -> dict[str, int]:
    """Each room of the package by the number of its layer in docs/pages/architecture.md, from the top."""
    text = (ROOT / "docs" / "pages" / "architecture.md").read_text()
    block = re.search(r"imports from the layers below it alone:\n\n((?:    .*\n)+)", text)
    assert block, "docs/pages/architecture.md has no list of layers"
    return {room: number for number, line in enumerate(block[1].splitlines()) for room in line.split()}


def modules() -> dict[str, Path]:
    paths = PACKAGE.rglob("*.py")
    return {".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): path for path in paths}


def imports(name: str, path: Path, known: dict[str, Path]) -> dict[str, int]:
    """What of the package a module imports, anywhere in it, and in which line."""
    package = name if path.name == "__init__.py" else name.rpartition(".")[0]
    found: dict[str, int] = {}
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            above = package.split(".")[: len(package.split(".")) - node.level + 1] if node.level else []
            base = ".".join([*above, *([node.module] if node.module else [])])
            names = [full if (full := f"{base}.{alias.name}") in known else base for alias in node.names]
        else:
            continue
        # the package itself has the version, and imports nothing
        found |= {imported: node.lineno for imported in names if imported in known.keys() - {name, "smallgpt"}}
    return found


def room(module: str) -> str:
    return module.split(".")[1] if "." in module else module


def faults(graph: dict[str, dict[str, int]], order: dict[str, int]) -> list[str]:
    """A line for each import that runs up, or sideways into another room, and for each circle of modules."""
    found = []
    for module, targets in graph.items():
        for target, line in targets.items():
            a, b = room(module), room(target)
            if a != b and order[b] <= order[a]:
                found.append(f"{module.replace('.', '/')}.py:{line} imports {target}: {b} does not lie below {a}")
    done: set[str] = set()

    def visit(module: str, trail: tuple[str, ...]) -> None:
        if module in trail:
            found.append("a circle: " + " -> ".join([*trail[trail.index(module) :], module]))
        elif module not in done:
            for target in graph.get(module, {}):
                visit(target, (*trail, module))
            done.add(module)

    for module in graph:
        visit(module, ())
    return found


def graph_of_the_package() -> dict[str, dict[str, int]]:
    known = modules()
    return {name: imports(name, path, known) for name, path in known.items() if name != "smallgpt"}


def test_every_import_runs_downwards():
    assert not faults(graph_of_the_package(), layers()), "\n".join(faults(graph_of_the_package(), layers()))


def test_every_room_is_in_the_list():
    rooms = {room(module) for module in modules() if module != "smallgpt"}
    assert rooms == set(layers())


def test_imports_that_run_up_and_circles_are_named():
    planted = graph_of_the_package()
    planted["smallgpt.models.gpt"] = {"smallgpt.launch.job": 3}
    planted["smallgpt.data.corpora"] = {"smallgpt.data.files": 7}
    order = layers()
    (up, *circles) = faults(planted, order)
    assert up == "smallgpt/models/gpt.py:3 imports smallgpt.launch.job: launch does not lie below models"
    assert any("smallgpt.data.files" in circle and "smallgpt.data.corpora" in circle for circle in circles)
