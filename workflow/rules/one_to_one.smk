# Phase one_to_one: texts for the pairs that stage one can confuse, and their features.


rule confusable_pairs:
    input:
        outdated(),
        lambda w: PATHS.image_features(
            CONFIG.text_encoder(),
            w.dataset,
            "val" if CONFIG.has_val(w.dataset) else "test",
        ),
        PATHS.coder(CONFIG.text_encoder(), "{dataset}"),
        PATHS.manifest("{dataset}"),
    output:
        PATHS.confusable_pairs("{dataset}"),
    log:
        LOGS / "pairs/{dataset}.log",
    benchmark:
        BENCHMARKS / "pairs/{dataset}.tsv"
    conda:
        ENVIRONMENT
    resources:
        mem_mb=memory,
        runtime=minutes,
    params:
        job=job(),
    message:
        "pairs of {wildcards.dataset} that stage one can confuse"
    shell:
        certify("coder-clip confusable-pairs --dataset {wildcards.dataset}")


rule generate_pairs:
    input:
        outdated(),
        PATHS.manifest("{dataset}"),
        PATHS.confusable_pairs("{dataset}"),
        review=review_file,
    output:
        PATHS.generated_pairs("{dataset}"),
    log:
        LOGS / "generate_pairs/{dataset}.log",
    benchmark:
        BENCHMARKS / "generate_pairs/{dataset}.tsv"
    # on the head node, because nodes of a cluster seldom have network
    localrule: True
    conda:
        ENVIRONMENT
    resources:
        mem_mb=1000,
        runtime=1440,
    params:
        job=job(),
    message:
        "one-to-one texts of {wildcards.dataset} from a language model"
    shell:
        certify("coder-clip generate-pairs --dataset {wildcards.dataset}")


rule pair_texts:
    input:
        outdated(),
        PATHS.manifest("{dataset}"),
        PATHS.confusable_pairs("{dataset}"),
        lambda w: (
            PATHS.generated_pairs(w.dataset)
            if CONFIG.datasets[w.dataset].pair_text_source
            else CONFIG.datasets[w.dataset].pair_source(w.dataset) or []
        ),
    output:
        PATHS.one_to_one_texts("{dataset}"),
    log:
        LOGS / "one_to_one/{dataset}.log",
    benchmark:
        BENCHMARKS / "one_to_one/{dataset}.tsv"
    localrule: True  # a moment's work
    conda:
        ENVIRONMENT
    resources:
        mem_mb=1000,
        runtime=10,
    params:
        job=job(),
    message:
        "one-to-one texts of {wildcards.dataset}"
    shell:
        certify("coder-clip pair-texts --dataset {wildcards.dataset}")


rule encode_pairs:
    input:
        outdated(),
        PATHS.manifest("{dataset}"),
        PATHS.one_to_one_texts("{dataset}"),
        encoder_files,
        fetched_weights,
    output:
        PATHS.one_to_one("{model}", "{dataset}"),
    log:
        LOGS / "one_to_one/{model}/{dataset}.log",
    benchmark:
        BENCHMARKS / "one_to_one/{model}/{dataset}.tsv"
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
        "one-to-one features of {wildcards.dataset} with {wildcards.model}"
    shell:
        certify(
            "coder-clip pair-features --model {wildcards.model} "
            "--dataset {wildcards.dataset}"
        )


rule one_to_one:
    input:
        expand(
            PATHS.one_to_one("{model}", "{dataset}"),
            model=MODELS,
            dataset=WITH_TEXTS,
        ),
