"""Contract of every variant: embedding, backbone, head, loss and cache.

A variant is a config class and a backbone, a module that maps the embedded stream to the stream the final norm reads:
`forward(x_BTD, context) -> x_BTW` with W = `config.output_width`. Letters in names: B batch, T time, D n_embd,
W width of the stream, S keys in the cache, V vocabulary.
"""

from __future__ import annotations

import hashlib
import math
from typing import Any, cast

import torch
from torch import Tensor, nn
from transformers import GenerationMixin, PreTrainedModel
from transformers import initialization as init
from transformers.cache_utils import Cache, DynamicCache
from transformers.masking_utils import create_causal_mask
from transformers.modeling_outputs import CausalLMOutputWithPast

from .configuration import DecoderConfig
from .layers import Context, Linear, norm
from .loss import IGNORED, linear_cross_entropy

EMBEDDING_STD = 0.02


class Decoder(PreTrainedModel, GenerationMixin):
    """Base class of the variants; a subclass names its `config_class` and its `backbone_class`."""

    # the library declares both for any model
    config_class: type[DecoderConfig] = DecoderConfig  # ty: ignore[incompatible-mutable-override]
    config: DecoderConfig
    backbone_class: type[nn.Module]
    lm_head: nn.Linear
    main_input_name = "input_ids"
    _supports_sdpa = True
    _tied_weights_keys = {"lm_head.weight": "wte.weight"}  # noqa: RUF012  the library's own convention

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
        width = config.output_width
        self.head_proj = Linear(width, config.n_embd, bias=False) if config.projects_output else None
        self.lm_head = Linear(config.n_embd if self.head_proj else width, config.vocab_size, bias=False)
        self.post_init()  # initialises and ties, once the whole tree stands

    def initialize_weights(self) -> None:
        self._names = {id(weight): name for name, weight in self.named_parameters()}
        super().initialize_weights()
        del self._names

    def normal_(self, weight: Tensor, std: float, taps: int = 1) -> None:
        """Fills a weight with numbers that follow from the seed and its name alone.

        So variants of one seed begin with the same values wherever names and shapes are the same, whatever else they
        have. (Maps into the residual stream are also scaled by the depth, see `_init_weights`.) Of several taps, only
        the inputs of the last get numbers.
        """
        digest = hashlib.sha256(f"{self._initial_seed} {self._names[id(weight)]}".encode()).digest()
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
        | gains 1, biases 0, mixing weights of paths 0 | |
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

    def init_std(self, module: Linear) -> float:
        """Standard deviation from which a linear map's weights are drawn, by the map's role."""
        if module.role == "stream":
            return math.sqrt(module.taps / module.in_features)
        std = math.sqrt(2 / (5 * module.in_features))
        if module.role == "residual":
            return 0.0 if self.config.zero_init else std / math.sqrt(2 * self.config.n_layer)
        return std

    def get_input_embeddings(self) -> nn.Module:
        return self.wte

    def set_input_embeddings(self, value: nn.Module) -> None:
        self.wte = value

    def get_output_embeddings(self) -> nn.Module:
        return self.lm_head

    def set_output_embeddings(self, new_embeddings: nn.Linear) -> None:
        self.lm_head = new_embeddings

    def hidden_states(
        self,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        position_ids: Tensor | None = None,
        cache: Cache | None = None,
        inputs_embeds: Tensor | None = None,
    ) -> Tensor:
        """Stream that the output head multiplies, (B, T, width of the head)."""
        x_BTD = self.wte(input_ids) if inputs_embeds is None else inputs_embeds
        return self.read(x_BTD, self._context(x_BTD, attention_mask, position_ids, cache))

    def read(self, x_BTD: Tensor, context: Context) -> Tensor:
        """Computes `hidden_states` of embedded tokens whose positions, mask and cache are known."""
        if self.wpe is not None:
            x_BTD = x_BTD + self.wpe(context.position_BT)
        x_BTW = self.ln_f(self.backbone(self.drop(x_BTD), context))
        return x_BTW if self.head_proj is None else self.head_proj(x_BTW)

    def _context(
        self,
        x_BTD: Tensor,
        attention_mask: Tensor | None,
        position_BT: Tensor | None,
        cache: Cache | None,
    ) -> Context:
        T, device = x_BTD.shape[1], x_BTD.device
        past = cache.get_seq_length() if cache is not None else 0
        is_2d = attention_mask is not None and attention_mask.dim() == 2
        if position_BT is None:
            if is_2d:
                position_BT = (attention_mask.long().cumsum(-1) - 1).clamp(min=0)[:, -T:]
            else:
                position_BT = torch.arange(past, past + T, device=device).unsqueeze(0)
        mask = None
        # one token sees all that is cached, and the first tokens each other as the kernel's own causal mask has it
        if attention_mask is not None or (past and T > 1):
            mask = create_causal_mask(
                config=self.config,
                inputs_embeds=x_BTD,
                attention_mask=attention_mask,
                past_key_values=cache,
            )
        padding = attention_mask[:, -T:, None].to(x_BTD.dtype) if is_2d else None
        return Context(position_BT, cast("Tensor | None", mask), cache, padding, self.config.rope_theta)

    def next_token_loss(self, input_ids: Tensor, targets: Tensor, reduction: str = "mean") -> Tensor:
        """Cross-entropy in nats of `targets` (B, T), which are shifted by one already, and -100 where not scored."""
        x_BTW = self.hidden_states(input_ids)
        return linear_cross_entropy(x_BTW.flatten(0, 1), self.lm_head.weight, targets.flatten(), reduction)

    def forward(
        self,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        position_ids: Tensor | None = None,
        past_key_values: Cache | None = None,
        inputs_embeds: Tensor | None = None,
        labels: Tensor | None = None,
        use_cache: bool | None = None,
        logits_to_keep: int | Tensor = 0,
        **kwargs,
    ) -> CausalLMOutputWithPast:
        """Computes logits, and a loss where `labels` are given: they are the inputs themselves and are shifted here."""
        use_cache = self.config.use_cache and not self.training if use_cache is None else use_cache
        use_cache = use_cache and self.config.can_cache
        if use_cache and past_key_values is None:
            past_key_values = DynamicCache(config=self.config)
        x_BTW = self.hidden_states(
            input_ids, attention_mask, position_ids, past_key_values if use_cache else None, inputs_embeds
        )
        kept = slice(-logits_to_keep, None) if isinstance(logits_to_keep, int) else logits_to_keep
        loss = None
        if labels is not None:
            targets = nn.functional.pad(labels[:, 1:], (0, 1), value=IGNORED)
            loss = linear_cross_entropy(x_BTW.flatten(0, 1), self.lm_head.weight, targets.flatten())
        return CausalLMOutputWithPast(
            loss=loss,
            logits=self.lm_head(x_BTW[:, kept]),
            past_key_values=past_key_values if use_cache else None,
        )

    def generate(self, *args, **kwargs):
        """Generates as the library does; to a model without a cache it must give the whole text for each token."""
        library: Any = super()  # whose own protocol does not fit its own models
        return library.generate(*args, **kwargs if self.config.can_cache else kwargs | {"use_cache": False})
