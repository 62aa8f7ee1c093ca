"""A causal model that is being adapted: with a head for labels, or with additions of low rank, if any.

Letters in names: B batch, T time, W width of the stream, V vocabulary, C labels.
"""

import copy
import json
from collections.abc import Mapping
from inspect import signature
from pathlib import Path
from typing import Any

from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from transformers import PreTrainedModel

from smallgpt.errors import UserError, one_line
from smallgpt.models.decoder import Decoder
from smallgpt.models.loss import linear_cross_entropy
from smallgpt.models.sequence_classifier import SequenceClassifier, last_real

HEAD, ADAPTER = "label_head", "adapter"
"""Folders beside a checkpoint's weights: the head that says labels, and LoRA's additions as `peft` saves them."""


class Adapted(nn.Module):
    """Causal model of any kind with what is added to it; saved, it is a model folder with the additions merged in.

    Args:
        causal: the model; where `adapter` is given, LoRA's layers lie in it.
        labels: labels that a head on the last token of a prompt says; none: there is no head.
        adapter: a `peft.PeftModel` around the model.
    """

    def __init__(self, causal: PreTrainedModel, labels: tuple[str, ...] = (), adapter: Any = None) -> None:
        super().__init__()
        self.causal, self.labels = causal, labels
        self.adapter = [adapter] if adapter is not None else []  # a list, for its weights are the model's
        output: Any = causal.get_output_embeddings()
        self.width, self.takes_positions = output.in_features, "position_ids" in signature(causal.forward).parameters
        self.head = nn.Linear(self.width, len(labels), bias=True) if labels else None
        if self.head is not None:
            nn.init.zeros_(self.head.weight)  # begins with every label as likely
            nn.init.zeros_(self.head.bias)

    @property
    def config(self) -> Any:
        """Config of the causal model."""
        return self.causal.config

    def get_input_embeddings(self) -> nn.Module:
        """Embedding of tokens."""
        return self.causal.get_input_embeddings()

    def get_output_embeddings(self) -> nn.Module | None:
        """The head that learns: that of the labels where there is one."""
        return self.head if self.head is not None else self.causal.get_output_embeddings()

    def places(self, mask_BT: Tensor | None) -> dict[str, Tensor]:
        """Arguments that tell the causal model where padding is, and where each token then stands."""
        if mask_BT is None:
            return {}
        given = {"attention_mask": mask_BT}
        if self.takes_positions:
            given["position_ids"] = (mask_BT.cumsum(-1) - 1).clamp(min=0)
        return given

    def stream(self, ids_BT: Tensor, mask_BT: Tensor | None = None) -> Tensor:
        """Stream that the output head reads, (B, T, W)."""
        base: Any = self.causal.base_model
        return base(ids_BT, use_cache=False, **self.places(mask_BT))[0]

    def logits(self, ids_BT: Tensor, mask_BT: Tensor | None = None) -> Tensor:
        """Logits of the next token, (B, T, V)."""
        return self.causal(ids_BT, use_cache=False, **self.places(mask_BT)).logits

    def next_token_loss(
        self, ids_BT: Tensor, targets_BT: Tensor, reduction: str = "mean", mask_BT: Tensor | None = None
    ) -> Tensor:
        """Cross-entropy in nats of targets that are shifted by one already, and -100 where not scored."""
        targets = targets_BT.flatten()
        if isinstance(self.causal, Decoder):
            stream = self.stream(ids_BT, mask_BT).flatten(0, 1)
            return linear_cross_entropy(stream, self.causal.lm_head.weight, targets, reduction)
        logits = self.logits(ids_BT, mask_BT).flatten(0, 1).float()  # whatever it does behind its head
        if reduction == "sum":
            return nn.functional.cross_entropy(logits, targets, reduction="sum")
        return nn.functional.cross_entropy(logits, targets)

    def label_logits(self, ids_BT: Tensor, mask_BT: Tensor | None = None) -> Tensor:
        """Logits of the labels, (B, C), from the last token of each row that is no padding."""
        assert self.head is not None
        return self.head(last_real(self.stream(ids_BT, mask_BT), mask_BT))

    def save_pretrained(self, folder: Path, state_dict: Mapping[str, Tensor] | None = None) -> None:
        """Writes a model folder; additions are merged into its weights, and also lie beside them, as does the head."""
        assert state_dict is None, "no process has a part of an adapted model"
        for adapter in self.adapter:
            adapter.save_pretrained(folder / ADAPTER)
        self.merged().save_pretrained(folder)
        if self.head is not None:
            (folder / HEAD).mkdir()
            weights = {name: value.detach().cpu().contiguous() for name, value in self.head.state_dict().items()}
            save_file(weights, folder / HEAD / "model.safetensors")
            (folder / HEAD / "labels.json").write_text(json.dumps(list(self.labels)), encoding="utf-8")

    def classifier(self) -> SequenceClassifier:
        """Makes the library's kind of classifier of a variant with a head for labels; it shares the weights.

        It gives the same logits, is saved as one folder, and `config.id2label` has the labels.
        """
        assert self.head is not None and isinstance(self.causal, Decoder)
        config = copy.deepcopy(self.causal.config)
        config.id2label = dict(enumerate(self.labels))
        config.label2id = {label: number for number, label in enumerate(self.labels)}
        made = self.causal.classifier_class(config)
        made.transformer, made.score = self.causal.transformer, self.head
        return made.eval()

    def merged(self) -> PreTrainedModel:
        """The causal model with the additions in its weights: itself where there are none, else a copy."""
        if not self.adapter:
            return self.causal
        return copy.deepcopy(self.adapter[0]).merge_and_unload()


def read_adapted(causal: PreTrainedModel, folder: Path) -> Adapted:
    """Makes an adapted model of a loaded one, with the head for labels that lies in its folder, if any.

    Raises UserError where that head is damaged.
    """
    place = folder / HEAD
    if not place.is_dir():
        return Adapted(causal)
    try:
        labels = tuple(json.loads((place / "labels.json").read_text(encoding="utf-8")))
        adapted = Adapted(causal, labels)
        assert adapted.head is not None
        adapted.head.load_state_dict(load_file(place / "model.safetensors"))
    except Exception as error:
        raise UserError(f"checkpoint={folder}: {HEAD} is damaged ({one_line(error)}); copy it again") from error
    return adapted.to(causal.device)
