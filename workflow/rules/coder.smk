# Phase coder: the compact CODER of a data set.


rule build_coder:
    input:
        outdated("build_coder"),
        PATHS.text_features("{model}", "{dataset}"),
    output:
        PATHS.coder("{model}", "{dataset}"),
    log:
        LOGS / "coder/{model}/{dataset}.log",
    benchmark:
        BENCHMARKS / "coder/{model}/{dataset}.tsv"
    conda:
        ENVIRONMENT
    threads: CONFIG.features.threads
    resources:
        mem_mb=memory("coder", "build_coder"),
        runtime=minutes("coder", "build_coder"),
    params:
        job=job("build_coder"),
    message:
        "CODER of {wildcards.dataset} with {wildcards.model}"
    shell:
        command("build_coder")


rule coder:
    input:
        expand(PATHS.coder("{model}", "{dataset}"), model=MODELS, dataset=WITH_TEXTS),
