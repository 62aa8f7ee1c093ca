"""The width schedule: a stream that is narrowed (or widened) along depth, and the operators that do it.

A variant says its widths and the operator between them. Letters in names: B batch, T time, W width of the stream.
"""

from __future__ import annotations

from itertools import groupby
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .configuration import LEAST_WIDTH, BlockShape, DecoderConfig, LayoutPart
from .context import Context
from .layers import Block, Linear

Operator = Literal["linear", "conv", "pool", "carry", "pad"]


class WidthScheduleConfig(DecoderConfig):
    """Config of a variant whose stream changes its width along depth: a subclass says where, and this by what."""

    widths: list[int] | None = None
    """Width of each block and, as an optional last entry, of the head's input; replaces the variant's own rule."""
    min_width: int | None = None
    """Least width that a block or the head may read; null: 32, or any with allow_narrow."""
    downsample_operator: Operator = "linear"
    """Operator that changes the width of the stream.

    linear; conv, causal over `kernel_size` tokens; pool, the mean of neighbouring features; carry, where a narrow block
    works on the first coordinates and the others go past it; pad, which drops the last or adds zeros.
    """
    kernel_size: int = 1
    """Number of tokens that a convolution reads: the current one and those before it."""

    def scheduled_widths(self) -> list[int]:
        """Widths that the variant's own rule gives: those of the blocks and, as the last entry, the head's input."""
        raise NotImplementedError

    def wider(self, least: int) -> str:
        """Names a field and the value of it with which no width is under `least`."""
        raise NotImplementedError

    @property
    def stream_widths(self) -> list[int]:
        """Widths that the blocks read and, as the last entry, the width that the head reads."""
        if self.widths is None:
            return self.scheduled_widths()
        widths = list(self.widths)
        return widths if len(widths) > self.n_layer else [*widths, widths[-1]]

    def fitting(self, width: float) -> int:
        """Nearest width of a block that its heads divide, evenly where positions rotate pairs of a head's numbers."""
        even = 2 if self.position_encoding == "rope" else 1
        unit = self.n_head * even if self.head_policy == "count" else max(1, self.n_embd // self.n_head)
        return max(unit, round(width / unit) * unit)

    @property
    def output_width(self) -> int:
        return self.n_embd if self.downsample_operator == "carry" else self.stream_widths[-1]

    def block_shapes(self) -> list[BlockShape]:
        return [self.block_shape(w, i, self.n_layer) for i, w in enumerate(self.stream_widths[:-1])]

    def resizes(self) -> list[tuple[int, int] | None]:
        """Pair of (in, out) widths behind each block, or None where the stream keeps its width."""
        pairs = zip(self.stream_widths, self.stream_widths[1:], strict=False)
        if self.downsample_operator == "carry":
            return [None] * self.n_layer
        return [pair if pair[0] != pair[1] else None for pair in pairs]

    def body(self) -> list[LayoutPart]:
        parts = []
        for i, (shape, resize) in enumerate(zip(self.block_shapes(), self.resizes(), strict=True)):
            parts.append(self.block_part(shape, f"block {i + 1}"))
            if resize:
                parts.append(self.resize_part(*resize))
        return parts

    def resize_part(self, in_width: int, out_width: int) -> LayoutPart:
        """Layout part of the operator that maps one width to another."""
        if self.downsample_operator in ("pool", "pad"):
            return LayoutPart("narrowing", self.operator_name, in_width, out_width, 0)
        taps = self.kernel_size if self.downsample_operator == "conv" else 1
        return LayoutPart(
            group="narrowing",
            label=self.operator_name,
            in_width=in_width,
            out_width=out_width,
            parameters=taps * in_width * out_width + out_width,
            flops=2 * taps * in_width * out_width,
            state_elements=(taps - 1) * in_width,
            activation_elements=taps * in_width,
        )

    @property
    def operator_name(self) -> str:
        """Name of the operator in layouts and schedule strings, such as `conv3`."""
        return f"conv{self.kernel_size}" if self.downsample_operator == "conv" else self.downsample_operator

    @property
    def conv_state_length(self) -> int:
        return self.kernel_size - 1

    @property
    def layer_types(self) -> list[str]:
        """Kind of cache of each block: `hybrid` where a convolution behind it keeps its last inputs in the cache."""
        # not by super(): torch.compile traces this, and takes a property behind super() for a list
        if self.downsample_operator != "conv" or self.kernel_size == 1:
            return ["full_attention"] * self.n_layer
        return ["hybrid" if resize else "full_attention" for resize in self.resizes()]

    def schedule_string(self) -> str:
        runs = [(width, len(list(run))) for width, run in groupby(self.stream_widths[:-1])]
        text = f" {self.operator_name} ".join(f"{count}@{width}" for width, count in runs)
        narrows_last = self.resizes()[-1] is not None
        return f"{text} {self.operator_name + ' ' if narrows_last else ''}head@{self.output_width}"

    def check(self) -> None:
        if self.kernel_size < 1:
            raise ValueError(f"kernel_size={self.kernel_size}: must be at least 1")
        if self.kernel_size > 1 and self.downsample_operator != "conv":
            raise ValueError(
                f"kernel_size={self.kernel_size}: belongs to downsample_operator=conv, "
                f"not to downsample_operator={self.downsample_operator}"
            )
        if self.widths is not None:
            self._check_widths(self.widths)
        self._check_least()
        if self.downsample_operator == "pool":
            for resize in filter(None, self.resizes()):
                if resize[0] % resize[1]:
                    raise ValueError(
                        f"downsample_operator=pool: cannot pool {resize[0]} features to {resize[1]}; "
                        "each width must divide the one before it"
                    )
        super().check()

    def _check_widths(self, widths: list[int]) -> None:
        n = self.n_layer
        if len(widths) not in (n, n + 1):
            raise ValueError(
                f"widths={widths}: has {len(widths)} entries; n_layer={n} wants {n}, or {n + 1} with the head"
            )
        if self.downsample_operator == "carry":
            if max(widths) > self.n_embd:
                raise ValueError(f"widths={widths}: carry works inside n_embd={self.n_embd}; none may be wider")
        elif widths[0] != self.n_embd:
            raise ValueError(f"widths={widths}: the first must be n_embd={self.n_embd}")

    def _check_least(self) -> None:
        least = self.min_width or (1 if self.allow_narrow else LEAST_WIDTH)
        narrowest = min(self.stream_widths)
        if narrowest >= least:
            return
        wider = f"widths of at least {least}" if self.widths is not None else self.wider(least)
        lift = "" if self.min_width else " or allow_narrow=true"
        raise ValueError(
            f"min_width={self.min_width or least}: the schedule {self.schedule_string()} goes down to {narrowest}; "
            f"use {wider}, min_width={narrowest}{lift}"
        )


class CausalConv(nn.Module):
    """Causal convolution over the last `kernel_size` inputs: y_t = b + sum_j A_j x_(t-j).

    It is one linear map of those inputs side by side, and begins as the plain linear map that kernel 1 is: only A_0 is
    not zero. Before the first token the inputs are zero; the cache keeps the last k-1 of them.
    """

    def __init__(self, in_width: int, out_width: int, kernel_size: int, layer_idx: int):
        super().__init__()
        self.kernel_size, self.layer_idx = kernel_size, layer_idx
        self.proj = Linear(kernel_size * in_width, out_width, bias=True, role="stream", taps=kernel_size)

    def forward(self, x_BTW: Tensor, context: Context) -> Tensor:
        if self.kernel_size == 1:
            return self.proj(x_BTW)
        if x_BTW.shape[1] == 1:
            return self.proj(context.taps_of_token(x_BTW, self.kernel_size, self.layer_idx).flatten(1).unsqueeze(1))
        return self.proj(torch.cat(context.taps(x_BTW, self.kernel_size, self.layer_idx), dim=-1))


class Resize(nn.Module):
    """Operators without weights: pool averages neighbouring features, pad drops the last ones or adds zeros."""

    def __init__(self, in_width: int, out_width: int, operator: Operator):
        super().__init__()
        self.in_width, self.out_width, self.operator = in_width, out_width, operator

    def forward(self, x_BTW: Tensor, context: Context) -> Tensor:
        if self.operator == "pool":
            return x_BTW.unflatten(-1, (self.out_width, -1)).mean(dim=-1)
        return F.pad(x_BTW, (0, self.out_width - self.in_width))


class CarriedBlock(Block):
    """A block that reads and writes the first coordinates of a wider stream (arXiv 2606.18246)."""

    def __init__(self, config: DecoderConfig, shape: BlockShape, layer_idx: int):
        super().__init__(config, shape, layer_idx)
        self.width = shape.width

    def forward(self, x_BTW: Tensor, context: Context) -> Tensor:
        if x_BTW.shape[-1] == self.width:
            return super().forward(x_BTW, context)
        worked = super().forward(x_BTW[..., : self.width], context)
        return torch.cat((worked, x_BTW[..., self.width :]), dim=-1)


class WidthScheduleBackbone(nn.Module):
    """Backbone of decoder blocks that follow a width schedule, with an operator wherever the width changes."""

    def __init__(self, config: WidthScheduleConfig):
        super().__init__()
        block = CarriedBlock if config.downsample_operator == "carry" else Block
        self.h = nn.ModuleList(block(config, shape, i) for i, shape in enumerate(config.block_shapes()))
        self.resize = nn.ModuleDict(
            {str(i): self._operator(config, *pair, i) for i, pair in enumerate(config.resizes()) if pair}
        )

    @staticmethod
    def _operator(config: WidthScheduleConfig, in_width: int, out_width: int, layer_idx: int) -> nn.Module:
        if config.downsample_operator in ("linear", "conv"):
            return CausalConv(in_width, out_width, config.kernel_size, layer_idx)
        return Resize(in_width, out_width, config.downsample_operator)

    def forward(self, x_BTW: Tensor, context: Context) -> Tensor:
        for i, block in enumerate(self.h):
            x_BTW = block(x_BTW, context)
            if str(i) in self.resize:
                x_BTW = self.resize[str(i)](x_BTW, context)
        return x_BTW
