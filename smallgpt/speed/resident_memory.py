"""Peak resident memory of a process that does nothing but answer with a model.

    python -m smallgpt.speed.resident_memory FOLDER PROMPT BATCH NEW_TOKENS STARTER

An exported graph is run by ONNX Runtime without PyTorch, as it would be in production; any other folder by PyTorch.
"""

import json
import os
import resource
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

from smallgpt.ranks import end_with_the_starter, python_path


def resident_memory(
    checkpoint: str, prompt: int, batch: int, new_tokens: int, threads: int | None = None
) -> dict[str, Any]:
    """Measures the peak resident memory of a process that answers once, in bytes, and lists what it has imported.

    Args:
        checkpoint: folder with an exported graph, or what PyTorch loads.
        prompt: length of each prompt in tokens.
        batch: number of prompts.

    Returns:
        `bytes` and `engine`; `bytes` is None, beside `error`, where the process failed.
    """
    words = [checkpoint, str(prompt), str(batch), str(new_tokens), str(os.getpid())]
    env = {**os.environ, "PYTHONPATH": python_path()}
    if threads is not None:
        env["OMP_NUM_THREADS"] = str(threads)
    done = subprocess.run(
        [sys.executable, "-P", "-m", "smallgpt.speed.resident_memory", *words],
        env=env,
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
        check=False,
    )
    try:
        return json.loads(done.stdout.splitlines()[-1])
    except (IndexError, ValueError):
        last = (done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1]
        return {"bytes": None, "engine": None, "error": last[:300]}


def peak_resident() -> int:
    """Peak resident memory of this process in bytes."""
    try:
        # not ru_maxrss, which begins with what the process had that started this one
        lines = Path("/proc/self/status").read_text().splitlines()
        return next(1024 * int(line.split()[1]) for line in lines if line.startswith("VmHWM:"))
    except (OSError, StopIteration):
        most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return most if sys.platform == "darwin" else 1024 * most


def answer_once(checkpoint: str, prompt: int, batch: int, new_tokens: int) -> str:
    """Answers prompts of the same length once; returns the name of the engine that did."""
    from smallgpt.inference.onnx_engine import OnnxEngine, find_onnx_folder

    threads = int(os.environ.get("OMP_NUM_THREADS", "0")) or None
    if folder := find_onnx_folder(checkpoint):
        from smallgpt.settings import Generation

        engine = OnnxEngine(folder, threads)
        ids = [token % engine.tokenizer.get_vocab_size() for token in range(1, prompt + 1)]
        settings = Generation(temperature=0, max_new_tokens=new_tokens)
        for _ in engine.tokens([ids] * batch, settings, 0):
            pass
        return "onnx"
    from smallgpt.inference.checkpoint import load_model
    from smallgpt.speed.measured_models import MeasuredModel
    from smallgpt.speed.roofline import Work

    MeasuredModel("", load_model(checkpoint)).token_times(Work("decode", prompt, new_tokens, batch))
    return "torch"


if __name__ == "__main__":
    end_with_the_starter(signal.SIGKILL, int(sys.argv[5]))
    engine = answer_once(sys.argv[1], *map(int, sys.argv[2:5]))
    print(json.dumps({"bytes": peak_resident(), "engine": engine, "torch_imported": "torch" in sys.modules}))
