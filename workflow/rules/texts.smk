# Phase texts: make or read text sets, and check them against the data sets.


rule list_images:
    input:
        outdated(),
        fetched_images,
        corrections_file,
    output:
        PATHS.manifest("{dataset}"),
    log:
        LOGS / "manifest/{dataset}.log",
    benchmark:
        BENCHMARKS / "manifest/{dataset}.tsv"
    conda:
        ENVIRONMENT
    resources:
        mem_mb=memory,
        # at least an hour: a slow file system lists a million images
        runtime=lambda w, attempt: max(60 * attempt, minutes(w, attempt, "list_images")),
    params:
        job=job(),
    message:
        "images of {wildcards.dataset}"
    shell:
        certify("coder-clip manifest --dataset {wildcards.dataset}")


rule generate_texts:
    input:
        outdated(),
        PATHS.manifest("{dataset}"),
        text_encoder_files,
        fetched_weights,
        review=review_file,
    output:
        PATHS.generated_texts("{dataset}"),
    log:
        LOGS / "generate_texts/{dataset}.log",
    benchmark:
        BENCHMARKS / "generate_texts/{dataset}.tsv"
    # on the head node, because nodes of a cluster seldom have network
    localrule: True
    conda:
        ENVIRONMENT
    resources:
        mem_mb=4000,
        runtime=1440,
    params:
        job=job(),
    message:
        "texts of {wildcards.dataset} from the sources that the configuration names"
    shell:
        certify("coder-clip generate-texts --dataset {wildcards.dataset}")


rule text_set:
    input:
        outdated(),
        PATHS.manifest("{dataset}"),
        lambda w: CONFIG.datasets[w.dataset].text_files(w.dataset),
        lambda w: (
            PATHS.generated_texts(w.dataset)
            if CONFIG.datasets[w.dataset].generated(w.dataset)
            else []
        ),
    output:
        PATHS.texts("{dataset}"),
    log:
        LOGS / "texts/{dataset}.log",
    benchmark:
        BENCHMARKS / "texts/{dataset}.tsv"
    localrule: True  # quick; nothing to gain from a job on a cluster
    conda:
        ENVIRONMENT
    resources:
        mem_mb=lambda w, attempt: 1000 * attempt,
        runtime=lambda w, attempt: 10 * attempt,
    params:
        job=job(),
    message:
        "texts of {wildcards.dataset}"
    shell:
        certify("coder-clip texts --dataset {wildcards.dataset}")


rule manifest:
    input:
        expand(PATHS.manifest("{dataset}"), dataset=DATASETS),


rule texts:
    input:
        expand(PATHS.texts("{dataset}"), dataset=DATASETS),
