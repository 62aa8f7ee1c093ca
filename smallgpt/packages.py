"""Optional packages: which are installed, and what to say where one is missing."""

from importlib.util import find_spec

from smallgpt.errors import UserError


def require(key: str, *modules: str, install: str = "", instead: str = "") -> None:
    """Raises UserError where a package that a key of the command line needs is not installed.

    Args:
        key: the words of the command line that need them, with which the message begins.
        modules: as they are imported.
        install: what pip is to install; empty: the first missing module, with dashes.
        instead: what does without them, such as `logger=csv`.

    Raises:
        UserError: names the first module that is missing, and how to install it.
    """
    for module in modules:
        if find_spec(module) is None:
            name = module.replace("_", "-")
            other = f", or {instead}" if instead else ""
            raise UserError(f"{key}: {name} is not installed; `pip install {install or name}`{other}")
