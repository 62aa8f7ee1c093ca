"""Settings of task=prepare: how the jobs of a sweep share a corpus."""

from typing import Self

from pydantic import Field, model_validator

from smallgpt.settings.group import Group


class Preparation(Group):
    """Settings of a preparation that several machines share."""

    shards: int | None = Field(None, gt=0)
    """Number of jobs that share the corpus; the last to end writes the prepared data. Null: one does it all."""
    shard: int | None = Field(None, ge=0)
    """Number of the shard that this job encodes, from 0; `'prepare.shard=range(16)'` in a sweep of 16."""

    @model_validator(mode="after")
    def _one_of_the_shards(self) -> Self:
        if self.shard is None and self.shards is not None:
            raise ValueError(f"shards={self.shards}: which of them? -m 'prepare.shard=range({self.shards})' runs all")
        if self.shard is not None and self.shards is None:
            raise ValueError(f"shard={self.shard}: of how many? give prepare.shards=<number of jobs>")
        if self.shard is not None and self.shards is not None and self.shard >= self.shards:
            raise ValueError(f"shard={self.shard}: must be below prepare.shards={self.shards}")
        return self
