# Phase scores.


rule score:
    input:
        outdated("score"),
        RESULTS + "/features/m/{set}.bin",
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
