"""Checks of a Slurm cluster before a run; packages/ has the executor of the jobs."""
