# CODER from texts to report. The rules are in workflow/rules, one file per phase, in the order of the paper.
#
#   snakemake --profile workflow/profiles/default                    everything
#   snakemake --profile workflow/profiles/default adapter            up to one phase
#   snakemake … --configfile config/photos.yaml                      another configuration
from snakemake.utils import min_version

min_version("9.27")


include: "workflow/rules/common.smk"
include: "workflow/rules/slurm.smk"
include: "workflow/rules/tracking.smk"
include: "workflow/rules/stage.smk"
include: "workflow/rules/fetch.smk"
include: "workflow/rules/texts.smk"
include: "workflow/rules/image_features.smk"
include: "workflow/rules/text_features.smk"
include: "workflow/rules/coder.smk"
include: "workflow/rules/zero_shot.smk"
include: "workflow/rules/one_to_one.smk"
include: "workflow/rules/rerank.smk"
include: "workflow/rules/adapter.smk"
include: "workflow/rules/evaluation.smk"
include: "workflow/rules/report.smk"


onstart:
    reattach.before_jobs(workflow)
    tracking.on_start(workflow, CONFIG_FILE)
    preflight()


rule all:
    default_target: True
    input:
        PATHS.report,
        PATHS.metrics,
