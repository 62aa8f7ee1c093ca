"""What smallgpt does on one GPU, measured and checked step by step (`python -m benchmarks.gpu`)."""
