# On a cluster (docs/slurm.md): what an earlier run left there is found before Snakemake looks at the files.
from snakemake_executor_plugin_coder_clip import reattach

if workflow.is_main_process:
    reattach.before_run()
