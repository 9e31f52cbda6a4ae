# Phase texts.


rule text:
    input:
        "data/{set}.txt",
        sources=["src/text.py", "src/common.py"],
    output:
        "results/texts/{set}.json",
    params:
        words=CONFIG["words"],
    shell:
        "python src/text.py {input[0]} {output} {params.words}"


rule texts:
    input:
        expand("results/texts/{set}.json", set=SETS),
