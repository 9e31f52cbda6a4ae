# On a cluster (docs/slurm.md): what an earlier run left there is found before Snakemake looks at the files.
from coder_clip import slurm
from coder_clip.datasets.supply import refuse_absent

if workflow.is_main_process:
    slurm.before_run()


onstart:
    slurm.before_jobs(workflow)
    # before the first job: images that are not here would stop it, one data set after the other
    opens = ("list_images", "encode_images", "encode_shard")
    jobs = [j for j in workflow.dag.needrun_jobs() if j.rule.name in opens]
    try:
        refuse_absent(
            CONFIG, Path(CONFIG_FILE), {j.wildcards.dataset for j in jobs}
        )
    except UserError as error:
        raise WorkflowError(str(error)) from None
