# Phase zero_shot: stage one and its baselines.


rule classify:
    input:
        outdated(),
        lambda w: (
            PATHS.image_features(w.model, w.dataset, "val")
            if CONFIG.has_val(w.dataset)
            else []
        ),
        PATHS.image_features("{model}", "{dataset}", "test"),
        PATHS.text_features("{model}", "{dataset}"),
        PATHS.coder("{model}", "{dataset}"),
    output:
        PATHS.zero_shot("{model}", "{dataset}"),
        PATHS.zero_shot("{model}", "{dataset}").with_suffix(".json"),
    log:
        LOGS / "zero_shot/{model}/{dataset}.log",
    benchmark:
        BENCHMARKS / "zero_shot/{model}/{dataset}.tsv"
    conda:
        ENVIRONMENT
    threads: CONFIG.features.threads
    resources:
        mem_mb=memory,
        runtime=minutes,
    params:
        job=job(),
    message:
        "zero-shot on {wildcards.dataset} with {wildcards.model}"
    shell:
        certify(
            "coder-clip zero-shot --model {wildcards.model} "
            "--dataset {wildcards.dataset}"
        )


rule zero_shot:
    input:
        expand(
            PATHS.zero_shot("{model}", "{dataset}"),
            model=MODELS,
            dataset=WITH_TEXTS,
        ),
