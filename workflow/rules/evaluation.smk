# Phase evaluation: ablations and feature quality.


rule evaluate:
    input:
        outdated(),
        PATHS.image_features("{model}", "{dataset}", "test"),
        PATHS.text_features("{model}", "{dataset}"),
        lambda w: (PATHS.coder(w.model, w.dataset) if w.dataset in WITH_TEXTS else []),
        encoded_shots,
        other_images,
    output:
        PATHS.evaluation("{model}", "{dataset}"),
        PATHS.evaluation("{model}", "{dataset}").with_suffix(".json"),
    log:
        LOGS / "evaluation/{model}/{dataset}.log",
    benchmark:
        BENCHMARKS / "evaluation/{model}/{dataset}.tsv"
    conda:
        ENVIRONMENT
    threads: CONFIG.features.threads
    resources:
        mem_mb=memory,
        runtime=minutes,
    params:
        job=job(),
    message:
        "evaluation of {wildcards.dataset} with {wildcards.model}"
    shell:
        certify(
            "coder-clip evaluation --model {wildcards.model} "
            "--dataset {wildcards.dataset}"
        )


rule evaluation:
    input:
        expand(
            PATHS.evaluation("{model}", "{dataset}"),
            model=MODELS,
            dataset=DATASETS,
        ),
