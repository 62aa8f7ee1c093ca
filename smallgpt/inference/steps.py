"""Forward passes of decoding, one after the other: the prompt, then a token of each sequence at a time.

Letters: B sequences, T tokens, S places in the cache, V vocabulary.
"""

from collections.abc import Callable, Generator
from contextlib import contextmanager, nullcontext
from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedModel
from transformers.cache_utils import Cache

from smallgpt.errors import UserError
from smallgpt.inference.cache import fixed_cache, preallocated
from smallgpt.inference.recorded_function import RecordedFunction
from smallgpt.machine.compiler import HAS_OWN_LIMIT, shape_limits
from smallgpt.models.decoder import Decoder

LEAST_PLACES = 64  # in a cache; from there on it doubles, so that few are compiled
MOST_RECORDED = 32  # shapes whose caches and graphs are kept on a GPU


class Steps:
    """Forward passes in eager PyTorch: masks and positions are made only where sequences are padded."""

    def __init__(self, model: PreTrainedModel) -> None:
        self.model = model

    def begin(self, mask_BT: Tensor | None, longest: int) -> None:
        """Starts on other sequences, of at most `longest` tokens; the mask is 0 where their prompts are padding."""
        self.cache = preallocated(self.model.config, longest) if self.model.config.can_cache else None
        self.ids_BS = self.mask_BS = None
        if mask_BT is not None and not mask_BT.all():
            B, T = mask_BT.shape
            self.mask_BS = torch.cat((mask_BT, mask_BT.new_ones(B, longest - T)), dim=1)

    def end(self) -> None:
        """Lets go of the cache of the sequences."""
        del self.cache

    def forget(self) -> None:
        """Frees what is kept from sequences to sequences: nothing."""

    def logits(self, ids_BT: Tensor, length: int) -> Tensor:
        """Logits (B, V) of the token after the last; with the given ones, sequences have `length` tokens."""
        mask_BS = None if self.mask_BS is None else self.mask_BS[:, :length]
        if self.cache is None:  # the whole text is read again
            ids_BT = self.ids_BS = ids_BT if self.ids_BS is None else torch.cat((self.ids_BS, ids_BT), dim=1)
        one_token = ids_BT.shape[1] == 1 and ids_BT.device.type == "cpu"
        with without_onednn() if one_token else nullcontext():
            return self.read(ids_BT, mask_BS)

    def read(self, ids_BT: Tensor, mask: Tensor | None, position_BT: Tensor | None = None) -> Tensor:
        """Runs the model on new tokens and returns the logits (B, V) behind the last."""
        out = self.model(
            ids_BT,
            attention_mask=mask,
            position_ids=position_BT,
            past_key_values=self.cache,
            use_cache=self.cache is not None,
            logits_to_keep=1,
        )
        return out.logits[:, -1]


@contextmanager
def without_onednn() -> Generator[None]:
    """Switches oneDNN off within the block, except for blocked products.

    PyTorch gives it the GELUs, and to set one up takes longer than a token's GELU.
    """
    flags = torch.backends.mkldnn
    before = flags.enabled
    flags.enabled = False  # ty: ignore[invalid-assignment]
    try:
        yield
    finally:
        flags.enabled = before


class FixedSteps(Steps):
    """Forward passes whose shapes never change for a number of sequences and of places in the cache.

    Every step sees the whole cache. The prompt is read in eager PyTorch. On a GPU a step is recorded once a shape, as a
    CUDA graph, and its cache's memory stays for later sequences of that shape: to begin its hundreds of kernels one by
    one takes longer than the kernels do.
    """

    def __init__(self, model: PreTrainedModel) -> None:
        super().__init__(model)
        self.step: Callable[[Tensor, Tensor, Tensor], Tensor] = self.read
        self.records = model.device.type == "cuda"
        self.recorded: dict[tuple[int, int], tuple[Cache, RecordedFunction]] = {}
        """Cache and step of each number of sequences and of places, those that were in use last at the end."""

    def begin(self, mask_BT: Tensor | None, longest: int) -> None:
        self.mask_BT, self.cache = mask_BT, None
        self.places = min(max(LEAST_PLACES, 1 << (longest - 1).bit_length()), self.model.config.block_size)

    def logits(self, ids_BT: Tensor, length: int) -> Tensor:
        B, T = ids_BT.shape
        if length == T:
            mask_BT = torch.ones_like(ids_BT) if self.mask_BT is None else self.mask_BT
            self.seen_B11S = mask_BT.new_zeros(B, 1, 1, self.places, dtype=torch.bool)
            self.seen_B11S[..., :T] = mask_BT[:, None, None]
            self.position_B1 = mask_BT.sum(dim=1, keepdim=True)
            self.cache = self.empty_cache(B)
            return self.read(ids_BT, mask_BT)
        self.seen_B11S[..., length - 1] = True
        logits_BV = self.step_for(B)(ids_BT, self.seen_B11S, self.position_B1)
        self.position_B1 += 1
        return logits_BV

    def empty_cache(self, sequences: int) -> Cache:
        """An empty cache: that of the recorded step, where there is one."""
        if (sequences, self.places) not in self.recorded:
            return fixed_cache(self.model.config, self.places)
        shape = sequences, self.places
        cache, _ = self.recorded[shape] = self.recorded.pop(shape)  # the last that was in use
        cache.reset()
        return cache

    def step_for(self, sequences: int) -> Callable[[Tensor, Tensor, Tensor], Tensor]:
        """The step as it runs on this device: on a GPU it is recorded behind the first prompt of its shape."""
        if not self.records:
            return self.step
        shape = (sequences, self.places)
        if shape not in self.recorded:
            if len(self.recorded) >= MOST_RECORDED:
                del self.recorded[next(iter(self.recorded))]
            assert self.cache is not None
            state = [tensor for layer in self.cache.layers for tensor in layer.tensors()]  # ty: ignore[missing-attribute]
            like = self.seen_B11S.new_zeros(sequences, 1, dtype=torch.long), self.seen_B11S, self.position_B1
            self.recorded[shape] = self.cache, RecordedFunction(self.step, like, state)
        return self.recorded[shape][1]

    def forget(self) -> None:
        """Frees the memory of what is recorded."""
        self.recorded.clear()


class CompiledSteps(FixedSteps):
    """Forward passes that are compiled once a shape.

    Raises:
        UserError: the model is none of smallgpt's.
    """

    def __init__(self, model: PreTrainedModel) -> None:
        super().__init__(model)
        if not isinstance(model, Decoder):
            raise UserError(
                f"compile=true: only for smallgpt's own models, not a {model.config.model_type}; leave it out"
            )
        if not model.config.can_cache:
            raise UserError(f"compile=true: a {model.config.model_type} has no cache to decode with; leave it out")
        # without it Python takes as long to begin an operation as the operation itself
        options: Any = {"cpp_wrapper": True} if model.device.type == "cpu" else {}
        own: Any = {"isolate_recompiles": True} if HAS_OWN_LIMIT else {}
        self.step = torch.compile(self.read, dynamic=False, fullgraph=True, options=options, **shape_limits(), **own)


def decoding_steps(model: PreTrainedModel, compiled: bool | None = None) -> Steps:
    """Forward passes for a model: compiled ones, or the fastest that need no compiler; False: eager PyTorch's."""
    if compiled:
        return CompiledSteps(model)
    on_gpu = model.device.type == "cuda" and isinstance(model, Decoder) and model.config.can_cache
    return FixedSteps(model) if on_gpu and compiled is None else Steps(model)
