"""Teacher of a distillation: the model that `distill.from=` names is checked before a training begins."""

from typing import Any

from smallgpt.errors import UserError


def checked_teacher(name: str, model: Any, tokenizer: Any) -> tuple[str, Any]:
    """Full name and config of a teacher for a model.

    Raises:
        UserError: there is no such model, or it has other tokens or a shorter context than the one that is trained.
    """
    from smallgpt.inference.checkpoint import locate, read_config, resolved_checkpoint
    from smallgpt.models.configuration import DecoderConfig
    from smallgpt.training.distillation import refuse_other_tokenizer

    key = f"distill.from={name}"
    try:
        config: Any = read_config(name)
        folder = locate(name)
    except UserError as error:
        raise UserError(str(error).replace(f"checkpoint={name}", key)) from error
    if not isinstance(config, DecoderConfig):
        raise UserError(f"{key}: a {config.model_type} model, none of smallgpt's, which alone teach")
    if config.vocab_size != model.vocab_size:
        raise UserError(
            f"{key}: has logits of {config.vocab_size} tokens, and the model has {model.vocab_size}; a teacher needs "
            "the same tokenizer, as checkpoint= of its run gives"
        )
    if config.block_size < model.block_size:
        raise UserError(f"{key}: reads {config.block_size} tokens; model.block_size={config.block_size} or less")
    if hasattr(tokenizer, "name"):  # of a tokenizer that is trained, the preparation tells
        refuse_other_tokenizer(key, folder, tokenizer.name)
    return resolved_checkpoint(name), config
