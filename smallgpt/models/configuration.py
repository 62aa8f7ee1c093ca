"""Config that all variants share: its fields, their checks, and the layout that everything else is computed from.

A config describes its model as a flat list of parts (`layout()`). The cost card, the table that `task=inspect` draws
and the tests read that list, so a new variant that describes itself is priced, drawn and tested without another edit.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cache
from inspect import get_annotations
from typing import Any, Literal

from transformers import PreTrainedConfig

from .field_types import type_fault

LEAST_HEAD_WIDTH = 16  # below it attention leaves the fast kernels and rotary positions have no room
LEAST_WIDTH = 32
LIBRARY_FIELDS = {"use_cache", "bos_token_id", "eos_token_id", "pad_token_id"}  # generation's, from the tokenizer


@dataclass(frozen=True)
class BlockShape:
    """Width of the stream, number of heads and hidden width of the MLP of one decoder block."""

    width: int
    n_head: int
    mlp_width: int

    @property
    def head_width(self) -> int:
        """Width of one attention head."""
        return self.width // self.n_head


@dataclass(frozen=True)
class LayoutPart:
    """One part of a model and what it costs. Elements are numbers, not bytes; FLOPs count a multiply-add as two."""

    group: str
    """Group that its parameters are counted in: embedding, positions, blocks, narrowing, paths or head."""
    label: str
    in_width: int
    out_width: int
    parameters: int
    flops: int = 0
    """Forward FLOPs per token of its matrix products, which do not depend on the context."""
    attention_width: int = 0
    """Width of its attention: over a context of t keys it costs another 4 * attention_width * t FLOPs per token."""
    cache_elements: int = 0
    """Elements of keys and values that the cache keeps per token."""
    state_elements: int = 0
    """Elements that the cache keeps per sequence, however long it is (the last inputs of a convolution)."""
    activation_elements: int = 0
    """Elements that are kept per token for the backward pass."""
    n_head: int | None = None
    mlp_width: int | None = None
    active: bool = True
    """Whether inference runs this part; False for a dropped path."""
    path: int | None = None
    """Index of the path that it lies on; None outside the paths."""

    @property
    def head_width(self) -> int | None:
        """Width of one attention head; None for a part without attention."""
        return self.in_width // self.n_head if self.n_head else None


class DecoderConfig(PreTrainedConfig):
    """Base config of all variants. Names are GPT-2's; `attribute_map` gives the library its own names for them."""

    model_type = "smallgpt-decoder"
    attribute_map = {  # noqa: RUF012  the library's own convention
        "hidden_size": "n_embd",
        "num_hidden_layers": "n_layer",
        "num_attention_heads": "n_head",
        "max_position_embeddings": "block_size",
    }
    has_no_defaults_at_init = True  # older libraries make a config of nothing but defaults, which checks may refuse
    free_at_inference = frozenset()
    """Fields that change neither the weights nor the training, so that a trained model can run with other values."""
    number_of_conv_states = 1
    """Number of convolutions of a block whose kind of cache is `hybrid`; the name is the library's."""
    can_cache = True
    """False where the backbone leaves `context.cache` alone: such a model reads the whole text again for each token."""

    vocab_size: int = 50304
    """Number of rows of the token embedding: the tokenizer's vocabulary, padded."""
    n_layer: int = 8
    """Number of decoder blocks, on all paths together."""
    n_head: int = 8
    """Number of attention heads of the first block."""
    n_embd: int = 512
    """Width of the embedding and of the first block."""
    block_size: int = 1024
    """Context length: the most tokens that the model can read."""
    dropout: float = 0.0
    """Share of activations and attention weights that training sets to zero."""
    bias: bool = False
    """Whether the blocks' linear maps and the LayerNorms have biases."""
    norm: Literal["layernorm", "rmsnorm"] = "layernorm"
    """Norm before attention, before the MLP and before the head."""
    activation: Literal["gelu", "gelu_tanh", "relu2", "swiglu"] = "gelu"
    """Activation of the MLP; `swiglu` makes it a gated one, `relu2` is the square of a ReLU."""
    position_encoding: Literal["learned", "rope", "none"] = "learned"
    """Position code: a learned table, rotary positions in attention, or none."""
    rope_theta: float = 10000.0
    """Base of the wavelengths of rotary positions."""
    qk_norm: bool = False
    """Whether queries and keys are normalised to unit root mean square before their product."""
    zero_init: bool = False
    """Whether maps into the residual stream begin at zero, so that each block begins as the identity."""
    mlp_ratio: float = 4.0
    """Hidden width of the MLP over the block's width; a gated MLP takes 2/3 of it, for the same parameters."""
    mlp_taper: float = 0.0
    """Part of its width that the first block's MLP has more, and the last one's less, along a cosine over depth."""
    head_policy: Literal["count", "width"] = "count"
    """Number of heads where the stream is narrower: `count` keeps n_head (the paper), `width` keeps a head's width."""
    output_head: Literal["direct", "projected"] = "direct"
    """Output head: `direct` maps the last width to the vocabulary (the paper), `projected` first maps it to n_embd."""
    tie_word_embeddings: bool = False
    """Whether the output head shares the token embedding's weights."""
    allow_narrow: bool = False
    """Whether heads under 16 wide and streams under 32 wide are accepted."""
    use_cache: bool = True
    bos_token_id: int | None = None
    eos_token_id: int | None = None
    pad_token_id: int | None = None

    def __post_init__(self, **kwargs: Any) -> None:
        for key, hint in settable_fields(type(self)).items():  # a config.json may say anything
            if (must := type_fault(getattr(self, key), hint)) is not None:
                raise ValueError(f"{key}={getattr(self, key)}: must {must}")
        super().__post_init__(**kwargs)
        self.check()

    @property
    def conv_state_length(self) -> int:
        """Number of earlier inputs that the state of a convolution keeps."""
        return 0

    # -- what a variant describes ------------------------------------------------------------------------------------

    @property
    def output_width(self) -> int:
        """Width of the stream where the final norm reads it."""
        return self.n_embd

    def block_shapes(self) -> list[BlockShape]:
        """Shapes of the blocks in the order of their layer index."""
        return [self.block_shape(self.n_embd, i, self.n_layer) for i in range(self.n_layer)]

    def body(self) -> list[LayoutPart]:
        """Layout parts between the embedding and the final norm."""
        return [self.block_part(shape, f"block {i + 1}") for i, shape in enumerate(self.block_shapes())]

    def schedule_string(self) -> str:
        """Short name of the widths along depth, such as `2@512 linear 2@256 head@256`."""
        return f"{self.n_layer}@{self.n_embd} head@{self.output_width}"

    # -- from the description to the whole ---------------------------------------------------------------------------

    def layout(self) -> list[LayoutPart]:
        """Every part of the model in the order the data takes; their parameters add up to the model's."""
        v, d, w = self.vocab_size, self.n_embd, self.output_width
        parts = [LayoutPart("embedding", "token embedding", 1, d, v * d, activation_elements=d)]
        if self.position_encoding == "learned":
            parts.append(LayoutPart("positions", "learned positions", 1, d, self.block_size * d))
        parts += self.body()
        parts.append(LayoutPart("head", "final norm", w, w, self.norm_parameters(w), activation_elements=2 * w))
        if self.projects_output:
            parts.append(LayoutPart("head", "projection", w, d, w * d, flops=2 * w * d, activation_elements=d))
            w = d
        tied = self.tie_word_embeddings
        parts.append(LayoutPart("head", f"{'tied ' if tied else ''}output head", w, v, 0 if tied else v * w, 2 * v * w))
        return parts

    @property
    def projects_output(self) -> bool:
        """Whether a projection back to n_embd stands between the final norm and the output head."""
        return self.output_head == "projected" and self.output_width != self.n_embd

    @property
    def head_width(self) -> int:
        """Width that an output head multiplies."""
        return self.n_embd if self.projects_output else self.output_width

    @property
    def layer_types(self) -> list[str]:
        """Kind of cache of each block, in the order of the layer index; the library builds the cache from this."""
        return ["full_attention"] * self.n_layer

    def mlp_width(self, width: int, index: int, depth: int) -> int:
        """Hidden width of block `index` of `depth`, in steps of 8.

        What a taper adds to a block it takes from the one at the other end, so that at one width of the stream
        parameters and FLOPs are exactly those without a taper (arXiv 2606.23670).
        """
        hidden = self.mlp_ratio * width * (2 / 3 if self.activation == "swiglu" else 1)
        even = max(8, 8 * round(hidden / 8))
        across = depth - 1 - index
        if index == across:
            return even
        bend = math.cos(math.pi * min(index, across) / (depth - 1))
        more = 8 * round(self.mlp_taper * even * bend / 8)
        return max(8, even + (more if index < across else -more))

    def heads_at(self, width: int) -> int:
        """Number of heads of a block of this width, by `head_policy`."""
        if self.head_policy == "count":
            return self.n_head
        return max(1, round(width / (self.n_embd / self.n_head)))

    def block_shape(self, width: int, index: int, depth: int) -> BlockShape:
        """Shape of block `index` of `depth` at a given width of the stream."""
        return BlockShape(width, self.heads_at(width), self.mlp_width(width, index, depth))

    def norm_parameters(self, width: int) -> int:
        """Number of parameters of a norm of this width."""
        return width * (2 if self.bias and self.norm == "layernorm" else 1)

    def block_part(self, shape: BlockShape, label: str, active: bool = True, path: int | None = None) -> LayoutPart:
        """Layout part of a pre-norm block: attention and MLP, each behind a norm."""
        w, f = shape.width, shape.mlp_width
        gated = self.activation == "swiglu"
        weights = 4 * w * w + (3 if gated else 2) * w * f
        biases = (5 * w + (2 if gated else 1) * f) * self.bias
        saved = 9 * w + (5 if gated else 3) * f + shape.n_head
        return LayoutPart(
            group="blocks",
            label=label,
            in_width=w,
            out_width=w,
            parameters=weights + biases + 2 * self.norm_parameters(w),
            flops=2 * weights,
            attention_width=w,
            cache_elements=2 * w,
            activation_elements=saved,
            n_head=shape.n_head,
            mlp_width=f,
            active=active,
            path=path,
        )

    # -- checks ------------------------------------------------------------------------------------------------------

    @classmethod
    def settable(cls) -> dict[str, Any]:
        """Names and types of the fields a user may set: those of this class, not those of the library."""
        return dict(settable_fields(cls))

    def check(self) -> None:
        """Raises ValueError with a one-line message for a config that no model can be built from."""
        for key in ("vocab_size", "n_layer", "n_head", "n_embd", "block_size"):
            if getattr(self, key) < 1:
                raise ValueError(f"{key}={getattr(self, key)}: must be at least 1")
        if not 0 <= self.dropout < 1:
            raise ValueError(f"dropout={self.dropout}: must be at least 0 and under 1")
        for key in ("mlp_ratio", "rope_theta"):
            if not getattr(self, key) > 0:
                raise ValueError(f"{key}={getattr(self, key)}: must be over 0")
        if not -1 < self.mlp_taper < 1:
            raise ValueError(f"mlp_taper={self.mlp_taper}: must be over -1 and under 1")
        if self.n_embd % self.n_head:
            raise ValueError(f"n_embd={self.n_embd}: n_head={self.n_head} does not divide it; {self._widths_near()}")
        for shape in self.block_shapes():
            self._check_shape(shape)
        if self.tie_word_embeddings and self.output_width != self.n_embd and not self.projects_output:
            raise ValueError(
                f"tie_word_embeddings=true: the head reads width {self.output_width} and the embedding has "
                f"{self.n_embd}; use output_head=projected"
            )

    def _check_shape(self, shape: BlockShape) -> None:
        width, heads = shape.width, shape.n_head
        if width < 1 or width % heads:
            fitting = [h for h in range(heads, 0, -1) if width % h == 0]
            raise ValueError(
                f"n_head={self.n_head}: {heads} heads do not divide a block of width {width}; "
                f"n_head={fitting[0]} would, or a schedule whose widths are multiples of {heads}"
            )
        if self.position_encoding == "rope" and shape.head_width % 2:
            raise ValueError(f"position_encoding=rope: needs an even head width, not {shape.head_width}")
        if shape.head_width < LEAST_HEAD_WIDTH and not self.allow_narrow:
            most = max([h for h in range(1, heads) if width % h == 0 and width // h >= LEAST_HEAD_WIDTH], default=1)
            raise ValueError(
                f"n_head={self.n_head}: heads {shape.head_width} wide in a block of width {width}, under "
                f"{LEAST_HEAD_WIDTH}; use n_head={most}, head_policy=width or allow_narrow=true"
            )

    def _widths_near(self) -> str:
        below = self.n_embd // self.n_head * self.n_head
        return f"nearest that work: {below or self.n_head} and {below + self.n_head}"


@cache
def settable_fields(config_class: type[DecoderConfig]) -> dict[str, Any]:
    """Names and types of the fields that a config class and those below `DecoderConfig` declare."""
    own = [c for c in reversed(config_class.__mro__) if issubclass(c, DecoderConfig)]
    hints = {key: hint for c in own for key, hint in get_annotations(c, eval_str=True).items()}
    return {key: hint for key, hint in hints.items() if key not in LIBRARY_FIELDS}
