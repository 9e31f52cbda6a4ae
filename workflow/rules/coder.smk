# Phase coder: the compact CODER of a data set.


rule build_coder:
    input:
        outdated(),
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
        mem_mb=memory,
        runtime=minutes,
    params:
        job=job(),
    message:
        "CODER of {wildcards.dataset} with {wildcards.model}"
    shell:
        certify(
            "coder-clip coder --model {wildcards.model} --dataset {wildcards.dataset}"
        )


rule coder:
    input:
        expand(PATHS.coder("{model}", "{dataset}"), model=MODELS, dataset=WITH_TEXTS),
