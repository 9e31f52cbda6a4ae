# Phase image_features: encode images, in shards if the configuration says so.


if CONFIG.features.shards == 1:

    rule encode_images:
        input:
            PATHS.manifest("{dataset}"),
            encoder_files,
            fetched_weights,
            fetched_images,
            entry_file,
            shot_files,
            outdated("encode_images"),
        output:
            PATHS.image_features("{model}", "{dataset}", "{split}"),
        log:
            LOGS / "image_features/{model}/{dataset}/{split}.log",
        benchmark:
            BENCHMARKS / "image_features/{model}/{dataset}/{split}.tsv"
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
            "image features of {wildcards.dataset}, {wildcards.split}, with {wildcards.model}"
        shell:
            command("encode_images")

else:

    rule encode_shard:
        input:
            PATHS.manifest("{dataset}"),
            encoder_files,
            fetched_weights,
            fetched_images,
            entry_file,
            shot_files,
            outdated("encode_shard"),
        output:
            PATHS.image_shard("{model}", "{dataset}", "{split}", "{shard}", "{shards}"),
        log:
            LOGS / "image_features/{model}/{dataset}/{split}.{shard}-of-{shards}.log",
        benchmark:
            BENCHMARKS
            / "image_features/{model}/{dataset}/{split}.{shard}-of-{shards}.tsv"
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
            "image features of {wildcards.dataset}, {wildcards.split}, with {wildcards.model},"
            " shard {wildcards.shard} of {wildcards.shards}"
        shell:
            command("encode_shard")

    rule merge_shards:
        input:
            expand(
                PATHS.image_shard(
                    "{{model}}",
                    "{{dataset}}",
                    "{{split}}",
                    "{shard}",
                    CONFIG.features.shards,
                ),
                shard=range(CONFIG.features.shards),
            ),
            outdated("merge_shards"),
        output:
            PATHS.image_features("{model}", "{dataset}", "{split}"),
        log:
            LOGS / "image_features/{model}/{dataset}/{split}.log",
        benchmark:
            BENCHMARKS / "image_features/{model}/{dataset}/{split}.tsv"
        conda:
            ENVIRONMENT
        resources:
            mem_mb=memory("merge", "merge_shards"),
            runtime=minutes("merge", "merge_shards"),
        params:
            shards=CONFIG.features.shards,
            job=job("merge_shards"),
        message:
            "image features of {wildcards.dataset}, {wildcards.split}, with {wildcards.model}: merge"
        shell:
            command("merge_shards")


rule image_features:
    input:
        [
            PATHS.image_features(m, d, split)
            for m in MODELS
            for d in DATASETS
            for split in CONFIG.encoded(d)
        ],
