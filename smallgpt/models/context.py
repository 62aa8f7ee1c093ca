"""Context of a forward pass: the positions, the mask and the cache that all blocks share, and who may see whom.

Letters in names: B batch, T time, S keys or time with the past before it, W width of the stream.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from transformers.cache_utils import Cache
from transformers.masking_utils import create_causal_mask, find_packed_sequence_indices

from .configuration import DecoderConfig


@dataclass
class Context:
    """Inputs that all blocks of one forward pass share: positions, mask, cache and padding."""

    position_BT: Tensor
    mask_B1TS: Tensor | None = None
    """Mask of the S keys that each query may see; None: causal, by the kernel itself."""
    cache: Cache | None = None
    padding_BT1: Tensor | None = None
    """Mask that is 0 where the input is padding; None where nothing is."""
    rope_theta: float = 10000.0
    attention: str = "sdpa"
    """Attention implementation, by the library's name."""
    attention_arguments: dict[str, Any] = field(default_factory=dict)
    """Arguments of the forward pass that an implementation of the library may read, and the others do not."""
    documents_BT: Tensor | None = None
    """Number of the document that each token belongs to; None: each row is one."""
    given_mask_BHTS: Tensor | None = None
    """Mask of four dimensions that the caller gave, which a convolution keeps too."""
    past: int | Tensor = 0
    """Number of tokens in the cache before these."""
    _rotations: dict[int, tuple[Tensor, Tensor]] = field(default_factory=dict)

    def rotation(self, head_width: int) -> tuple[Tensor, Tensor]:
        """Cosines and sines of the rotary positions, each (B, 1, T, head_width), computed once per width."""
        if head_width not in self._rotations:
            device = self.position_BT.device
            exponent = torch.arange(0, head_width, 2, device=device, dtype=torch.float32) / head_width
            angle_BTk = self.position_BT[..., None].float() * self.rope_theta**-exponent
            angle_B1TK = torch.cat((angle_BTk, angle_BTk), dim=-1).unsqueeze(1)
            self._rotations[head_width] = angle_B1TK.cos(), angle_B1TK.sin()
        return self._rotations[head_width]

    def taps(self, x_BTW: Tensor, kernel_size: int, layer_idx: int, state: int = 0) -> list[Tensor]:
        """Inputs (B, T, W) of a causal convolution: those of `kernel_size` - 1 tokens before, ..., of the token itself.

        They are zero before the beginning, and where attention may not look either. The cache keeps the last ones;
        `state` counts a block's convolutions.
        """
        T, past = x_BTW.shape[1], kernel_size - 1
        x_BSW = self._with_past(x_BTW, past, layer_idx, state)
        taps = [x_BSW[:, start : start + T] for start in range(kernel_size)]
        if not self._hides_taps:
            return taps
        return [tap * self._sees(past - start).to(tap.dtype) for start, tap in enumerate(taps[:-1])] + taps[-1:]

    def taps_of_token(self, x_B1W: Tensor, kernel_size: int, layer_idx: int, state: int = 0) -> Tensor:
        """The same taps for one token, side by side: (B, kernel_size, W). In decoding, each operation saved counts."""
        if self._hides_taps:
            return torch.cat(self.taps(x_B1W, kernel_size, layer_idx, state), dim=1)
        return self._with_past(x_B1W, kernel_size - 1, layer_idx, state)

    @property
    def _hides_taps(self) -> bool:
        return self.documents_BT is not None or self.given_mask_BHTS is not None

    def _with_past(self, x_BTW: Tensor, past: int, layer_idx: int, state: int) -> Tensor:
        """Inputs (B, past + T, W) of a convolution with those of the tokens before them in front."""
        if self.padding_BT1 is not None:
            x_BTW = x_BTW * self.padding_BT1
        if self.cache is None:
            return F.pad(x_BTW, (0, 0, past, 0))
        # what it kept, then these inputs; at the first call these inputs alone
        x_BWS = self.cache.update_conv_state(x_BTW.transpose(1, 2), layer_idx, state_idx=state, conv_kernel_size=past)
        missing = x_BTW.shape[1] + past - x_BWS.shape[-1]
        return (F.pad(x_BWS, (missing, 0)) if missing else x_BWS).transpose(1, 2)

    def _sees(self, distance: int) -> Tensor:
        """Mask (B, T, 1) of the tokens that may see the one `distance` places before them."""
        if self.documents_BT is not None:
            T = self.documents_BT.shape[1]
            before_BT = F.pad(self.documents_BT, (distance, 0), value=-1)[:, :T]
            return (self.documents_BT == before_BT).unsqueeze(-1)
        assert self.given_mask_BHTS is not None
        mask_BTS = self.given_mask_BHTS[:, 0]
        key_T = torch.arange(mask_BTS.shape[1], device=mask_BTS.device) + self.past - distance
        seen_BT1 = mask_BTS.gather(-1, key_T.clamp(min=0)[None, :, None].expand(mask_BTS.shape[0], -1, 1))
        # a mask of numbers is added to scores: the least of them hides
        return seen_BT1 if seen_BT1.dtype == torch.bool else seen_BT1 > torch.finfo(seen_BT1.dtype).min / 2


def make_context(
    config: DecoderConfig,
    x_BTD: Tensor,
    attention_mask: Tensor | dict[str, Tensor] | None,
    position_BT: Tensor | None,
    cache: Cache | None,
    attention_arguments: dict[str, Any] | None = None,
) -> Context:
    """Makes the context of a forward pass from what the library's models are called with.

    Args:
        attention_mask: of two dimensions (0: padding), of four, or one by kind of layer, as `generate` makes them for a
            cache of a fixed size.
        position_BT: positions; where they begin again and there is neither a mask nor a past, another document does.
    """
    T, device = x_BTD.shape[1], x_BTD.device
    past = cache.get_seq_length() if cache is not None else 0
    mask: Any = attention_mask
    padding_BS = documents_BT = None
    prepared = isinstance(attention_mask, dict)
    if isinstance(attention_mask, dict):
        mask, padding_BS = attention_mask["full_attention"], attention_mask.get("linear_attention")
    elif attention_mask is not None and attention_mask.dim() == 2:
        padding_BS = attention_mask
    if position_BT is None:
        if padding_BS is not None:
            position_BT = (padding_BS.long().cumsum(-1) - 1).clamp(min=0)[:, -T:]
        else:
            position_BT = torch.arange(T, device=device).unsqueeze(0) + past
    elif attention_mask is None and T > 1 and isinstance(past, int) and past == 0:
        documents_BT = find_packed_sequence_indices(position_BT)
    if not prepared:
        mask = mask_of(config, x_BTD, attention_mask, position_BT, documents_BT, cache, past)
    is_4d = not prepared and isinstance(attention_mask, Tensor) and attention_mask.dim() == 4
    return Context(
        position_BT=position_BT,
        mask_B1TS=mask,
        cache=cache,
        padding_BT1=None if padding_BS is None else padding_BS[:, -T:, None].to(x_BTD.dtype),
        rope_theta=config.rope_theta,
        attention=config._attn_implementation or "sdpa",
        attention_arguments=attention_arguments or {},
        documents_BT=documents_BT,
        given_mask_BHTS=attention_mask if is_4d else None,
        past=past,
    )


def mask_of(
    config: DecoderConfig,
    x_BTD: Tensor,
    attention_mask: Any,
    position_BT: Tensor,
    documents_BT: Tensor | None,
    cache: Cache | None,
    past: int | Tensor,
) -> Any:
    """Mask for the attention implementation; None where PyTorch's kernel alone does what is asked for.

    One token sees all that a growing cache holds, and the first tokens each other as the kernel's causal mask has it.
    """
    grows = cache is None or not cache.is_compileable
    first = isinstance(past, int) and past == 0
    if (
        config._attn_implementation == "sdpa"
        and attention_mask is None
        and documents_BT is None
        and grows
        and (first or x_BTD.shape[1] == 1)
    ):
        return None
    return create_causal_mask(
        config=config,
        inputs_embeds=x_BTD,
        attention_mask=attention_mask,
        past_key_values=cache if documents_BT is None else None,  # with a cache the library looks for no documents
        position_ids=position_BT,
    )
