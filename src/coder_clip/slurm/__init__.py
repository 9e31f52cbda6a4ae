"""Checks of a Slurm cluster before a run, and what jobs used after it; packages/ has the executor of the jobs."""
