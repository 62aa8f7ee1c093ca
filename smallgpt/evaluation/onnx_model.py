"""Exported ONNX folder in a model's place, for code that reads logits alone."""

from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence
from transformers import AutoTokenizer, PreTrainedConfig
from transformers.modeling_outputs import CausalLMOutputWithPast

from smallgpt.evaluation.text_likelihood import Reader
from smallgpt.inference.onnx_engine import OnnxEngine


class GraphModel:
    """Model that answers a `Scorer` with an ONNX graph; its config says that contexts cannot be shared."""

    device = torch.device("cpu")
    training = False

    def __init__(self, engine: OnnxEngine):
        self.engine = engine
        sizes = {"vocab_size": engine.config["vocab_size"], "max_position_embeddings": engine.limit}
        self.config = PreTrainedConfig.from_dict({**sizes, "can_cache": False})

    def eval(self) -> "GraphModel":
        return self

    def train(self, mode: bool = True) -> "GraphModel":
        return self

    def forward(
        self, input_ids: Tensor, logits_to_keep: int, attention_mask: Tensor | None = None, use_cache: bool = False
    ) -> CausalLMOutputWithPast:
        """Runs each row alone and without its padding; logits (R, last `logits_to_keep`, V).

        A graph in eight bits rounds all inputs of a call on one scale.
        """
        mask_RT = torch.ones_like(input_ids) if attention_mask is None else attention_mask
        kept: list[Tensor] = []
        for ids_T, mask_T in zip(input_ids, mask_RT.bool(), strict=True):
            ids_1T = ids_T[mask_T][None].numpy()
            keep = range(ids_1T.shape[1])[-logits_to_keep:]
            logits_1NV, _ = self.engine.forward(ids_1T, np.ones_like(ids_1T), self.engine.empty_cache(1), keep)
            kept.append(torch.from_numpy(logits_1NV[0]))
        return CausalLMOutputWithPast(logits=pad_sequence(kept, batch_first=True, padding_side="left"))

    def __call__(self, **given: Any) -> CausalLMOutputWithPast:
        return self.forward(**given)


def reader_of(engine: OnnxEngine, title: str | None = None) -> Reader:
    """Makes a reader that scores texts with a graph, as its folder's tokenizer splits them."""
    tokenizer: Any = AutoTokenizer.from_pretrained(engine.folder, trust_remote_code=False)
    return Reader(GraphModel(engine), tokenizer, share=False, title=title)
