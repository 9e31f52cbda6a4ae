# Phase scores.


rule score:
    input:
        outdated(),
        RESULTS + "/features/m/{set}.bin",
    output:
        RESULTS + "/scores/m/{set}.json",
        RESULTS + "/scores/m/{set}.csv",
    benchmark:
        RESULTS + "/benchmarks/score/{set}.tsv"
    params:
        job=job(),
    shell:
        certify("toy score --set {wildcards.set} --plus 0")


rule scores:
    input:
        expand(RESULTS + "/scores/m/{set}.json", set=SETS),
