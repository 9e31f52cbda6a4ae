# On a cluster (docs/slurm.md): find the jobs of an earlier run before Snakemake checks the files.
from coder_clip import slurm

if workflow.is_main_process:
    slurm.before_run()
