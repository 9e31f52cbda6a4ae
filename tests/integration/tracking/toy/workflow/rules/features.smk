# Phase features.


rule feature:
    input:
        outdated(),
        RESULTS + "/texts/{set}.json",
        "data/weights.bin",
    output:
        RESULTS + "/features/m/{set}.bin",
    benchmark:
        RESULTS + "/benchmarks/feature/{set}.tsv"
    params:
        job=job(),
    shell:
        certify("toy feature --set {wildcards.set}")


rule features:
    input:
        expand(RESULTS + "/features/m/{set}.bin", set=SETS),
