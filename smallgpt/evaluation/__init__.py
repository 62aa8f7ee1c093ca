"""What a model knows: benchmarks through the evaluation harness, likelihood of text, bias, a user's own task."""
