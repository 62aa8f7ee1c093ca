"""Generating text from an exported ONNX folder, without PyTorch: NumPy, ONNX Runtime and tokenizers."""

import json
from collections.abc import Iterator, Sequence
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
from numpy import ndarray as Array

from smallgpt.errors import UserError, one_line, shown
from smallgpt.machine.memory import free_bytes, refuse_too_large
from smallgpt.notices import say
from smallgpt.packages import require
from smallgpt.settings import Generation

GRAPH = "model.onnx"
VERSION = 2  # of the names of a graph's inputs, in its config.json; 1, with other names for the cache, has none there
HALF_A_CHARACTER = "\ufffd"  # what tokenizers decode it to


def find_onnx_folder(checkpoint: str) -> Path | None:
    """Finds the ONNX folder that a checkpoint's name stands for: itself or its `onnx`; None if neither is one."""
    path = Path(checkpoint).expanduser()
    return next((folder for folder in (path, path / "onnx") if (folder / GRAPH).is_file()), None)


class OnnxEngine:
    """Model of an exported ONNX folder, which generates text in ONNX Runtime.

    Args:
        folder: with model.onnx, config.json and tokenizer.json.
        threads: number of CPU threads; None: ONNX Runtime's choice.

    Raises:
        UserError: ONNX Runtime is missing, or the folder damaged.
    """

    def __init__(self, folder: Path, threads: int | None = None) -> None:
        require(f"checkpoint={folder}", "onnxruntime", install="'smallgpt[export]'")
        import onnxruntime
        from tokenizers import Tokenizer

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads or 0
        options.log_severity_level = 3
        try:
            self.config: dict[str, Any] = json.loads((folder / "config.json").read_text(encoding="utf-8"))
            self.cache_inputs: list[dict[str, Any]] = self.config["cache"]
            self.tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
            self.tokenizer.encode_special_tokens = True  # written out in a prompt they are text, as everywhere
            self.session = onnxruntime.InferenceSession(folder / GRAPH, options, providers=["CPUExecutionProvider"])
            optional = {each.name for each in self.session.get_overridable_initializers()}
            self.inputs = {each.name for each in self.session.get_inputs()} | optional
            if "logits_to_keep" not in self.inputs:
                raise ValueError("exported by an older version; export it again")
            self.end, self.limit = int(self.config["eos_token_id"]), int(self.config["block_size"])
            self.empty_cache(1)
        except Exception as error:  # of three libraries, each its own kind
            reason = shown(f"{type(error).__name__} {error}" if isinstance(error, KeyError) else one_line(error))
            raise UserError(
                f"checkpoint={folder}: cannot be loaded, missing or damaged ({reason}); copy or export it again"
            ) from error
        self.folder = folder
        if self.config.get("graph_version", 1) < VERSION:
            say(f"checkpoint={folder}: the graph's inputs have the names of an older version, which run here alone")

    def check_type(self, model_type: str | None) -> None:
        """Raises UserError for another variant than `model_type`, unless that is None."""
        own = self.config.get("model_type")
        if model_type not in (None, own):
            raise UserError(
                f"checkpoint={self.folder}: a {own} model, but model= asks for {model_type}; leave model= out"
            )

    def empty_cache(self, batch: int) -> list[Array]:
        """Cache of no tokens for a batch of sequences."""
        sizes = {"batch": batch, "past": 0}
        return [np.zeros([sizes.get(size, size) for size in each["shape"]], np.float32) for each in self.cache_inputs]

    def sequence_bytes(self, longest: int) -> int:
        """Bytes that a sequence takes at least: its cache, and the logits of a token."""
        sizes = {"batch": 1, "past": longest}
        cached = sum(prod(sizes.get(size, size) for size in each["shape"]) for each in self.cache_inputs)
        return 4 * (cached + self.tokenizer.get_vocab_size())

    def forward(
        self, ids_BT: Array, mask_BS: Array, cache: list[Array], keep: Sequence[int] | None = None
    ) -> tuple[Array, list[Array]]:
        """Runs the graph on new tokens: their logits (B, N, V), and the cache with them.

        Args:
            mask_BS: covers the tokens in the cache too.
            keep: places of the new tokens whose logits are wanted, from 0; None: all of them.
        """
        places = np.array(range(ids_BT.shape[1]) if keep is None else keep, np.int64)
        feed = {"input_ids": ids_BT, "attention_mask": mask_BS, "logits_to_keep": places}
        if "position_ids" in self.inputs:
            feed["position_ids"] = (mask_BS.cumsum(1) - 1).clip(0)[:, -ids_BT.shape[1] :]
        past = {each["past"]: tensor for each, tensor in zip(self.cache_inputs, cache, strict=True)}
        names = ["logits", *(each["present"] for each in self.cache_inputs)]
        outputs: list[Any] = list(self.session.run(names, feed | past))
        return outputs[0], outputs[1:]

    def encode(self, prompt: str) -> list[int]:
        """Encodes a prompt; an empty one starts a new document."""
        return self.tokenizer.encode(prompt, add_special_tokens=False).ids or [self.end]

    def tokens(self, prompts: Sequence[Sequence[int]], settings: Generation, seed: int) -> Iterator[list[int | None]]:
        """Yields one new token of every prompt at a time, None behind the end of a document or of the context.

        Raises:
            UserError: a prompt leaves no room in the model's context, all of them do not fit in memory, or beams are
                asked for.
        """
        longest = max(len(prompt) for prompt in prompts)
        if longest >= self.limit:
            raise UserError(
                f"prompt: {longest} tokens; the model's context has {self.limit}, so use at most {self.limit - 1}, "
                "or generation.window=true, which drops its beginning"
            )
        if settings.num_beams > 1:
            raise UserError(
                f"generation.num_beams={settings.num_beams}: an ONNX folder is searched without beams; use 1, "
                "or the checkpoint it was made from"
            )
        batch = len(prompts)
        each = self.sequence_bytes(min(self.limit, longest + settings.max_new_tokens))
        refuse_too_large(f"prompt: a batch of {batch}", batch, each, free_bytes())
        randoms = [np.random.default_rng([seed, row]) for row in range(batch)]
        ids = np.array([[self.end] * (longest - len(prompt)) + list(prompt) for prompt in prompts])
        mask = np.array([[0] * (longest - len(prompt)) + [1] * len(prompt) for prompt in prompts])
        cache, ended = self.empty_cache(batch), [False] * batch
        for _ in range(settings.max_new_tokens):
            logits_B1V, cache = self.forward(ids, mask, cache, keep=[ids.shape[1] - 1])
            # rows that pad the vocabulary stand for no text
            last_BV = logits_B1V[:, 0, : self.tokenizer.get_vocab_size()]
            new: list[int | None] = []
            for row in range(batch):
                full = mask[row].sum() >= self.limit
                token = self.end if ended[row] or full else choose(last_BV[row], settings, randoms[row])
                ended[row] = token == self.end
                new.append(None if ended[row] else token)
            if all(ended):
                return
            yield new
            ids = np.array([[self.end if token is None else token] for token in new])
            mask = np.concatenate([mask, [[int(not done)] for done in ended]], axis=1)

    def generate(self, prompts: Sequence[str], settings: Generation, seed: int) -> Iterator[list[str]]:
        """Yields new text of every prompt piece by piece, the prompts first. The same seed gives the same text.

        Raises:
            UserError: as `tokens`.
        """
        ids = [self.encode(prompt) for prompt in prompts]
        if settings.window:
            ids = [
                each[-max(1, self.limit - settings.max_new_tokens) :] if len(each) >= self.limit else each
                for each in ids
            ]
        shown = [self.tokenizer.decode(each) for each in ids]
        started = False
        for new in self.tokens([list(each) for each in ids], settings, seed):
            if not started:
                yield shown[:]
                started = True
            pieces = []
            for row, token in enumerate(new):
                if token is not None:
                    ids[row].append(token)
                whole = self.tokenizer.decode(ids[row])
                if whole.endswith(HALF_A_CHARACTER):
                    whole = shown[row]
                pieces.append(whole[len(shown[row]) :])
                shown[row] = whole
            yield pieces
        if not started:
            yield shown[:]
        yield [self.tokenizer.decode(each)[len(text) :] for each, text in zip(ids, shown, strict=True)]


def until_stop(text: str, stops: Sequence[str]) -> str:
    """Cuts a text before the first of the stop texts that it holds."""
    return min((text.partition(stop)[0] for stop in stops), key=len, default=text)


def choose(logits_V: Array, settings: Generation, random: np.random.Generator) -> int:
    """Chooses the next token: the likeliest at temperature 0, else one that is drawn."""
    if settings.temperature == 0:
        return int(logits_V.argmax())
    return int(random.choice(len(logits_V), p=shares(logits_V, settings)))


def shares(logits_V: Array, settings: Generation) -> Array:
    """Distribution that `temperature`, `top_k` and `top_p` make of logits."""
    scores_V = logits_V.astype(np.float64) / settings.temperature
    if settings.top_k and settings.top_k < len(scores_V):
        scores_V[scores_V < np.partition(scores_V, -settings.top_k)[-settings.top_k]] = -np.inf
    share_V = np.exp(scores_V - scores_V.max())
    share_V /= share_V.sum()
    if settings.top_p and settings.top_p < 1:
        order_V = np.argsort(-share_V, kind="stable")
        before_V = np.cumsum(share_V[order_V]) - share_V[order_V]
        share_V[order_V[before_V >= settings.top_p]] = 0.0  # the likeliest has nothing before it
        share_V /= share_V.sum()
    return share_V
