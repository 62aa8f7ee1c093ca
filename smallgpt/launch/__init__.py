"""The way from the command line to jobs: configs are composed and checked, sweeps and searches run, errors told."""
