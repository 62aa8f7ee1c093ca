"""What was found for the first jobs of a sweep, and holds for the later ones that have the same values."""

import pickle
from collections.abc import Callable
from typing import Any, TypeVar

Found = TypeVar("Found")


class Known:
    """Memory of one sweep's checks: a thousand jobs that differ in a rate have their model checked once."""

    def __init__(self) -> None:
        self.answers: dict[bytes, Any] = {}

    def once(self, find: Callable[[], Found], *source: Any) -> Found:
        """What `find` returns, called once for equal sources; what it raises is raised each time.

        Args:
            source: all that the answer depends on, named in front: plain values.
        """
        key = pickle.dumps(source)
        if key not in self.answers:
            self.answers[key] = find()
        return self.answers[key]
