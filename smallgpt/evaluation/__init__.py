"""Evaluation of a model: harness benchmarks, likelihood of text, bias, free continuations, and a user's own tasks."""
