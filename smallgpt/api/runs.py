"""A run directory as an object: the sections of its result as attributes, its curves as a frame, its model."""

from collections.abc import Iterable
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from smallgpt.errors import UserError, nearest
from smallgpt.files import nearest_beside
from smallgpt.results import damage, metric_rows, read_result
from smallgpt.run_directory import config_of_run

if TYPE_CHECKING:
    import pandas as pd
    from transformers import PreTrainedModel, PreTrainedTokenizerBase


class Record(dict[str, Any]):
    """Dictionary whose keys are attributes too: `run.val.loss` is `run.result["val"]["loss"]`."""

    def __getattr__(self, name: str) -> Any:
        try:
            return self[name]
        except KeyError:
            hint = nearest(name, self) or f"; there is {', '.join(self)}"
            raise AttributeError(f"{name}: no such entry{hint}") from None

    def __dir__(self) -> Iterable[str]:
        return [*super().__dir__(), *self]


def as_record(value: Any) -> Any:
    """Turns dictionaries, however deep, into records; any other value stays."""
    if isinstance(value, dict):
        return Record({key: as_record(entry) for key, entry in value.items()})
    return [as_record(entry) for entry in value] if isinstance(value, list) else value


class Run:
    """A run: what its result.json says as attributes, such as `run.val.loss`, `run.cost.parameters`, `run.samples`."""

    def __init__(self, directory: Path, result: dict[str, Any]) -> None:
        self.directory = directory
        """Run directory, with config.yaml, metrics.csv, result.json and checkpoints/."""
        self.result: Record = as_record(result)
        """All of result.json."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_") or name == "result":  # copy and pickle ask before there is one
            raise AttributeError(name)
        return getattr(self.result, name)

    def __dir__(self) -> Iterable[str]:
        return [*super().__dir__(), *self.result]

    def __repr__(self) -> str:
        loss = (self.result.get("val") or {}).get("loss")
        score = "" if loss is None else f", validation loss {loss:.4f}"
        words = f"{self.result.get('variant', '')} {self.result.get('task', '')}".strip()
        return f"<Run {self.directory}: {words}, {self.result.get('status')}{score}>"

    @cached_property
    def config(self) -> Record:
        """The resolved config, all of config.yaml: `run.config.optimizer.lr`."""
        return as_record(config_of_run(self.directory))

    @property
    def metrics(self) -> "pd.DataFrame":
        """The rows of metrics.csv: loss, learning rate, gradient norm, speed against step, tokens, seconds, FLOPs."""
        import pandas as pd

        return pd.DataFrame(metric_rows(self.directory))

    def model(self) -> "PreTrainedModel":
        """Loads the best checkpoint, a model of transformers that is ready for inference."""
        from smallgpt.inference.checkpoint import load_model

        return load_model(str(self.directory))

    def tokenizer(self) -> "PreTrainedTokenizerBase":
        """Loads the tokenizer that the model was trained with."""
        from smallgpt.inference.checkpoint import load_checkpoint

        return load_checkpoint(str(self.directory))[1]


def load(run: "str | Path | Run") -> Run:
    """Reads a run directory that a training or any other task has left, also one that failed.

    Raises:
        UserError: there is no such directory, or it holds no result that can be read.
    """
    path = run.directory if isinstance(run, Run) else Path(run).expanduser()
    if not path.is_dir():
        raise UserError(f"run={path}: no such directory{nearest_beside(path)}")
    result = read_result(path)
    if (path / "multirun.yaml").exists() and result is None:
        raise UserError(f"run={path}: is a sweep; smallgpt.compare reads it, and smallgpt.load each job in it")
    if why := damage(path):
        raise UserError(f"run={path}: {why}")
    if result is None:
        raise UserError(f"run={path}: holds no result.json; it is no run directory, or its run was killed")
    return Run(path, result)
