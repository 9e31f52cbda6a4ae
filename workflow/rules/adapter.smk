# Phase adapter: few-shot without training.


rule fit_adapters:
    input:
        outdated(),
        PATHS.image_features("{model}", "{dataset}", "shots"),
        PATHS.image_features("{model}", "{dataset}", "val"),
        PATHS.image_features("{model}", "{dataset}", "test"),
        PATHS.text_features("{model}", "{dataset}"),
    output:
        PATHS.adapter("{model}", "{dataset}", "{shots}"),
        PATHS.adapter("{model}", "{dataset}", "{shots}").with_suffix(".json"),
    log:
        LOGS / "adapter/{model}/{dataset}/{shots}.log",
    benchmark:
        BENCHMARKS / "adapter/{model}/{dataset}/{shots}.tsv"
    # The longest jobs of a run: begun as soon as they can, or the last one ends alone on one core.
    priority: 1
    conda:
        ENVIRONMENT
    threads: CONFIG.features.threads
    resources:
        mem_mb=memory,
        runtime=minutes,
    params:
        job=job(),
    message:
        "{wildcards.shots}-shot adapters on {wildcards.dataset} with {wildcards.model}"
    shell:
        certify(
            "coder-clip adapter --model {wildcards.model} "
            "--dataset {wildcards.dataset} --shots {wildcards.shots}"
        )


rule adapter:
    input:
        expand(
            PATHS.adapter("{model}", "{dataset}", "{shots}"),
            model=MODELS,
            dataset=FEW_SHOT,
            shots=SHOTS,
        ),
