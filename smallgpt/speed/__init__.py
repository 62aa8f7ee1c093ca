"""Speed of generating text: measured times, and what bytes and FLOPs promise."""
