"""Contract of every variant: its base model, output head, loss and generation.

Letters in names: B batch, T time, D n_embd, W width of the stream, V vocabulary.
"""

from __future__ import annotations

import sys
from typing import Any

from torch import Tensor, nn
from transformers import AutoModel, AutoModelForSequenceClassification, GenerationMixin
from transformers.cache_utils import Cache
from transformers.modeling_outputs import BaseModelOutputWithPast, CausalLMOutputWithPast
from transformers.utils import can_return_tuple

from .base_model import DecoderModel, DecoderPreTrainedModel
from .configuration import DecoderConfig
from .layers import Linear
from .loss import IGNORED, ChunkLoss, chunk_loss, linear_cross_entropy
from .sequence_classifier import SequenceClassifier


class Decoder(DecoderPreTrainedModel, GenerationMixin):
    """Base class of the variants; a subclass names its `config_class` and its `backbone_class`.

    Two more classes follow from the two, which the library's Auto classes know: `GPT` has its base model `GPTModel`
    as `base_class`, and `GPTForSequenceClassification` as `classifier_class`.
    """

    backbone_class: type[nn.Module]
    base_class: type[DecoderModel]
    classifier_class: type[SequenceClassifier]
    transformer: DecoderModel
    lm_head: nn.Linear
    chunk_loss: ChunkLoss = staticmethod(chunk_loss)
    """Inner loop of the loss of a training, which whoever compiles a model's parts replaces."""
    _tied_weights_keys = {"lm_head.weight": "transformer.wte.weight"}  # noqa: RUF012  the library's own convention

    def __init_subclass__(cls, **kwargs: Any) -> None:
        is_variant = bool({"config_class", "backbone_class"} & vars(cls).keys())  # FSDP derives classes that are none
        super().__init_subclass__(**kwargs)
        if not is_variant:
            return
        common = {"config_class": cls.config_class, "__module__": cls.__module__}
        parts = common | {"backbone_class": cls.backbone_class, "__doc__": f"Base model of {cls.__name__}."}
        cls.base_class = type(f"{cls.__name__}Model", (DecoderModel,), parts)
        parts = common | {"base_class": cls.base_class, "__doc__": f"Classifier of texts with {cls.__name__}."}
        cls.classifier_class = type(f"{cls.__name__}ForSequenceClassification", (SequenceClassifier,), parts)
        for auto, each in (
            (AutoModel, cls.base_class),
            (AutoModelForSequenceClassification, cls.classifier_class),
        ):
            setattr(sys.modules[cls.__module__], each.__name__, each)  # where the library looks in a model folder
            auto.register(cls.config_class, each, exist_ok=True)

    def __init__(self, config: DecoderConfig):
        super().__init__(config)
        self.transformer = self.base_class(config)
        self._initial_seed = self.transformer._initial_seed
        self.lm_head = Linear(config.head_width, config.vocab_size, bias=False)
        self.register_load_state_dict_pre_hook(rename_earlier_weights)
        self.post_init()  # initialises and ties, once the whole tree stands

    def get_output_embeddings(self) -> nn.Module:
        return self.lm_head

    def set_output_embeddings(self, new_embeddings: nn.Linear) -> None:
        self.lm_head = new_embeddings

    def next_token_loss(self, input_ids: Tensor, targets: Tensor, reduction: str = "mean") -> Tensor:
        """Cross-entropy in nats of `targets` (B, T), which are shifted by one already, and -100 where not scored."""
        x_BTW = self.transformer(input_ids, use_cache=False).last_hidden_state
        x_ND, target_N = x_BTW.flatten(0, 1), targets.flatten()
        return linear_cross_entropy(x_ND, self.lm_head.weight, target_N, reduction, self.chunk_loss)

    @can_return_tuple
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
        shift_labels: Tensor | None = None,
        num_items_in_batch: int | Tensor | None = None,
        **kwargs: Any,
    ) -> CausalLMOutputWithPast:
        """Computes logits, and a loss where labels are given.

        Args:
            labels: the inputs themselves: they are shifted here.
            shift_labels: labels that are shifted already, in place of `labels`.
            num_items_in_batch: number of targets in all micro-batches of a step, of whose mean the loss is a part.
            kwargs: see the base model's.
        """
        outputs: BaseModelOutputWithPast = self.transformer(
            input_ids=input_ids,
            attention_mask=attention_mask,
            position_ids=position_ids,
            past_key_values=past_key_values,
            inputs_embeds=inputs_embeds,
            use_cache=use_cache,
            **kwargs,
        )
        x_BTW = outputs.last_hidden_state
        assert x_BTW is not None
        loss = None
        if labels is not None and shift_labels is None:
            shift_labels = nn.functional.pad(labels[:, 1:], (0, 1), value=IGNORED)
        if shift_labels is not None:
            reduction = "mean" if num_items_in_batch is None else "sum"
            targets = shift_labels.flatten().to(x_BTW.device)
            loss = linear_cross_entropy(x_BTW.flatten(0, 1), self.lm_head.weight, targets, reduction)
            if num_items_in_batch is not None:
                loss = loss / num_items_in_batch
        kept = slice(-logits_to_keep, None) if isinstance(logits_to_keep, int) else logits_to_keep
        return CausalLMOutputWithPast(
            loss=loss,
            logits=self.lm_head(x_BTW[:, kept]),
            past_key_values=outputs.past_key_values,
            hidden_states=outputs.hidden_states,
            attentions=outputs.attentions,
        )

    def generate(self, *args, **kwargs):
        """Generates as the library does; to a model without a cache it must give the whole text for each token."""
        library: Any = super()  # whose own protocol does not fit its own models
        return library.generate(*args, **kwargs if self.config.can_cache else kwargs | {"use_cache": False})


def rename_earlier_weights(model: nn.Module, weights: dict[str, Any], prefix: str, *_: Any) -> None:
    """Renames weights of a state that was saved before the base model was a module of its own, in place.

    `from_pretrained` does the same by the library's own rule for base models.
    """
    parts = [name for name, _ in getattr(model, DecoderModel.base_model_prefix).named_children()]
    for name in list(weights):
        rest = name.removeprefix(prefix)
        if name.startswith(prefix) and rest.partition(".")[0] in parts:
            weights[f"{prefix}{DecoderModel.base_model_prefix}.{rest}"] = weights.pop(name)
