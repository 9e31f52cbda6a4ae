# %% [markdown]
# # A worked example
#
# From texts and images to CODER, the rerank and the adapter, on the drawn data set `rare` with
# the small CLIP that this project trained ([what both are](../embedded.md)). The numbers show
# how the method works; they are no evidence about the paper. This page is a script,
# `docs/examples/rare.py`, which runs when the site is built: its output is of today's code. Run
# it in the folder of the clone: `python docs/examples/rare.py`.

# %%
from pathlib import Path

import matplotlib.pyplot as plt
import torch

from coder_clip.adapter import CoderAdapter, search
from coder_clip.datasets import load_dataset, load_templates
from coder_clip.encoders.encoder import EncoderSpec, load_encoder
from coder_clip.encoders.features import extract
from coder_clip.evaluation.reasons import ScoringTexts
from coder_clip.neighbors import MEAN_KINDS, TextNeighbors
from coder_clip.pipeline.sections import DatasetConfig
from coder_clip.rerank import OneToOne, rerank
from coder_clip.texts.sentences import make_sentences, pair_sentences
from coder_clip.texts.sets import load_pair_set, load_text_set
from coder_clip.zero_shot import predict, top_k

config = DatasetConfig()
data, templates = load_dataset("rare", config), load_templates("rare", config)
encoder = load_encoder(EncoderSpec("local-dir:data/mini"))

# %% [markdown]
# ## Images and texts become features
#
# Each class has a name, and texts that describe it. A template makes a sentence of each text.

# %%
test = data.split("test")
some = range(0, len(test), 8)  # an eighth is enough here
ids = [test.ids[i] for i in some]
labels = torch.from_numpy(test.labels[list(some)])
images = extract(data, ids, labels, encoder, progress=False).features

texts = load_text_set(Path("data/texts/rare.json"), "rare", data.classes)
sentences = make_sentences(texts, templates)
kinds = ("name", "synonym", "attribute", "analogous")
rows = [i for i, kind in enumerate(sentences.kind) if kind in kinds]
features = encoder.encode_texts([sentences.text[i] for i in rows])
print(f"{len(ids)} images, {len(rows)} texts of {len(data.classes)} classes")
for row in rows[:2] + rows[200:202]:
    print(f"  {sentences.kind[row]:9}  {sentences.text[row]}")

# %% [markdown]
# ## Stage one: CODER against the name alone
#
# A class's score is the mean over its attribute and analogous texts and its best name. CLIP has
# the name alone.

# %%
owner = torch.tensor([sentences.class_index[i] for i in rows])
averaged = torch.tensor([sentences.kind[i] in MEAN_KINDS for i in rows])


def of_class(chosen):
    """The features of the chosen texts, one tensor for each class."""
    return [features[(owner == c) & chosen] for c in range(len(data.classes))]


is_name = torch.tensor([sentences.kind[i] == "name" for i in rows])
by_name = [block[:1] for block in of_class(is_name)]
clip = TextNeighbors(mean_texts=[block[:0] for block in by_name], max_texts=by_name)
coder = TextNeighbors(mean_texts=of_class(averaged), max_texts=of_class(~averaged))
for what, neighbors in (("the name alone", clip), ("CODER, stage one", coder)):
    accuracy = (predict(neighbors.class_scores(images)) == labels).double().mean()
    print(f"{what:16}  {accuracy:.1%} of the images are right")

# %% [markdown]
# ## One image, and why
#
# An image that the name alone gets wrong and CODER gets right: its nearest texts with their
# cosines, and the texts that decided between the two classes. The number beside such a text is what
# it adds to the difference of the two scores. A text of the right class adds if it fits the image
# better than the mean of both scores; a text of the wrong class adds if it fits worse, as the first
# one here.

# %%
scores = coder.class_scores(images)
by_clip, by_coder = predict(clip.class_scores(images)), predict(scores)
one = int(((by_clip != labels) & (by_coder == labels)).nonzero()[0])
plt.figure("A drawn bird that the name alone takes for another", figsize=(2.5, 2.5))
plt.imshow(data.image(ids[one]))
plt.axis("off")
right, wrong = data.classes[labels[one]], data.classes[by_clip[one]]
print(f"{ids[one]}: a {right}. The name alone says {wrong}.")

why = ScoringTexts(features, owner, averaged, len(data.classes))
cosines = why.cosines(images[one : one + 1])
print("nearest texts:")
for i in cosines[0].argsort(descending=True)[:4].tolist():
    print(f"  {cosines[0, i]:.3f}  {sentences.text[rows[i]]}")
(terms,) = why.explain(cosines, labels[one : one + 1], by_clip[one : one + 1])
print(f"for {right}, and against {wrong}:")
for term in terms[:4]:
    print(f"  {term.adds:+.2f}  {sentences.text[rows[term.text]]}")

# %% [markdown]
# ## Stage two: the rerank
#
# Where stage one's lead is small (margin below 0.1), the five likeliest classes are compared by
# texts that tell one from another. A run chooses this threshold on validation images, so the rerank
# gains more there ([claims](../claims.md)).

# %%
pairs = load_pair_set(Path("data/texts/rare.one_to_one.json"), "rare", data.classes)
of_pairs = pair_sentences(pairs, templates)
every = [sentence for found in of_pairs.values() for sentence in found]
encoded = encoder.encode_texts(every).split([len(found) for found in of_pairs.values()])
one_sided = dict(zip(of_pairs, encoded, strict=True))
one_to_one = OneToOne(one_sided, n_classes=len(data.classes))
reranked, looked_at = rerank(images, scores, one_to_one, threshold=0.1)
print(f"{int(looked_at.sum())} of {len(ids)} images are looked at again")
for when, classes in (("before", by_coder), ("after", reranked)):
    print(f"{when}: {(classes == labels).double().mean():.1%} right")

corrected = ((by_coder != labels) & (reranked == labels)).nonzero()[:, 0].tolist()
broken = ((by_coder == labels) & (reranked != labels)).nonzero()[:, 0].tolist()
print(f"{len(corrected)} images are right only after the rerank, {len(broken)} only before")

# %% [markdown]
# An image that the rerank corrects, and one that it breaks. The rerank compares five classes, each
# with each. Shown is the pair of the class before and the class after: the mean cosine of the image
# with the texts of each side, and the three nearest of them. The side with the larger mean wins.
# Both images are the first of their kind in which this pair alone decides as all pairs do.


# %%
def mean_cosine(i, a, b):
    """Of an image with the texts of what a has and b has not."""
    return torch.nn.functional.cosine_similarity(images[i : i + 1], one_sided[a, b]).mean()


def first(chosen):
    """The first of these images whose new class has nearer texts than the old one."""
    for i in chosen:
        a, b = int(reranked[i]), int(by_coder[i])
        if (a, b) in one_sided and mean_cosine(i, a, b) > mean_cosine(i, b, a):
            return i


title = "Two drawn birds: one that the rerank corrects, and one that it breaks"
figure, panels = plt.subplots(1, 2, figsize=(5.5, 2.8), num=title)
for ax, (what, chosen) in zip(panels, (("corrected", corrected), ("broken", broken)), strict=True):
    i = first(chosen)
    ax.imshow(data.image(ids[i]))
    ax.set_title(f"{what}: {data.classes[labels[i]]}", fontsize=9)
    ax.axis("off")
    likeliest = ", ".join(data.classes[c] for c in top_k(scores[i : i + 1])[1][0].tolist())
    print(f"{what}: a {data.classes[labels[i]]}. Stage one: {likeliest}")
    before, after = int(by_coder[i]), int(reranked[i])
    for a, b in ((after, before), (before, after)):
        print(f"  {data.classes[a]}, not {data.classes[b]}: mean {mean_cosine(i, a, b):.3f}")
        fits = torch.nn.functional.cosine_similarity(images[i : i + 1], one_sided[a, b])
        for k in fits.argsort(descending=True)[:3].tolist():
            print(f"    {fits[k]:.3f}  {of_pairs[a, b][k]}")

# %% [markdown]
# ## A few labelled images: the CODER-Adapter
#
# It compares an image with labelled ones by their CODERs, and adds the votes to CLIP's logits.
# Its two numbers are searched on validation images.

# %%
train, val = data.split("train"), data.split("val")
shots = [i for c in range(len(data.classes)) for i in (train.labels == c).nonzero()[0][:2].tolist()]
shot_labels = torch.from_numpy(train.labels[shots])
shown = extract(data, [train.ids[i] for i in shots], shot_labels, encoder, progress=False)
chosen = range(0, len(val), 8)
val_labels = torch.from_numpy(val.labels[list(chosen)])
val_ids = [val.ids[i] for i in chosen]
val_images = extract(data, val_ids, val_labels, encoder, progress=False).features

adapter = CoderAdapter.fit(
    shown.features, shot_labels, features[averaged], n_classes=len(data.classes)
)
best = search(adapter, val_images, clip.class_scores(val_images), val_labels)
logits = adapter.logits(images, clip.class_scores(images), alpha=best.alpha, beta=best.beta)
voted = logits.argmax(dim=1)
print(f"α {best.alpha:.2f}, β {best.beta:.1f}")
print(f"two shots per class: {(voted == labels).double().mean():.1%} right")

# %% [markdown]
# An image that CLIP gets wrong and the adapter right, beside the three shots that it is nearest to
# by their CODERs. The affinity is 1 for the nearest shot and 0 for the farthest.

# %%
one = int(((by_clip != labels) & (voted == labels)).nonzero()[0])
affinity = adapter.affinity(images[one : one + 1])[0]
nearest = affinity.argsort(descending=True)[:3].tolist()
figure, panels = plt.subplots(
    1, 4, figsize=(7.5, 2.4), num="A drawn bird and its three nearest shots"
)
pictures = [ids[one], *(train.ids[shots[k]] for k in nearest)]
titles = [f"a {data.classes[labels[one]]}"]
titles += [f"{data.classes[shot_labels[k]]}\naffinity {affinity[k]:.2f}" for k in nearest]
for ax, image, title in zip(panels, pictures, titles, strict=True):
    ax.imshow(data.image(image))
    ax.set_title(title, fontsize=9)
    ax.axis("off")
print(f"CLIP: {data.classes[by_clip[one]]}; with the votes: {data.classes[voted[one]]}")
