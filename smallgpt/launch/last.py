"""`resume=last`: the directory that the last run or sweep was written to."""

from pathlib import Path

from omegaconf import OmegaConf

from smallgpt.errors import UserError


def directory(resume: str | None, root: str, new: str) -> str:
    """For `${directory:...}` in a config: `new` under `root`, or the last one made there if `resume` is "last".

    Raises:
        UserError: there is none.
    """
    if resume != "last":
        return str(Path(root, new))
    paths = Path(root).glob("/".join("*" * len(Path(new).parts)))
    made = [path for path in paths if any(path.glob("config.yaml")) or any(path.glob("*/config.yaml"))]
    if not made:
        raise UserError(f"resume=last: nothing was written to {root} yet; leave resume out")
    return str(max(made, key=lambda path: path.stat().st_ctime))


def register() -> None:
    # cached: a run that makes its directory must not find another one when asked again
    OmegaConf.register_new_resolver("directory", directory, use_cache=True, replace=True)
