"""One job: the task with its settings, and the result it leaves behind, whatever happens."""

import errno
import os
import signal
import sys
import tempfile
import threading
from collections.abc import Callable, Generator
from contextlib import contextmanager, nullcontext
from functools import partial
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig

from smallgpt.environment import environment
from smallgpt.errors import Unfinished, UserError
from smallgpt.files import write_bytes
from smallgpt.launch.arm_names import arm_of_run
from smallgpt.launch.command_line import announce, chosen_files, complain, given, own_tracebacks, refuse, unexpected
from smallgpt.launch.loading import load_settings, resolved_config
from smallgpt.ranks import is_first_process
from smallgpt.results import read_result, write_result
from smallgpt.run_directory import refuse_removed, refuse_taken, result_header, write_config
from smallgpt.stop_signals import SIGNALS, Stopped, StopRequest
from smallgpt.targets import imported_task
from smallgpt.tasks.poc_stages import reopen

INTERRUPTED = 130
REPEAT_SECONDS = 0.05  # by then the code that lost a signal has ended
AT_WORK = "another process is at work in it; wait for it, or choose another directory"
NO_MEMORY = ("can't allocate memory", "Failed to allocate memory")  # PyTorch's, ONNX Runtime's
NEEDS_LESS = {
    "train": "a smaller batch.micro or model needs less, task=inspect estimates how much",
    "finetune": "a smaller batch.micro needs less, and finetune=lora",
    "benchmark": "smaller benchmark.batches and benchmark.prompts need less",
    "generate": "fewer or shorter prompts need less",
}
BEFORE_WORK = {"config.yaml", ".job.json", ".lock", ".slurm", "log.txt", "result.json"}


def run_job(cfg: DictConfig) -> dict[str, Any]:
    """Runs the job that Hydra has composed, in this process; returns its result."""
    hydra = HydraConfig.get()
    run_dir = Path(hydra.runtime.output_dir)
    alone = hydra.mode == RunMode.RUN
    try:
        with at_work_alone(run_dir) if alone and is_first_process() else nullcontext():
            if not alone:
                reopen(run_dir, resolved_config(cfg))
            done = read_result(run_dir) or {}
            if done.get("status") == "completed":  # by the same command before
                if not alone:
                    return done
                refuse_taken(Path(hydra.run.dir), cfg.get("resume"))
            signals = JobSignals()
            result = execute(cfg, given(hydra), chosen_files(hydra), run_dir, alone, signals=signals)
            if not alone and signals.request.number:  # told when the work had ended: the next job would not hear of it
                raise SystemExit(128 + signals.request.number)
            return result
    except Timeout:
        reason = f"hydra.run.dir={hydra.run.dir}: {AT_WORK}"
    except UserError as error:
        reason = str(error)
    refuse(reason)
    return {"status": "refused", "error": reason}


@contextmanager
def at_work_alone(run_dir: Path) -> Generator[None]:
    """Context in which no other run works in a directory; raises Timeout where one does."""
    with FileLock(run_dir / ".lock", timeout=0):
        try:
            yield
        finally:
            (run_dir / ".lock").unlink(missing_ok=True)


def execute(
    cfg: DictConfig,
    overrides: list[str],
    choices: dict[str, str],
    run_dir: Path,
    alone: bool = False,
    arm: str | None = None,
    signals: "JobSignals | None" = None,
) -> dict[str, Any]:
    """Does the task and returns its result; raises nothing but SystemExit, when it was interrupted.

    Args:
        cfg: the config, without Hydra's own node.
        overrides: the words it was composed with.
        choices: the name of the chosen YAML of each group; that of the model names the variant.
        run_dir: where everything goes.
        alone: no part of a sweep, which counts refused jobs too.
        arm: name of the job without its seed; None: nobody has named it.
        signals: what is to hear of signals, for a caller who asks it of them later.
    """
    result: dict[str, Any] = {"status": "failed", "error": None}
    stop: SystemExit | None = None
    before = config_file(run_dir)
    signals = signals or JobSignals()
    with own_tracebacks(), signals.answered():
        try:
            try:
                arm = arm or arm_of_run(choices, resolved_config(cfg), overrides, run_dir)
                settings = load_settings(cfg, overrides, choices.get("model", ""), arm)
                result |= result_header(settings, choices)
                if is_first_process():
                    write_config(run_dir, settings.plain)
                    if earlier := read_result(run_dir):
                        write_result(run_dir, {**earlier, **result, "status": "running"})
                result |= imported_task(settings.task)(settings, run_dir)
            finally:
                signals.hold()
            if is_first_process():
                refuse_removed(run_dir)
            result["status"] = "completed"
        except UserError as error:
            if isinstance(error, Unfinished):
                result |= error.sections
            result |= {"status": "failed" if has_output(run_dir) else "refused", "error": str(error)}
            complain(str(error))
        except (KeyboardInterrupt, SystemExit) as error:
            stop = error if isinstance(error, SystemExit) and error.code else SystemExit(INTERRUPTED)
            result |= {"status": "interrupted", "error": str(error) or "interrupted"}
            complain(result["error"])
        except Exception as error:
            reason = known(error, result.get("task"))
            result["error"] = reason or unexpected(error)
            complain(reason or f"{result['error']} (HYDRA_FULL_ERROR=1 shows where)")
        finish(run_dir, result, alone, before)
    if stop is not None:
        raise stop
    return result


class JobSignals:
    """Signals to a job outside of its training, which saves first: they end the work, and no writing of a result."""

    def __init__(self) -> None:
        self.request = StopRequest()
        self.held = False
        self.repeat: threading.Timer | None = None

    def hold(self) -> None:
        """Lets signals change nothing from here on: the work has ended, and its result is still to be written."""
        self.held = True

    def _receive(self, number: int, _: Any) -> None:
        if self.request.is_new(number) and not self.held:
            raise Stopped(number, "stopped; resume=auto goes on from the last checkpoint, if any")

    def _ask_again(self, report: Callable[[Any], Any], lost: Any) -> None:
        """Repeats a signal that came in a destructor or beside a fork, from where Python lets no exception out."""
        if not isinstance(lost.exc_value, Stopped):
            report(lost)
            return
        self.request = StopRequest()
        self.repeat = threading.Timer(REPEAT_SECONDS, os.kill, (os.getpid(), lost.exc_value.number))
        self.repeat.start()

    @contextmanager
    def answered(self) -> Generator[None]:
        """Context in which the signals that nobody else answers come here."""
        nobody = (signal.SIG_DFL, signal.default_int_handler)
        kept = {
            number: signal.signal(number, self._receive) for number in SIGNALS if signal.getsignal(number) in nobody
        }
        report = sys.unraisablehook
        sys.unraisablehook = partial(self._ask_again, report)
        try:
            yield
        finally:
            sys.unraisablehook = report
            if self.repeat is not None:  # nobody would answer it any more
                self.repeat.cancel()
            for number, handler in kept.items():
                signal.signal(number, handler)


def known(error: Exception, task: str | None = None) -> str | None:
    """Sentence for an error that is no fault of the program, a full disk or too little memory; None for others."""
    if isinstance(error, ModuleNotFoundError) and error.name:
        from smallgpt.launch.rephrase import missing_package

        return missing_package(error)
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        return "the disk is full; make room, then resume=auto goes on from the last checkpoint, if there is one"
    if isinstance(error, OSError) and error.errno in (errno.EROFS, errno.EACCES, errno.EPERM) and error.filename:
        return (
            f"{error.filename}: {error.strerror}; make it writable, then resume=auto goes on, if there is a checkpoint"
        )
    text = str(error)
    named = type(error).__name__ == "OutOfMemoryError" or any(words in text for words in NO_MEMORY)
    if named or isinstance(error, MemoryError):
        return f"out of memory; {NEEDS_LESS.get(task, 'a smaller model needs less')}"
    if "No space left on device" in text:
        return known(OSError(errno.ENOSPC, text), task)
    return None


def config_file(run_dir: Path) -> bytes | None:
    """Content of a run's config.yaml; None where there is none."""
    path = run_dir / "config.yaml"
    return path.read_bytes() if path.exists() else None


def finish(run_dir: Path, result: dict[str, Any], alone: bool, before: bytes | None = None) -> None:
    """Writes and prints the result of a job; a refused run leaves nothing behind, unless it is part of a sweep.

    Args:
        before: config.yaml as it was, of a run that was cut off.
    """
    if not is_first_process():
        return
    path = None
    if alone and result["status"] == "refused":
        if before is None:
            (run_dir / "config.yaml").unlink(missing_ok=True)
        else:
            write_bytes(run_dir / "config.yaml", before)
    else:
        result["environment"] = environment()
        try:
            if run_dir.is_dir():
                write_result(run_dir, result)
                path = run_dir / "result.json"
        except OSError as error:
            complain(f"{run_dir}/result.json: {error.strerror}; {kept_elsewhere(result)}")
    announce(result, path)


def kept_elsewhere(result: dict[str, Any]) -> str:
    """Writes a result where there is still room, and returns the words that say where."""
    try:
        folder = Path(tempfile.mkdtemp(prefix="smallgpt-"))
        write_result(folder, result)
    except OSError:  # the same disk
        return "the result is the last line on standard output alone"
    return f"the result is in {folder / 'result.json'}"


def has_output(run_dir: Path) -> bool:
    """Whether a run directory holds more than what lies there before the work begins, or did until it was removed."""
    return not run_dir.is_dir() or any(path.name not in BEFORE_WORK for path in run_dir.iterdir())
