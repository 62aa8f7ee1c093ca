"""One job: the task with its settings, and the result it leaves behind, whatever happens."""

import os
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig

from smallgpt.errors import UserError
from smallgpt.launch.command_line import announce, complain, given, own_tracebacks, unexpected
from smallgpt.run_directory import environment, header, write_config, write_result
from smallgpt.settings import imported, load

INTERRUPTED = 130
TERMINATED = 143


def run_job(cfg: DictConfig) -> dict[str, Any]:
    """Does the task and returns its result; never raises, so that a sweep goes on.

    Only an interruption ends a sweep.
    """
    hydra = HydraConfig.get()
    run_dir = Path(hydra.runtime.output_dir)
    result: dict[str, Any] = {"status": "failed", "error": None}
    stop: BaseException | None = None
    with own_tracebacks():
        try:
            settings = load(cfg, given(hydra))
            result |= header(settings, str(hydra.runtime.choices["model"]))
            first = is_first_process()
            if first:
                write_config(run_dir, settings.plain)
            result |= imported("task", settings.task)(settings, run_dir)
            result["status"] = "completed"
        except UserError as error:
            result |= {"status": "failed" if has_output(run_dir) else "refused", "error": str(error)}
            complain(str(error))
        except (KeyboardInterrupt, SystemExit) as error:
            stop = error
            result |= {"status": "interrupted", "error": type(error).__name__}
            complain("interrupted")
        except Exception as error:
            result["error"] = unexpected(error)
            complain(f"{result['error']} (HYDRA_FULL_ERROR=1 shows where)")
    finish(run_dir, result, alone=hydra.mode == RunMode.RUN)
    if stop is not None:
        # Lightning raises SIGTERMException without an exit code
        raise SystemExit(TERMINATED if "SIGTERM" in type(stop).__name__ else INTERRUPTED)
    return result


def finish(run_dir: Path, result: dict[str, Any], alone: bool) -> None:
    """Writes and prints the result; a refused run leaves nothing, unless a sweep counts it."""
    if not is_first_process():
        return
    if alone and result["status"] == "refused":
        (run_dir / "config.yaml").unlink(missing_ok=True)
    else:
        result["environment"] = environment()
        write_result(run_dir, result)
    announce(result)


def has_output(run_dir: Path) -> bool:
    return any(path.name != "config.yaml" for path in run_dir.iterdir())


def is_first_process() -> bool:
    """Whether this is no helper that a distributed run has started."""
    return os.environ.get("LOCAL_RANK", "0") == "0" and os.environ.get("NODE_RANK", "0") == "0"
