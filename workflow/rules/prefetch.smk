# Before a run on machines without network (docs/slurm.md): download weights and data sets.


rule prefetch:
    log:
        LOGS / "prefetch.log",
    localrule: True  # the head node has network
    conda:
        ENVIRONMENT
    message:
        "weights and data sets"
    shell:
        "coder-clip prefetch 2>&1 | tee {log}"
