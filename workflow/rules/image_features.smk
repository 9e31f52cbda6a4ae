# Phase image_features: encode images. One job encodes all splits of a data set with a model, or one
# shard of each. A split that the data set does not need is a file without images, so that this
# rule has the same outputs everywhere.


if CONFIG.features.shards == 1:

    rule encode_images:
        input:
            outdated("encode_images"),
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
        threads: encoding_threads("encode_images")
        resources:
            mem_mb=memory("image_features", "encode_images"),
            runtime=minutes("image_features", "encode_images"),
            on_gpu=on_gpu("encode_images"),
        params:
            job=job("encode_images"),
        message:
            "image features of {wildcards.dataset} with {wildcards.model}"
        shell:
            command("encode_images")

else:

    rule encode_shard:
        input:
            outdated("encode_shard"),
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
        threads: encoding_threads("encode_shard")
        resources:
            mem_mb=memory("image_features", "encode_shard"),
            runtime=minutes("image_features", "encode_shard"),
            on_gpu=on_gpu("encode_shard"),
        params:
            job=job("encode_shard"),
        message:
            "image features of {wildcards.dataset} with {wildcards.model},"
            " shard {wildcards.shard} of {wildcards.shards}"
        shell:
            command("encode_shard")

    rule merge_shards:
        input:
            outdated("merge_shards"),
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
            mem_mb=memory("merge", "merge_shards"),
            runtime=minutes("merge", "merge_shards"),
        params:
            shards=CONFIG.features.shards,
            job=job("merge_shards"),
        message:
            "image features of {wildcards.dataset} with {wildcards.model}: merge"
        shell:
            command("merge_shards")


rule image_features:
    input:
        [
            PATHS.image_features(m, d, s)
            for m in MODELS
            for d in DATASETS
            for s in SPLITS
        ],
