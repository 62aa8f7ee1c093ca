"""What the command lines of small runs share."""

SMALL = [
    *("model.n_layer=1", "model.n_head=2", "model.n_embd=32", "model.block_size=32"),
    *("tokenizer.vocab_size=300", "batch.tokens=512", "trainer.threads=1", "log_every=5"),
    "generation.max_new_tokens=8",
]
