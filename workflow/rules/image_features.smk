# Phase image_features: encode images. One job encodes all splits of a data set with a model, or one shard of them.
SHARDED = CONFIG.features.shards > 1
ENCODE = "encode_shard" if SHARDED else "encode_images"  # in workflow/phases.yaml
PART = "{dataset}.{shard}-of-{shards}" if SHARDED else "{dataset}"

# Outputs cannot depend on the data set, so that each set of splits that a data set may need has a rule.
for _rule, _splits in {
    "encode_images": ["shots", "val", "test"],
    "encode_images_without_shots": ["val", "test"],
    "encode_images_of_test": ["test"],
}.items():
    _datasets = [d for d in DATASETS if CONFIG.encoded(d) == _splits]
    if not _datasets:
        continue

    rule:
        name:
            _rule
        input:
            PATHS.manifest("{dataset}"),
            encoder_files,
            fetched_weights,
            fetched_images,
            dataset_sources,
            shot_files,
            sources=sources("image_features"),
        output:
            [
                (
                    PATHS.image_shard("{model}", "{dataset}", s, "{shard}", "{shards}")
                    if SHARDED
                    else PATHS.image_features("{model}", "{dataset}", s)
                )
                for s in _splits
            ],
        wildcard_constraints:
            dataset="|".join(map(re.escape, _datasets)),
        log:
            LOGS / "image_features/{model}" / f"{PART}.log",
        benchmark:
            BENCHMARKS / "image_features/{model}" / f"{PART}.tsv"
        conda:
            ENVIRONMENT
        threads: encoding_threads(_rule)
        resources:
            mem_mb=memory("image_features", _rule),
            runtime=minutes("image_features", _rule),
            on_gpu=on_gpu(_rule),
        params:
            reads=reads(ENCODE),
        message:
            "image features of {wildcards.dataset} with {wildcards.model}" + (
                ", shard {wildcards.shard} of {wildcards.shards}" if SHARDED else ""
            )
        shell:
            command(ENCODE)


if SHARDED:

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
            sources=sources("image_features"),
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
            reads=reads("merge_shards"),
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
