"""What tests that need a GPU are marked with: they are skipped, with a reason, where there is none."""

import os

import pytest
import torch

from smallgpt.machine.device import CUBLAS_WORKSPACE

os.environ.setdefault(*CUBLAS_WORKSPACE)  # before the first test, since PyTorch reads it once

NEEDS_GPU = (
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU is visible here; `make gpu-check` runs it on one"),
)
