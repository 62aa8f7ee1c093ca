"""Corpora, tokenizers, prepared token files and the one LightningDataModule.

A corpus yields documents, a tokenizer turns them into tokens, `prepare` writes both once into a
user cache, and `datamodule` reads windows of tokens from there.
"""
