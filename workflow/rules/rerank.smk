# Phase rerank: stage two.


rule rerank_top:
    input:
        outdated(),
        lambda w: (
            PATHS.image_features(w.model, w.dataset, "val")
            if CONFIG.has_val(w.dataset)
            else []
        ),
        PATHS.image_features("{model}", "{dataset}", "test"),
        PATHS.text_features("{model}", "{dataset}"),
        PATHS.one_to_one("{model}", "{dataset}"),
        PATHS.zero_shot("{model}", "{dataset}"),
        PATHS.zero_shot("{model}", "{dataset}").with_suffix(".json"),
    output:
        PATHS.rerank("{model}", "{dataset}"),
        PATHS.rerank("{model}", "{dataset}").with_suffix(".json"),
    log:
        LOGS / "rerank/{model}/{dataset}.log",
    benchmark:
        BENCHMARKS / "rerank/{model}/{dataset}.tsv"
    conda:
        ENVIRONMENT
    threads: CONFIG.features.threads
    resources:
        mem_mb=memory,
        runtime=minutes,
    params:
        job=job(),
    message:
        "rerank of {wildcards.dataset} with {wildcards.model}"
    shell:
        certify(
            "coder-clip rerank --model {wildcards.model} --dataset {wildcards.dataset}"
        )


rule rerank:
    input:
        expand(PATHS.rerank("{model}", "{dataset}"), model=MODELS, dataset=WITH_TEXTS),
