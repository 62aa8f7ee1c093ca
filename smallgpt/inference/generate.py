"""A text continued by a model: the library's `generate` with a seed."""

import torch
from transformers import GenerationConfig, PreTrainedModel, PreTrainedTokenizerBase

from smallgpt.errors import UserError
from smallgpt.settings import Generation


def generate(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    prompt: str,
    settings: Generation,
    seed: int,
) -> str:
    """The prompt and its continuation.

    An empty prompt starts a new document. Generation ends with the document, after
    `max_new_tokens`, or where the model's context is full. The same seed gives the same text.

    Raises:
        UserError: the prompt leaves no room in the model's context.
    """
    ids = tokenizer(prompt, add_special_tokens=False)["input_ids"] or [tokenizer.eos_token_id]
    limit = getattr(model.config, "max_position_embeddings", None)
    new_tokens = settings.max_new_tokens
    if limit is not None:
        if len(ids) >= limit:
            raise UserError(f"prompt: {len(ids)} tokens; the model's context has {limit}, so use at most {limit - 1}")
        new_tokens = min(new_tokens, limit - len(ids))
    input_ids = torch.tensor([ids], device=model.device)
    was_training = model.training
    model.eval()
    with torch.random.fork_rng(), torch.inference_mode():
        torch.manual_seed(seed)
        output = model.generate(
            input_ids,
            attention_mask=torch.ones_like(input_ids),
            generation_config=generation_config(model, tokenizer, settings, new_tokens),
        )
    model.train(was_training)
    return tokenizer.decode(output[0], skip_special_tokens=True)


def generation_config(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    settings: Generation,
    new_tokens: int,
) -> GenerationConfig:
    """Our settings in the library's terms; temperature 0 is greedy."""
    sampling = {}
    if settings.temperature > 0:
        sampling = {
            "do_sample": True,
            "temperature": settings.temperature,
            "top_k": settings.top_k or 0,
            "top_p": settings.top_p or 1.0,
        }
    # rows that pad the vocabulary stand for no text
    padding = list(range(len(tokenizer), model.config.vocab_size))
    return GenerationConfig(
        max_new_tokens=new_tokens,
        num_beams=settings.num_beams,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.eos_token_id,
        suppress_tokens=padding or None,
        **sampling,
    )
