"""From the command line to a task: what is refused before any work, and what a job leaves behind."""
