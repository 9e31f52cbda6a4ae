# Phase scores.


rule score:
    input:
        "results/features/m/{set}.bin",
        sources=["src/score.py", "src/common.py"],
    output:
        "results/scores/m/{set}.json",
        "results/scores/m/{set}.csv",
    params:
        threshold=CONFIG["threshold"],
    shell:
        "python src/score.py {input[0]} {output} {params.threshold}"


rule scores:
    input:
        expand("results/scores/m/{set}.json", set=SETS),
