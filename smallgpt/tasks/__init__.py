"""Tasks that can be done with a config, one file per verb: `run(settings, run_dir)` returns sections of the result."""
