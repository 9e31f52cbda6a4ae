# Phase texts.


rule text:
    input:
        "data/{set}.txt",
        sources=["src/text.py", "src/common.py"],
    output:
        RESULTS + "/texts/{set}.json",
    benchmark:
        RESULTS + "/benchmarks/text/{set}.tsv"
    params:
        reads=reads("text"),
    shell:
        command("text")


rule texts:
    input:
        expand(RESULTS + "/texts/{set}.json", set=SETS),
