"""A function of tensors on a GPU, recorded once as a CUDA graph and repeated from then on."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

WARM_UP = 2  # calls before the recording, in which libraries choose kernels and take their working memory


class RecordedFunction:
    """Function that runs as one CUDA graph: a call costs the copies of its inputs and one launch.

    The function must wait for nothing on the CPU, and take shapes, and addresses of all but its inputs, that never
    change. Its result is overwritten by the next call.
    """

    def __init__(self, function: Callable[..., Tensor], inputs: Sequence[Tensor], state: Sequence[Tensor]) -> None:
        """
        Args:
            inputs: of the shapes and types of all calls.
            state: tensors that a call changes, which are as before when the function is recorded.
        """
        self.inputs = [each.clone() for each in inputs]
        before = [each.clone() for each in state]
        aside = torch.cuda.Stream()
        aside.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(aside):
            for _ in range(WARM_UP):
                function(*self.inputs)
                for place, value in zip(state, before, strict=True):
                    place.copy_(value)
        torch.cuda.current_stream().wait_stream(aside)
        self.graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(self.graph):  # nothing runs in here
            self.output = function(*self.inputs)

    def __call__(self, *inputs: Tensor) -> Tensor:
        for place, given in zip(self.inputs, inputs, strict=True):
            place.copy_(given)
        self.graph.replay()
        return self.output
