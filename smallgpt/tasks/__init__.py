"""What can be done with a config, one file a verb: `run(settings, run_dir)` returns sections of the result."""
