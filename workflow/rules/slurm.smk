# On a cluster (docs/slurm.md): what an earlier run left there is found before Snakemake looks at the files.
from coder_clip import slurm, tracking

if workflow.is_main_process:
    tracking.FIRST.append(slurm.before_run)
