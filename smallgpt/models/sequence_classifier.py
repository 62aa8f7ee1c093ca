"""A variant's base model with a head that says one label for a text, as `AutoModelForSequenceClassification` loads it.

Letters in names: B batch, T time, W width of the stream, C labels.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from transformers.cache_utils import Cache
from transformers.modeling_outputs import SequenceClassifierOutputWithPast
from transformers.utils import can_return_tuple

from .base_model import DecoderModel, DecoderPreTrainedModel
from .configuration import DecoderConfig


class SequenceClassifier(DecoderPreTrainedModel):
    """Base class of the classifiers, one for each variant; `config.id2label` names the labels."""

    base_class: type[DecoderModel]
    _keys_to_ignore_on_load_unexpected = [r"^lm_head\."]  # noqa: RUF012  of the model that continues text

    def __init__(self, config: DecoderConfig):
        super().__init__(config)
        self.num_labels: int = config.num_labels or 2
        self.transformer = self.base_class(config)
        self._initial_seed = self.transformer._initial_seed
        self.score = nn.Linear(config.head_width, self.num_labels)
        self.post_init()

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
        **kwargs: Any,
    ) -> SequenceClassifierOutputWithPast:
        """Computes a logit for each label from the last token that is no padding, and a loss where labels are given.

        Args:
            attention_mask: 0 where a row is padded, on either side; without it nothing is.
            labels: number of the right label of each row.
            kwargs: see the base model's.
        """
        outputs = self.transformer(
            input_ids=input_ids,
            attention_mask=attention_mask,
            position_ids=position_ids,
            past_key_values=past_key_values,
            inputs_embeds=inputs_embeds,
            use_cache=use_cache,
            **kwargs,
        )
        logits_BC = self.score(last_real(outputs.last_hidden_state, attention_mask))
        loss = None
        if labels is not None:
            loss = self.loss_function(labels=labels, pooled_logits=logits_BC, config=self.config, logits=logits_BC)
        return SequenceClassifierOutputWithPast(
            loss=loss,
            logits=logits_BC,
            past_key_values=outputs.past_key_values,
            hidden_states=outputs.hidden_states,
            attentions=outputs.attentions,
        )


def last_real(x_BTW: Tensor, mask_BT: Tensor | None) -> Tensor:
    """Picks from each row of a stream the last token that is no padding, (B, W)."""
    if mask_BT is None:
        return x_BTW[:, -1]
    mask_BT = mask_BT[:, -x_BTW.shape[1] :]  # it has the tokens of a cache too
    numbers_T = torch.arange(1, mask_BT.shape[1] + 1, device=mask_BT.device)
    last_B = (mask_BT * numbers_T).argmax(-1)
    return x_BTW[torch.arange(len(last_B), device=last_B.device), last_B]
