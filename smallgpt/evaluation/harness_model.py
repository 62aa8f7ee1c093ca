"""A model of ours behind the interface of EleutherAI's evaluation harness."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from lm_eval.api.instance import Instance
from lm_eval.api.model import TemplateLM
from lm_eval.utils import get_rolling_token_windows, make_disjoint_window
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from smallgpt.data.progress import Progress
from smallgpt.errors import UserError
from smallgpt.evaluation.items import Text
from smallgpt.evaluation.scorer import Request, Score, Scorer, pieces, total

DEFAULT_CONTEXT = 2048  # tokens, where neither the model nor its tokenizer says


class HarnessModel(TemplateLM):
    """The harness's interface to `Scorer`; tokens are split as its own `HFLM` does."""

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
            share, faulty: see `Scorer`.
            windows: score options that are longer than the model's context in pieces; else they are refused.
            title: of a progress bar on standard error; None: no bar.
        """
        super().__init__()
        self.model, self.tokenizer, self.windows, self.title = model, tokenizer, windows, title
        self.max_length = context_length(model, tokenizer)
        self.scorer = Scorer(model, self.max_length, share, faulty)
        self.where: Callable[[str, int], str] = lambda task, row: f"{task}: row {row}"
        self.records: dict[tuple[str, int, int], tuple[int, Score]] = {}
        self._latest: list[tuple[int, Score]] = []

    @property
    def eot_token_id(self) -> int:
        return self.tokenizer.eos_token_id

    @property
    def prefix_token_id(self) -> int:
        bos = self.tokenizer.bos_token_id
        return self.tokenizer.eos_token_id if bos is None else bos

    def tok_encode(self, string: str, add_special_tokens: bool | None = None, **_: Any) -> list[int]:
        if add_special_tokens is None and string.startswith(self.tokenizer.decode(self.prefix_token_id)):
            add_special_tokens = False
        given = {} if add_special_tokens is None else {"add_special_tokens": add_special_tokens}
        return self.tokenizer.encode(string, verbose=False, **given)  # long texts are cut here, not by it

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
        scores = iter(self.score([piece for each in asked for piece in each]))
        self._latest = []
        for each in asked:
            parts = [next(scores) for _ in each]
            self._latest.append((sum(len(piece.continuation) for piece in each), total(parts)))
        return [(score.loglikelihood, score.greedy) for _, score in self._latest]

    def score(self, requests: Sequence[Request]) -> list[Score]:
        with Progress(self.title or "", len(requests), shown=self.title is not None) as progress:
            return self.scorer.score(requests, progress.advance)

    def _name(self, place: int) -> str:
        instance = self._asked[place]
        return f"{self.where(str(instance.task_name), int(instance.doc_id or 0))}: option {instance.idx + 1} has"

    def loglikelihood_rolling(self, requests: list[Instance], disable_tqdm: bool = True) -> list[float]:
        texts = likelihood_of_texts(self, [request.args[0] for request in requests])
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
            out = self.model.generate(
                ids,
                attention_mask=torch.ones_like(ids),
                max_new_tokens=new,
                pad_token_id=self.eot_token_id,
                stop_strings=stops or None,
                tokenizer=self.tokenizer,
                do_sample=bool(sampling),
                **sampling,
            )
            text = self.tokenizer.decode(out[0, ids.shape[1] :], skip_special_tokens=True)
            answers.append(min((text.partition(stop)[0] for stop in stops), key=len, default=text))
        return answers


def context_length(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> int:
    """Tokens that the model can read."""
    config = model.config.get_text_config()
    longest = getattr(config, "max_position_embeddings", None) or tokenizer.model_max_length
    return int(longest) if longest and longest < 10**9 else DEFAULT_CONTEXT


def likelihood_of_texts(lm: HarnessModel, texts: Sequence[str]) -> list[Text]:
    """Of whole documents, each on its own, in windows of the model's context; every token is scored once."""
    requests: list[Request] = []
    counts, tokens = [], []
    for text in texts:
        ids = lm.tok_encode(text)
        windows = [
            make_disjoint_window(window)
            for window in get_rolling_token_windows(ids, lm.prefix_token_id, lm.max_length, context_len=1)
        ]
        requests += [Request(tuple(context), tuple(scored)) for context, scored in windows]
        counts.append(len(windows))
        tokens.append(len(ids))
    scores = iter(lm.score(requests))
    totals = [sum(next(scores).loglikelihood for _ in range(count)) for count in counts]
    return [
        Text(i, total, len(text.encode()), number)
        for i, (text, total, number) in enumerate(zip(texts, totals, tokens, strict=True))
    ]
