"""What this workflow asks of a Slurm cluster (docs/slurm.md): checks before a run, and what jobs used after it.

Jobs are submitted and watched by the executor plugin, a distribution of its own below packages/.
"""
