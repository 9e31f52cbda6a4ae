# Phase features.


rule feature:
    input:
        RESULTS + "/texts/{set}.json",
        "data/weights.bin",
        sources=["src/feature.py", "src/common.py"],
    output:
        RESULTS + "/features/m/{set}.bin",
    benchmark:
        RESULTS + "/benchmarks/feature/{set}.tsv"
    params:
        reads=reads("feature"),
    shell:
        command("feature")


rule features:
    input:
        expand(RESULTS + "/features/m/{set}.bin", set=SETS),
