# Phase features.


rule feature:
    input:
        RESULTS + "/texts/{set}.json",
        "data/weights.bin",
        outdated("feature"),
    output:
        RESULTS + "/features/m/{set}.bin",
    benchmark:
        RESULTS + "/benchmarks/feature/{set}.tsv"
    params:
        job=job("feature"),
    shell:
        command("feature")


rule features:
    input:
        expand(RESULTS + "/features/m/{set}.bin", set=SETS),
