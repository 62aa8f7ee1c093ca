"""Base model of every variant: embedding, backbone, final norm, and how their weights begin.

A variant is a config class and a backbone, a module that maps the embedded stream to the stream the final norm reads:
`forward(x_BTD, context) -> x_BTW` with W = `config.output_width`. Letters in names: B batch, T time, D n_embd,
W width of the stream.
"""

from __future__ import annotations

import hashlib
import math
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel
from transformers import initialization as init
from transformers.cache_utils import Cache, DynamicCache
from transformers.modeling_outputs import BaseModelOutputWithPast
from transformers.utils import logging
from transformers.utils.output_capturing import capture_outputs

from .configuration import DecoderConfig
from .context import Context, make_context
from .layers import AttentionKernel, Block, Linear, norm

logger = logging.get_logger(__name__)
EMBEDDING_STD = 0.02
READ_BY_ATTENTION = {"cu_seq_lens_q", "cu_seq_lens_k", "max_length_q", "max_length_k", "seq_idx"}
"""Arguments that tell flash attention where a row's documents lie; elsewhere `position_ids`, given beside them, do."""
RECORDED = {"output_hidden_states", "output_attentions"}


class DecoderPreTrainedModel(PreTrainedModel):
    """What a base model and a model with its head have in common: what the library can do with them, first weights."""

    # the library declares both for any model
    config_class: type[DecoderConfig] = DecoderConfig  # ty: ignore[incompatible-mutable-override]
    config: DecoderConfig
    base_model_prefix = "transformer"
    main_input_name = "input_ids"
    supports_gradient_checkpointing = True
    _supports_sdpa = True
    _supports_flash_attn = True
    _supports_flex_attn = True
    _supports_attention_backend = True
    _can_compile_fullgraph = True
    _skip_keys_device_placement = ["past_key_values", "context"]  # noqa: RUF012
    _can_record_outputs = {"hidden_states": Block, "attentions": AttentionKernel}  # noqa: RUF012  the library's own
    _initial_seed: int

    def normal_(self, weight: Tensor, std: float, taps: int = 1) -> None:
        """Fills a weight with numbers that follow from the seed and its name in the base model alone.

        So variants of one seed begin with the same values wherever names and shapes are the same, whatever else they
        have. (Maps into the residual stream are also scaled by the depth, see `_init_weights`.) Of several taps, only
        the inputs of the last get numbers.
        """
        name = next(name for name, each in self.named_parameters() if each is weight)
        name = name.removeprefix(f"{self.base_model_prefix}.")
        digest = hashlib.sha256(f"{self._initial_seed} {name}".encode()).digest()
        generator = torch.Generator(weight.device).manual_seed(int.from_bytes(digest[:8], "little", signed=True))
        drawn = weight.new_empty(weight.shape[0], weight.shape[1] // taps).normal_(std=std, generator=generator)
        init.copy_(weight, nn.functional.pad(drawn, (weight.shape[1] - drawn.shape[1], 0)))

    @torch.no_grad()
    def _init_weights(self, module: nn.Module) -> None:
        """Initialise by role, with the spread from the matrix's own inputs, each by its name (`normal_`).

        | what | standard deviation |
        | --- | --- |
        | embeddings | 0.02, as in GPT-2 |
        | maps of a normalised stream | sqrt(2 / (5 inputs)): 0.02 at GPT-2's 768 (arXiv 1910.05895) |
        | maps into the residual stream | the same / sqrt(2 n_layer), as in GPT-2; 0 with zero_init (arXiv 1901.09321) |
        | maps of the stream itself (narrowing, paths) | sqrt(1 / inputs), which keeps its size; 0 for earlier tokens |
        | gains 1, biases 0 | |
        | what has a `reset_parameters` of its own, as PyTorch's modules do | what that says |
        """
        if isinstance(module, nn.Embedding):
            self.normal_(module.weight, EMBEDDING_STD)
        elif isinstance(module, Linear):
            self.normal_(module.weight, self.init_std(module), module.taps)
            if module.bias is not None:
                init.zeros_(module.bias)
        elif isinstance(module, nn.LayerNorm | nn.RMSNorm):
            init.ones_(module.weight)
            if isinstance(bias := getattr(module, "bias", None), Tensor):
                init.zeros_(bias)
        elif callable(reset := getattr(module, "reset_parameters", None)):
            reset()

    def init_std(self, module: Linear) -> float:
        """Standard deviation from which a linear map's weights are drawn, by the map's role."""
        if module.role == "stream":
            return math.sqrt(module.taps / module.in_features)
        std = math.sqrt(2 / (5 * module.in_features))
        if module.role == "residual":
            return 0.0 if self.config.zero_init else std / math.sqrt(2 * self.config.n_layer)
        return std


class DecoderModel(DecoderPreTrainedModel):
    """Base model of a variant, without its output head: what `AutoModel` and feature extraction load."""

    backbone_class: type[nn.Module]
    _keys_to_ignore_on_load_unexpected = [r"^lm_head\."]  # noqa: RUF012

    def __init__(self, config: DecoderConfig):
        super().__init__(config)
        # taken before PyTorch's own initial values, whose number depends on the variant
        self._initial_seed = int(torch.randint(2**62, (), device="cpu"))
        self.wte = nn.Embedding(config.vocab_size, config.n_embd)
        learned = config.position_encoding == "learned"
        self.wpe = nn.Embedding(config.block_size, config.n_embd) if learned else None
        self.drop = nn.Dropout(config.dropout)
        self.backbone = self.backbone_class(config)
        self.ln_f = norm(config, config.output_width)
        self.head_proj = Linear(config.output_width, config.n_embd, bias=False) if config.projects_output else None
        self.gradient_checkpointing = False
        self._no_split_modules = {type(module).__name__ for module in self.modules() if isinstance(module, Block)}
        self.post_init()  # initialises, once the whole tree stands

    def get_input_embeddings(self) -> nn.Module:
        return self.wte

    def set_input_embeddings(self, value: nn.Module) -> None:
        self.wte = value

    @capture_outputs
    def forward(
        self,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        position_ids: Tensor | None = None,
        past_key_values: Cache | None = None,
        inputs_embeds: Tensor | None = None,
        use_cache: bool | None = None,
        **kwargs: Any,
    ) -> BaseModelOutputWithPast:
        """Computes the stream that the output head multiplies, `last_hidden_state` (B, T, width of the head).

        Args:
            kwargs: `output_hidden_states`, `output_attentions`, `return_dict`, and what flash attention reads.
        """
        if (input_ids is None) == (inputs_embeds is None):
            raise ValueError("give one of input_ids and inputs_embeds, and not both")
        self._check_arguments(kwargs, positions_given=position_ids is not None)
        x_BTD = self.wte(input_ids) if inputs_embeds is None else inputs_embeds
        use_cache = self.config.use_cache and not self.training if use_cache is None else use_cache
        if not self.config.can_cache or (self.gradient_checkpointing and self.training):
            past_key_values = None  # what is computed twice would be kept twice
        elif use_cache and past_key_values is None:
            past_key_values = DynamicCache(config=self.config)
        read_by_attention = {name: kwargs[name] for name in kwargs if name in READ_BY_ATTENTION}
        context = make_context(self.config, x_BTD, attention_mask, position_ids, past_key_values, read_by_attention)
        return BaseModelOutputWithPast(last_hidden_state=self.read(x_BTD, context), past_key_values=past_key_values)

    def read(self, x_BTD: Tensor, context: Context) -> Tensor:
        """Computes the last hidden state of embedded tokens whose positions, mask and cache are known."""
        if self.wpe is not None:
            x_BTD = x_BTD + self.wpe(context.position_BT)
        x_BTW = self.ln_f(self.backbone(self.drop(x_BTD), context))
        return x_BTW if self.head_proj is None else self.head_proj(x_BTW)

    def _check_arguments(self, arguments: dict[str, Any], positions_given: bool) -> None:
        """Raises for an argument that would be ignored; for attention's weights the library only warns."""
        attention = self.config._attn_implementation or "sdpa"
        for name, value in arguments.items():
            if value is None or (value is False and name in RECORDED):
                continue
            if name not in RECORDED | READ_BY_ATTENTION:
                raise TypeError(f"forward() got an unexpected keyword argument '{name}'")
            if name == "output_attentions" and attention != "eager":
                logger.warning_once(f"output_attentions: {attention} gives none; use attn_implementation=eager")
            if name in READ_BY_ATTENTION and "flash" not in attention and not positions_given:
                raise ValueError(f"{name}: read by flash attention alone, not by {attention}; give position_ids")
