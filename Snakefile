# CODER from texts to report. src/coder_clip/jobs.py lists the jobs; here they become rules.
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
include: "workflow/rules/prefetch.smk"
include: "workflow/rules/smoke.smk"
include: "workflow/rules/fetch.smk"


onstart:
    begin()


onsuccess:
    record_phases()


onerror:
    record_phases()


rule all:
    default_target: True
    input:
        [path for job in JOBS for path in job.outputs],
    message:  # else Snakemake lists all files
        "every phase is complete"


for _rule in RULES:

    rule:
        name:
            _rule.name
        input:
            inputs_of(_rule),
        output:
            [shown(path) for path in _rule.outputs(PATHS)],
        log:
            file_of(LOGS, _rule, ".log"),
        benchmark:
            file_of(BENCHMARKS, _rule, ".tsv")
        priority: _rule.priority
        localrule: is_local(_rule)
        conda:
            "environment.yml"
        threads: threads_of(_rule)
        resources:
            mem_mb=need_of(_rule, "mem_mb"),
            runtime=need_of(_rule, "minutes"),
            on_gpu=on_gpu(_rule),
        params:
            typed=typed_of(_rule),
            records=RECORDS,
            job=file_of_job(_rule),
        message:
            with_wildcards(_rule.message)
        shell:
            # the first line is the same work as a command to type
            "# {params.typed}\n"
            "python -m coder_clip.job {params.records} {params.job:q} 2> {log}"


for _name, _files in TARGETS.items():

    rule:
        name:
            _name
        input:
            _files,


if jobs.REQUESTS in os.environ:
    note_requests(os.environ[jobs.REQUESTS])
