# Phase scores.


rule score:
    input:
        RESULTS + "/features/m/{set}.bin",
        outdated("score"),
    output:
        RESULTS + "/scores/m/{set}.json",
        RESULTS + "/scores/m/{set}.csv",
    benchmark:
        RESULTS + "/benchmarks/score/{set}.tsv"
    params:
        job=job("score"),
    shell:
        command("score")


rule scores:
    input:
        expand(RESULTS + "/scores/m/{set}.json", set=SETS),
