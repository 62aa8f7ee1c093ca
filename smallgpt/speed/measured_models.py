"""Models that can be measured as they generate: one in PyTorch, or an exported graph in ONNX Runtime."""

from functools import cached_property, partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from transformers import AutoConfig, GenerationConfig, PreTrainedModel, StoppingCriteria, StoppingCriteriaList

from smallgpt.inference.decoding import decode
from smallgpt.inference.onnx_engine import OnnxEngine
from smallgpt.inference.steps import Steps, decoding_steps
from smallgpt.inference.weight_formats import for_inference, weight_bytes
from smallgpt.machine.rates import now
from smallgpt.models.decoder import Decoder
from smallgpt.speed.roofline import Work, read_bytes
from smallgpt.speed.time_breakdown import breakdown


class TokenClock(StoppingCriteria):
    """Stopping criterion that notes when each token is there, and stops nothing.

    A GPU notes it by itself, in events, since waiting for each token would take longer than making it.
    """

    def __init__(self, device: torch.device = torch.device("cpu")) -> None:  # noqa: B008  one of the constants
        self.start = now(device)
        self.events: list[torch.cuda.Event] = []
        self._times: list[float] = []
        if device.type == "cuda":
            self._note()

    @property
    def times(self) -> list[float]:
        """Clock time of each token."""
        if not self.events:
            return self._times
        first, *others = self.events
        others[-1].synchronize()
        return [self.start + first.elapsed_time(event) / 1e3 for event in others]

    def _note(self) -> None:
        self.events.append(torch.cuda.Event(enable_timing=True))
        self.events[-1].record()

    def __call__(self, input_ids: Tensor, scores: Any, **_: Any) -> Tensor:
        if self.events:
            self._note()
        else:
            self._times.append(now(input_ids.device))
        return input_ids.new_zeros(input_ids.shape[0], dtype=torch.bool)


class MeasuredModel:
    """PyTorch model that is measured: ours with its own decoding, others with the library's.

    Raises:
        UserError: it cannot be quantized or compiled in this way.
    """

    engine = "torch"

    def __init__(self, name: str, model: PreTrainedModel, quantize: str = "none", compiled: bool = False) -> None:
        self.name, self.quantize = name, quantize
        self.ours = isinstance(model, Decoder)
        self.compiled = compiled
        self.model = for_inference(model, quantize, compiled) if self.ours or quantize != "none" else model.eval()
        self.model.generation_config = GenerationConfig()  # its own may end a text early
        self.config, self.dtype, self.device = model.config, self.model.dtype, self.model.device
        self.steps = decoding_steps(self.model, compiled or None)

    @property
    def kind(self) -> str:
        """Name of how its weights are stored and run: none, or words as in `int8_weight compiled` or `onnx int4`."""
        words = [self.engine] if self.engine != "torch" else []
        words += [self.quantize] if self.quantize != "none" else []
        return " ".join(words + ["compiled"] * self.compiled) or "none"

    @cached_property
    def weight_bytes(self) -> int:
        """Bytes of all weights, as they are stored."""
        return weight_bytes(self.model)

    @cached_property
    def read_bytes(self) -> int:
        """Bytes of weights that one token reads."""
        return read_bytes(self.model)

    def seconds(self, work: Work) -> float:
        """Seconds to the first token, or from one token to the next, the mean over those after the first."""
        first, *others = self.token_times(work)
        return first if work.kind == "prefill" else (others[-1] - first) / len(others)

    def token_times(self, work: Work) -> list[float]:
        """Seconds from the call to each new token."""
        ids = self.prompt(work)
        start = now(self.device)
        times = [time - start for time in self.times(ids, work.new_tokens)]
        assert len(times) == work.new_tokens
        return times

    def prompt(self, work: Work) -> Tensor:
        """Random prompts for a piece of work, (B, T), the same each time."""
        chance = torch.Generator().manual_seed(work.prompt)
        size = (work.batch, work.prompt)
        return torch.randint(self.config.vocab_size, size, generator=chance).to(self.device)

    def times(self, ids: Tensor, new_tokens: int) -> list[float]:
        """Generates greedily and returns the clock time of each new token."""
        clock = TokenClock(self.device)
        self.generate(ids, new_tokens, clock)
        return clock.times

    def generate(self, ids: Tensor, new_tokens: int, clock: TokenClock) -> Tensor:
        """Generates `new_tokens` greedily, with a clock that notes the time of each."""
        return self.model.generate(  # ty: ignore[not-callable]  # of GenerationMixin
            ids,
            attention_mask=torch.ones_like(ids),
            generation_config=GenerationConfig(max_new_tokens=new_tokens, do_sample=False, pad_token_id=0),
            stopping_criteria=StoppingCriteriaList([clock]),
            **({"custom_generate": partial(decode, steps=self.steps)} if self.ours else {}),
        )

    def breakdown(self, work: Work) -> dict[str, dict[str, float]] | None:
        """Breakdown of a token's time in eager PyTorch; None where it cannot be seen."""
        if self.compiled:
            return None
        measured, self.steps = self.steps, Steps(self.model)
        try:
            return breakdown(self.model, lambda: self.token_times(work), self.device)
        finally:
            self.steps = measured

    def forget(self) -> None:
        """Frees the memory that is kept between pieces of work."""
        self.steps.forget()


class MeasuredGraph(MeasuredModel):
    """Exported ONNX folder that is measured, in ONNX Runtime on the CPU.

    Raises:
        UserError: ONNX Runtime is missing, or the folder damaged.
    """

    engine = "onnx"

    def __init__(self, name: str, folder: Path, threads: int | None = None) -> None:
        self.name = name
        self.runtime = OnnxEngine(folder, threads or torch.get_num_threads())
        described = self.runtime.config
        self.quantize: str = described["quantize"]
        self.config = AutoConfig.for_model(**described)
        self.dtype, self.device, self.compiled = torch.float32, torch.device("cpu"), False

    @cached_property
    def weight_bytes(self) -> int:
        return self.runtime.config["weight_bytes"]

    @cached_property
    def read_bytes(self) -> int:
        return self.runtime.config["weight_bytes_read_per_token"]

    def times(self, ids: Tensor, new_tokens: int) -> list[float]:
        times, new_BT, cache = [], ids.numpy(), self.runtime.empty_cache(len(ids))
        mask_BS = np.ones((len(ids), ids.shape[1] + new_tokens), np.int64)
        for seen in range(ids.shape[1], ids.shape[1] + new_tokens):
            logits_B1V, cache = self.runtime.forward(new_BT, mask_BS[:, :seen], cache, keep=[new_BT.shape[1] - 1])
            new_BT = logits_B1V.argmax(-1)
            times.append(now(self.device))
        return times

    def breakdown(self, work: Work) -> None:
        return None

    def forget(self) -> None:
        """Frees nothing: a graph keeps no memory between pieces of work."""
