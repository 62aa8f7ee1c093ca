"""Check of an exported folder against its model: another process loads it that has no smallgpt."""

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from smallgpt.errors import UserError
from smallgpt.models.decoder import Decoder
from smallgpt.models.sequence_classifier import SequenceClassifier

PROMPT, GREEDY = 12, 32  # tokens, as far as the context has room
TEXTS = ["It is.", "A text of more words, so that the other one is padded."]
TOLERANCE = 1e-5
"""Largest difference of logits, relative to the largest; the same kernels on the same weights give the same bits."""
WITH_CACHE = {torch.float32: 1e-4, torch.bfloat16: 0.05}
"""Largest difference of logits where a text is read in pieces, and sums are rounded in another order."""

ELSEWHERE = """
import ctypes, json, sys
if sys.platform == "linux":
    ctypes.CDLL(None).prctl(1, 9)  # PR_SET_PDEATHSIG: nobody waits for the answer of a killed export
sys.modules["smallgpt"] = None  # an import of it fails
import torch
from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification, AutoTokenizer
folder, threads, out, *given = json.loads(sys.argv[1])
torch.set_num_threads(threads)
"""
CONTINUES = """
ids, steps = given
model = AutoModelForCausalLM.from_pretrained(folder, trust_remote_code=True).eval()
tokenizer = AutoTokenizer.from_pretrained(folder, trust_remote_code=True)
prompt = torch.tensor([ids])
with torch.inference_mode():
    logits = model(prompt, use_cache=False).logits.float()
    text = model.generate(prompt, attention_mask=torch.ones_like(prompt), do_sample=False, max_new_tokens=steps,
                          min_new_tokens=steps)
    pieces, cache = [], None
    for piece in text.split([len(ids)] + [1] * steps, dim=1) if model.config.can_cache else [text]:
        read = model(piece, past_key_values=cache, use_cache=True)
        pieces.append(read.logits.float())
        cache = read.past_key_values
torch.save({"logits": logits, "text": text, "pieces": torch.cat(pieces, 1), "decoded": tokenizer.decode(text[0])}, out)
"""
CLASSIFIES = """
texts, context = given
model = AutoModelForSequenceClassification.from_pretrained(folder, trust_remote_code=True).eval()
tokenizer = AutoTokenizer.from_pretrained(folder, trust_remote_code=True)
with torch.inference_mode():
    ids = tokenizer(texts, padding=True, truncation=True, max_length=context, return_tensors="pt")
    logits = model(**ids).logits.float()
torch.save({"logits": logits, "labels": [model.config.id2label[n] for n in range(model.config.num_labels)]}, out)
"""


def loaded_elsewhere(code: str, folder: Path, *given: Any) -> dict[str, Any]:
    """What code finds in a folder, run by a process that has no smallgpt. Raises UserError where it fails."""
    with tempfile.TemporaryDirectory(dir=folder.absolute()) as temporary:  # what is killed leaves nothing elsewhere
        out = Path(temporary) / "answers.pt"
        words = json.dumps([str(folder.absolute()), torch.get_num_threads(), str(out), *given])
        # nor does it see what this process has set or cached
        environment = {
            **os.environ,
            "HF_MODULES_CACHE": temporary,
            "HF_HUB_OFFLINE": "1",
            "CUDA_VISIBLE_DEVICES": "",
        }
        done = subprocess.run(
            [sys.executable, "-I", "-c", ELSEWHERE + code, words],
            cwd=temporary,
            env=environment,
            capture_output=True,
            text=True,
        )
        if done.returncode:
            reason = (done.stderr.strip() or f"exit code {done.returncode}").splitlines()[-1]
            raise UserError(f"format=hf: the folder does not load without smallgpt ({reason})")
        return torch.load(out, weights_only=True)


def verify_classifier(model: SequenceClassifier, tokenizer: Any, folder: Path, checkpoint: Tensor) -> dict[str, Any]:
    """Compares the labels' logits of an exported classifier with the model's, for texts that are padded together.

    Args:
        model: the classifier with the weights that the folder stores.
        checkpoint: the `label_logits` of the checkpoint itself, whose weights may have more bits.

    Raises:
        UserError: the folder does not load without smallgpt, or gives something else.
    """
    found, expected = (
        loaded_elsewhere(CLASSIFIES, folder, TEXTS, model.config.block_size),
        label_logits(model, tokenizer),
    )
    labels = list((model.config.id2label or {}).values())
    difference = float((found["logits"] - expected).abs().max())
    if not difference <= TOLERANCE * max(1.0, float(expected.abs().max())) or found["labels"] != labels:
        raise UserError(f"format=hf: the folder's logits of the labels differ by {difference:.2g} without smallgpt")
    return {"labels": labels, "largest_logit_difference": float((found["logits"] - checkpoint).abs().max())}


@torch.inference_mode()
def label_logits(model: SequenceClassifier, tokenizer: Any) -> Tensor:
    """Logits of the labels of some texts, of which one is padded and none is longer than the context."""
    context = model.config.block_size
    ids = tokenizer(TEXTS, padding=True, truncation=True, max_length=context, return_tensors="pt")
    return model(**ids).logits.float()


def verify_hf(model: Decoder, tokenizer: Any, folder: Path, checkpoint: dict[str, Tensor]) -> dict[str, Any]:
    """Compares an exported folder's logits and greedy text with the model's.

    Args:
        model: the model with the weights that the folder stores.
        checkpoint: the `answers` of the checkpoint itself, whose weights may have more bits.

    Raises:
        UserError: the folder does not load without smallgpt, or gives something else.
    """
    found = loaded_elsewhere(CONTINUES, folder, *question(model, len(tokenizer)))
    refuse_other(model, tokenizer, found)
    return {
        "largest_logit_difference": float((found["logits"] - checkpoint["logits"]).abs().max()),
        "same_greedy_text": torch.equal(found["text"], checkpoint["text"]),
    }


@torch.inference_mode()
def refuse_other(model: Decoder, tokenizer: Any, found: dict[str, Any]) -> None:
    """Raises UserError where the folder's answers are not those of the model, which reads every text at once."""
    text = found["text"]
    logits_BTV = model(text, use_cache=False).logits.float()
    largest, prompt = float(logits_BTV.abs().max()), found["logits"].shape[1]
    rounding = WITH_CACHE[model.dtype] * largest
    for name, expected, how, tolerance in (
        ("logits", model(text[:, :prompt], use_cache=False).logits.float(), "without smallgpt", TOLERANCE * largest),
        ("pieces", logits_BTV, "with a cache", rounding),
    ):
        if not (difference := float((found[name] - expected).abs().max())) <= tolerance:
            raise UserError(f"format=hf: the folder's logits differ by {difference:.2g} {how}")
    if (end := model.generation_config.eos_token_id) is not None:
        logits_BTV[..., end] = -torch.inf  # was not allowed
    chosen = logits_BTV[:, prompt - 1 : -1]
    less = chosen.amax(-1) - chosen.gather(-1, text[:, prompt:, None])[..., 0]
    if not (less <= 2 * rounding).all() or found["decoded"] != tokenizer.decode(text[0]):
        raise UserError("format=hf: the folder's greedy text is not the checkpoint's")


def question(model: Decoder, vocabulary: int) -> tuple[list[int], int]:
    """Draws a prompt of random tokens, and tells how many are to follow."""
    limit = model.config.block_size
    prompt = torch.randint(vocabulary, (min(PROMPT, limit // 2),), generator=torch.Generator().manual_seed(0))
    return prompt.tolist(), min(GREEDY, limit - len(prompt))


@torch.inference_mode()
def answers(model: Decoder, vocabulary: int) -> dict[str, Tensor]:
    """Logits of the prompt, and the prompt with its greedy continuation, all without a cache."""
    ids, steps = question(model, vocabulary)
    prompt = torch.tensor([ids])
    how = {"do_sample": False, "max_new_tokens": steps, "min_new_tokens": steps, "use_cache": False}
    text = model.generate(prompt, attention_mask=torch.ones_like(prompt), **how)
    return {"logits": model(prompt, use_cache=False).logits.float(), "text": text}
