# Phase evaluation: ablations and feature quality.


rule evaluate:
    input:
        outdated("evaluate"),
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
        mem_mb=memory("evaluation", "evaluate"),
        runtime=minutes("evaluation", "evaluate"),
    params:
        job=job("evaluate"),
    message:
        "evaluation of {wildcards.dataset} with {wildcards.model}"
    shell:
        command("evaluate")


rule evaluation:
    input:
        expand(
            PATHS.evaluation("{model}", "{dataset}"),
            model=MODELS,
            dataset=DATASETS,
        ),
