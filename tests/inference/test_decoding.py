"""Greedy ids are the same however they are made, for every variant; sampling with a seed repeats."""

import pytest
import torch
from helpers import CASES, build
from transformers import GenerationConfig

from smallgpt.inference.decoding import decode
from smallgpt.inference.packing import for_inference

PROMPTS = torch.tensor([[5, 9, 3, 7, 2], [0, 0, 4, 8, 1]])
MASK = torch.tensor([[1, 1, 1, 1, 1], [0, 0, 1, 1, 1]])
