# CODER from texts to report. workflow/phases.yaml lists the phases; the rules are in
# workflow/rules, one file per phase.
#
#   snakemake --profile workflow/profiles/default                    everything
#   snakemake --profile workflow/profiles/default adapter            up to one phase
#   snakemake … --configfile config/photos.yaml                      another configuration
from snakemake.utils import min_version

min_version("9.20")


outputflags:
    update,  # a job behind unchanged bytes finds its files, and has nothing to do


include: "workflow/rules/common.smk"
include: "workflow/rules/slurm.smk"
include: "workflow/rules/tracking.smk"
include: "workflow/rules/prefetch.smk"
include: "workflow/rules/smoke.smk"
include: "workflow/rules/fetch.smk"


for _phase in phase_list.phases():

    include: f"workflow/rules/{_phase.name}.smk"


onstart:
    look_for_slurm_jobs()
    if not workflow.touch:  # --touch opens no image and asks no language model
        preflight()
    rerun.start(workflow)


onsuccess:
    record_phases()


onerror:
    record_phases()


rule all:
    default_target: True
    input:
        [getattr(rules, phase.target).input for phase in phase_list.phases()],
    message:  # else Snakemake lists all files
        "every phase is complete"


list_jobs()
