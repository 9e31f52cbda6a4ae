# Phase adapter: few-shot without training.


rule fit_adapters:
    input:
        outdated("fit_adapters"),
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
    conda:
        ENVIRONMENT
    threads: CONFIG.features.threads
    resources:
        mem_mb=memory("adapter", "fit_adapters"),
        runtime=minutes("adapter", "fit_adapters"),
    params:
        job=job("fit_adapters"),
    message:
        "{wildcards.shots}-shot adapters on {wildcards.dataset} with {wildcards.model}"
    shell:
        command("fit_adapters")


rule adapter:
    input:
        expand(
            PATHS.adapter("{model}", "{dataset}", "{shots}"),
            model=MODELS,
            dataset=FEW_SHOT,
            shots=SHOTS,
        ),
