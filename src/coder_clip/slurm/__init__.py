"""What this workflow asks of a Slurm cluster (docs/slurm.md): checks, staging, and what jobs used.

Jobs are submitted and watched by the executor plugin, a distribution of its own below packages/.
"""
