"""Adapter that puts a model behind the interface of EleutherAI's evaluation harness."""

from collections.abc import Callable
from typing import Any

import torch
from lm_eval.api.instance import Instance
from lm_eval.api.model import TemplateLM
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from smallgpt.errors import UserError
from smallgpt.evaluation.scorer import Request, Score, pieces, total
from smallgpt.evaluation.text_likelihood import Reader


class HarnessModel(TemplateLM):
    """Model of the evaluation harness that asks a `Reader`; tokens are split as the harness's own `HFLM` does."""

    def __init__(
        self,
        model: PreTrainedModel,
        tokenizer: PreTrainedTokenizerBase,
        share: bool = True,
        faulty: bool = False,
        windows: bool = False,
        title: str | None = None,
    ):
        """
        Args:
            share, faulty, title: see `Reader`.
            windows: score options that are longer than the model's context in pieces; else they are refused.
        """
        super().__init__()
        self.tokenizer = tokenizer
        self.model, self.windows = model, windows
        self.reader = Reader(model, tokenizer, share, faulty, title)
        self.max_length = self.reader.max_length
        self.where: Callable[[str, int], str] = lambda task, row: f"{task}: row {row}"
        self.records: dict[tuple[str, int, int], tuple[int, Score]] = {}
        self._latest: list[tuple[int, Score]] = []

    @property
    def eot_token_id(self) -> int:
        return self.reader.tokenizer.eos_token_id

    @property
    def prefix_token_id(self) -> int:
        return self.reader.start

    def tok_encode(self, string: str, add_special_tokens: bool | None = None, **_: Any) -> list[int]:
        return self.reader.encode(string, add_special_tokens is not False)

    def loglikelihood(self, requests: list[Instance], disable_tqdm: bool = True) -> list[tuple[float, bool]]:
        self._latest = []
        self._asked = requests
        answers = super().loglikelihood(requests, disable_tqdm=True)
        for request, record in zip(requests, self._latest, strict=True):
            self.records[str(request.task_name), int(request.doc_id or 0), request.idx] = record
        return answers

    def _loglikelihood_tokens(self, requests: list[Any], **_: Any) -> list[tuple[float, bool]]:
        asked: list[list[Request]] = []
        for place, (_pair, context, continuation) in enumerate(requests):
            if not continuation:
                raise UserError(f"{self._name(place)} no token of its own")
            if len(continuation) > self.max_length and not self.windows:
                raise UserError(
                    f"{self._name(place)} {len(continuation)} tokens; the model's context has {self.max_length}, "
                    "and eval.long_options=windows scores it piece by piece"
                )
            asked.append(pieces(Request(tuple(context), tuple(continuation)), self.max_length))
        scores = iter(self.reader.score([piece for each in asked for piece in each]))
        self._latest = []
        for each in asked:
            parts = [next(scores) for _ in each]
            self._latest.append((sum(len(piece.continuation) for piece in each), total(parts)))
        return [(score.loglikelihood, score.greedy) for _, score in self._latest]

    def _name(self, place: int) -> str:
        instance = self._asked[place]
        return f"{self.where(str(instance.task_name), int(instance.doc_id or 0))}: option {instance.idx + 1} has"

    def loglikelihood_rolling(self, requests: list[Instance], disable_tqdm: bool = True) -> list[float]:
        texts = self.reader.likelihood_of_texts([request.args[0] for request in requests])
        for request, text in zip(requests, texts, strict=True):
            score = Score(text.loglikelihood, False)
            self.records[str(request.task_name), int(request.doc_id or 0), request.idx] = (text.tokens, score)
        return [text.loglikelihood for text in texts]

    @torch.inference_mode()
    def generate_until(self, requests: list[Instance], disable_tqdm: bool = True) -> list[str]:
        answers = []
        for request in requests:
            context, given = request.args
            new = min(int(given.get("max_gen_toks", 256)), self.max_length - 1)
            ids = torch.tensor([self.tok_encode(context)[new - self.max_length :]], device=self.model.device)
            until = given.get("until") or []
            stops = [until] if isinstance(until, str) else until
            sampling = {"temperature": given.get("temperature", 1.0)} if given.get("do_sample") else {}
            out = self.model.generate(  # ty: ignore[not-callable]  # of GenerationMixin
                ids,
                attention_mask=torch.ones_like(ids),
                max_new_tokens=new,
                pad_token_id=self.eot_token_id,
                stop_strings=stops or None,
                tokenizer=self.tokenizer,
                do_sample=bool(sampling),
                **sampling,
            )
            text = self.reader.tokenizer.decode(out[0, ids.shape[1] :], skip_special_tokens=True)
            answers.append(min((text.partition(stop)[0] for stop in stops), key=len, default=text))
        return answers
