"""Generates text from this folder: python generate.py "a prompt" (needs numpy, onnxruntime and tokenizers)."""

import json
import os
import sys
from pathlib import Path

import numpy as np
from tokenizers import Tokenizer

os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")  # before its import: ONNX Runtime reports to its maker otherwise
import onnxruntime


def generate(prompt: str, new_tokens: int = 100, temperature: float = 0.8, seed: int = 0):
    """Yields the prompt's continuation token by token; temperature 0 takes the likeliest."""
    folder, random = Path(__file__).parent, np.random.default_rng(seed)
    config = json.loads((folder / "config.json").read_text())
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    tokenizer.encode_special_tokens = True  # written out in a prompt they are text
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3  # it warns of an input that may be left out
    session = onnxruntime.InferenceSession(folder / "model.onnx", options, providers=["CPUExecutionProvider"])
    sizes = {"batch": 1, "past": 0}
    cache = {c["past"]: np.zeros([sizes.get(n, n) for n in c["shape"]], np.float32) for c in config["cache"]}
    ids = tokenizer.encode(prompt, add_special_tokens=False).ids or [config["eos_token_id"]]
    new, text = ids, tokenizer.decode(ids)
    for _ in range(min(new_tokens, config["block_size"] - len(ids))):
        feed = {"input_ids": np.array([new]), "attention_mask": np.ones((1, len(ids)), np.int64)}
        feed |= {"position_ids": np.arange(len(ids))[None, -len(new) :], "logits_to_keep": np.array([len(new) - 1])}
        logits, *presents = session.run(None, feed | cache)
        cache = dict(zip(cache, presents, strict=True))
        scores = np.asarray(logits)[0, 0, : tokenizer.get_vocab_size()].astype(float)
        shares = np.exp((scores - scores.max()) / (temperature or 1))
        token = int(random.choice(len(shares), p=shares / shares.sum()) if temperature else scores.argmax())
        if token == config["eos_token_id"]:
            break
        new, ids = [token], [*ids, token]
        if not (longer := tokenizer.decode(ids)).endswith("\ufffd"):  # which stands for half a character
            yield longer[len(text) :]
            text = longer
    yield tokenizer.decode(ids)[len(text) :]


if __name__ == "__main__":
    for piece in (sys.argv[1], *generate(sys.argv[1])):
        print(piece, end="", flush=True)
