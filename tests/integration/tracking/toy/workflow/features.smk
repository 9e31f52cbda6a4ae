# Phase features.


rule feature:
    input:
        outdated("feature"),
        RESULTS + "/texts/{set}.json",
        "data/weights.bin",
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
