"""What tests that need a GPU are marked with: they are skipped, with a reason, where there is none."""

import pytest
import torch

NEEDS_GPU = (
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU is visible here; `make gpu-check` runs it on one"),
)
