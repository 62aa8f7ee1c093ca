"""What generating text costs: measured times, and what bytes and FLOPs promise."""
