# Phase texts: text sets, checked against the data sets.


rule list_images:
    input:
        dataset_sources,
        sources=sources("manifest"),
    output:
        PATHS.manifest("{dataset}"),
    log:
        LOGS / "manifest/{dataset}.log",
    benchmark:
        BENCHMARKS / "manifest/{dataset}.tsv"
    conda:
        ENVIRONMENT
    resources:
        mem_mb=lambda w, attempt: 1000 * attempt,
        runtime=lambda w, attempt: 60 * attempt,
    params:
        # a folder that is not here (a colleague's machine) counts as unchanged
        images=lambda w: manifest.listing(CONFIG, w.dataset),
        dataset=dataset_params("root", "classes"),
    message:
        "images of {wildcards.dataset}"
    shell:
        "coder-clip manifest --dataset {wildcards.dataset} 2> {log}"


rule text_set:
    input:
        PATHS.manifest("{dataset}"),
        lambda w: CONFIG.datasets[w.dataset].text_source(w.dataset) or [],
        sources=sources("texts"),
    output:
        PATHS.texts("{dataset}"),
    log:
        LOGS / "texts/{dataset}.log",
    benchmark:
        BENCHMARKS / "texts/{dataset}.tsv"
    localrule: True  # texts may come from a service, and the head has network
    conda:
        ENVIRONMENT
    resources:
        mem_mb=lambda w, attempt: 1000 * attempt,
        runtime=lambda w, attempt: 10 * attempt,
    params:
        dataset=dataset_params("texts"),
    message:
        "texts of {wildcards.dataset}"
    shell:
        "coder-clip texts --dataset {wildcards.dataset} 2> {log}"


rule manifest:
    input:
        expand(PATHS.manifest("{dataset}"), dataset=DATASETS),


rule texts:
    input:
        expand(PATHS.texts("{dataset}"), dataset=DATASETS),
