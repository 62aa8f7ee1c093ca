"""Training: the one LightningModule, its optimizers and schedules, and what watches a run."""
