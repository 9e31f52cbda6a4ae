# Download, beside other work, what may be downloaded (fetch: true, or FETCH=1). A job that needs it
# waits here and gets no additional input: what was downloaded, and where it is, is not part of a
# result.
FETCHED = Path(".snakemake/coder-clip/fetched")


def to_fetch():
    """Published data sets that this run downloads."""
    try:
        return to_download(CONFIG)
    except UserError as error:
        sys.exit(f"coder-clip: error: {error}")


def weights_note(name):
    """A note of the downloaded weights and their cache."""
    cache = os.getenv("HF_HUB_CACHE") or os.getenv("HF_HOME") or "default cache"
    return f"{CONFIG.models[name].model} {CONFIG.models[name].pretrained} {cache}"


def forget_fetched(folder):
    """Forget earlier downloads that are missing now, so that they are downloaded again, and what
    failed before.
    """
    shutil.rmtree(folder / "failed", ignore_errors=True)
    for name in to_fetch():
        (folder / "images" / name).unlink(missing_ok=True)
    for name in CONFIG.models:
        note = folder / "weights" / name
        if note.is_file() and note.read_text() != weights_note(name):
            note.unlink()


TO_FETCH = to_fetch()
if workflow.is_main_process:
    forget_fetched(FETCHED)


checkpoint fetch_images:
    output:
        FETCHED / "images/{dataset}",
    log:
        LOGS / "fetch/{dataset}.log",
    localrule: True  # where the network is
    conda:
        ENVIRONMENT
    params:
        # a note for `make reproduce`, which goes on without this data set
        failed=FETCHED / ("stopped" if CONFIG.fetch == "strict" else "failed"),
    message:
        "download {wildcards.dataset}"
    shell:
        "coder-clip data get {wildcards.dataset} --config $CODER_CLIP_CONFIG 2>&1 "
        "| tee {log} && touch {output}"
        " || {{ mkdir -p {params.failed} "
        "&& cp {log} {params.failed}/{wildcards.dataset}; exit 1; }}"


checkpoint fetch_weights:
    output:
        FETCHED / "weights/{model}",
    log:
        LOGS / "fetch/{model}.log",
    localrule: True  # where the network is
    conda:
        ENVIRONMENT
    params:
        note=lambda w: weights_note(w.model),
    message:
        "download the weights of {wildcards.model}"
    shell:
        # the hub shows its progress on terminals alone, unless told so
        "TQDM_POSITION=-1 TQDM_MININTERVAL=10 coder-clip prefetch --model {wildcards.model} "
        "2>&1 | tee {log} && printf %s {params.note:q} > {output}"


def fetched_images(wildcards):
    """Wait for the images of a data set, where this run downloads them."""
    if wildcards.dataset in TO_FETCH:
        checkpoints.fetch_images.get(dataset=wildcards.dataset)


def fetched_weights(name):
    """Wait for the weights of a model."""
    if CONFIG.fetch and not CONFIG.models[name].files:
        checkpoints.fetch_weights.get(model=name)
