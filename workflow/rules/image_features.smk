# Phase image_features: encode images. One job encodes all splits of a data set with a model, or one
# shard of each. A split that the data set does not need is a file without images, so that this
# rule has the same outputs everywhere.


if CONFIG.features.shards == 1:

    rule encode_images:
        input:
            outdated(),
            PATHS.manifest("{dataset}"),
            encoder_files,
            fetched_weights,
            fetched_images,
            corrections_file,
        output:
            [PATHS.image_features("{model}", "{dataset}", s) for s in SPLITS],
        log:
            LOGS / "image_features/{model}/{dataset}.log",
        benchmark:
            BENCHMARKS / "image_features/{model}/{dataset}.tsv"
        conda:
            ENVIRONMENT
        threads: encoding_threads()
        resources:
            mem_mb=memory,
            runtime=minutes,
            on_gpu=on_gpu,
        params:
            job=job(),
        message:
            "image features of {wildcards.dataset} with {wildcards.model}"
        shell:
            certify(
                "coder-clip image-features --model {wildcards.model} "
                "--dataset {wildcards.dataset}"
            )

else:

    rule encode_shard:
        input:
            outdated(),
            PATHS.manifest("{dataset}"),
            encoder_files,
            fetched_weights,
            fetched_images,
            corrections_file,
        output:
            [
                PATHS.image_shard("{model}", "{dataset}", s, "{shard}", "{shards}")
                for s in SPLITS
            ],
        log:
            LOGS / "image_features/{model}/{dataset}.{shard}-of-{shards}.log",
        benchmark:
            BENCHMARKS / "image_features/{model}/{dataset}.{shard}-of-{shards}.tsv"
        conda:
            ENVIRONMENT
        threads: encoding_threads()
        resources:
            mem_mb=memory,
            runtime=minutes,
            on_gpu=on_gpu,
        params:
            job=job(),
        message:
            "image features of {wildcards.dataset} with {wildcards.model},"
            " shard {wildcards.shard} of {wildcards.shards}"
        shell:
            certify(
                "coder-clip image-features --model {wildcards.model} "
                "--dataset {wildcards.dataset} --shard {wildcards.shard} "
                "--shards {wildcards.shards}"
            )

    rule merge_shards:
        input:
            outdated(),
            [
                PATHS.image_shard(
                    "{model}", "{dataset}", s, shard, CONFIG.features.shards
                )
                for s in SPLITS
                for shard in range(CONFIG.features.shards)
            ],
        output:
            [PATHS.image_features("{model}", "{dataset}", s) for s in SPLITS],
        log:
            LOGS / "image_features/{model}/{dataset}.log",
        benchmark:
            BENCHMARKS / "image_features/{model}/{dataset}.tsv"
        conda:
            ENVIRONMENT
        resources:
            mem_mb=memory,
            runtime=minutes,
        params:
            shards=CONFIG.features.shards,
            job=job(),
        message:
            "image features of {wildcards.dataset} with {wildcards.model}: merge"
        shell:
            certify(
                "coder-clip merge-shards --model {wildcards.model} "
                "--dataset {wildcards.dataset} --shards {params.shards}"
            )


rule image_features:
    input:
        [
            PATHS.image_features(m, d, s)
            for m in MODELS
            for d in DATASETS
            for s in SPLITS
        ],
