# Before a run on machines without network (docs/slurm.md): weights and data sets are fetched.


rule stage:
    log:
        LOGS / "stage.log",
    localrule: True  # where the network is
    conda:
        ENVIRONMENT
    message:
        "weights and data sets"
    shell:
        "coder-clip prefetch 2>&1 | tee {log}"
