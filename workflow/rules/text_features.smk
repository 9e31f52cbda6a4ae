# Phase text_features: encode every sentence.


rule encode_texts:
    input:
        outdated(),
        PATHS.manifest("{dataset}"),
        PATHS.texts("{dataset}"),
        encoder_files,
        fetched_weights,
    output:
        PATHS.text_features("{model}", "{dataset}"),
    log:
        LOGS / "text_features/{model}/{dataset}.log",
    benchmark:
        BENCHMARKS / "text_features/{model}/{dataset}.tsv"
    conda:
        ENVIRONMENT
    threads: CONFIG.features.threads
    resources:
        mem_mb=memory,
        runtime=minutes,
        on_gpu=on_gpu,
    params:
        job=job(),
    message:
        "text features of {wildcards.dataset} with {wildcards.model}"
    shell:
        certify(
            "coder-clip text-features --model {wildcards.model} "
            "--dataset {wildcards.dataset}"
        )


rule text_features:
    input:
        expand(
            PATHS.text_features("{model}", "{dataset}"),
            model=MODELS,
            dataset=DATASETS,
        ),
