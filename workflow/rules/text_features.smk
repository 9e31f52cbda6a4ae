# Phase text_features: encode every sentence.


rule encode_texts:
    input:
        outdated("encode_texts"),
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
        mem_mb=memory("text_features", "encode_texts"),
        runtime=minutes("text_features", "encode_texts"),
        on_gpu=on_gpu("encode_texts"),
    params:
        job=job("encode_texts"),
    message:
        "text features of {wildcards.dataset} with {wildcards.model}"
    shell:
        command("encode_texts")


rule text_features:
    input:
        expand(
            PATHS.text_features("{model}", "{dataset}"),
            model=MODELS,
            dataset=DATASETS,
        ),
