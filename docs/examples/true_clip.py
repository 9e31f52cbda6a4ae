# %% [markdown]
# # True CLIP: texts against images as neighbours
#
# An image may be described by its similarities to many texts, as CODER does, or to as many images
# of other data sets. Which description finds images of the same class? Here are a third of the
# test images of 37 breeds of cats and dogs (Oxford-IIIT Pet) as features of CLIP ViT-B/32 that
# others published ([what these are](../true_clip.md)). The photos are not among them, so images are
# shown by their names and by what they are near to. This page is a script,
# `docs/examples/true_clip.py`: after `make true-clip`, run it in the folder of the clone by
# `python docs/examples/true_clip.py`.

# %%
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import torch

from coder_clip.datasets import load_below
from coder_clip.datasets.published import data_root
from coder_clip.encoders.text_tables import TextTables
from coder_clip.evaluation.representation import changed_neighbours, knn_accuracy, telling_texts
from coder_clip.neighbors import l2_normalize

# %% [data]
root = data_root(Path("data/published"))
pets = load_below("oxford_pets_clip", root)
others = [load_below(f"{name}_clip", root) for name in ("caltech101", "dtd", "fgvc_aircraft")]
tables = TextTables("features:true_clip", root)
texts_of_tables = tables.texts("oxford_pets_clip", pets.classes)
# one table of the vocabulary has no words, only "openimages_a_names 17"
vocabulary = [
    text
    for text in texts_of_tables
    if text.kind == "vocabulary" and not text.text.startswith("openimages")
]

# %% [markdown]
# ## Two descriptions of the same images
#
# The texts are names of things from the vocabularies of LVIS, ImageNet and Objects365, such as
# "a photo of a Bullmastiff". Many of ImageNet's names are breeds, so one description leaves
# ImageNet's names out, and another one has as few texts, drawn from all. The images of others are
# as many as all texts, drawn from the validation images of three other data sets: objects, textures
# and aircraft. An image is right if its breed has the most votes of its five nearest neighbours.
# With a third of the images, accuracies are lower than [with all](../true_clip.md#what-came-out).

# %%
test = pets.parts["test"].rows(np.arange(0, pets.counts["test"], 3))
images, labels = test.features, test.labels
texts = torch.stack([text.feature for text in vocabulary])
of_imagenet = torch.tensor([text.text.startswith("a photo of") for text in vocabulary])

drawn = np.random.default_rng(0).permutation(sum(len(d.parts["val"].ids) for d in others))
drawn = torch.from_numpy(drawn[: len(texts)])
anchors = torch.cat([d.parts["val"].features for d in others])[drawn]
anchor_names = [
    f"{d.classes[label]} ({d.name.removesuffix('_clip')})"
    for d in others
    for label in d.parts["val"].labels
]
anchor_names = [anchor_names[i] for i in drawn]


some = torch.from_numpy(np.random.default_rng(0).permutation(len(texts)))
some = some[: int((~of_imagenet).sum())]
cosines_of_texts = l2_normalize(images) @ l2_normalize(texts).T
cosines_of_anchors = l2_normalize(images) @ l2_normalize(anchors).T
described = {
    "the features themselves": images,
    "texts without ImageNet's names": cosines_of_texts[:, ~of_imagenet],
    "as many texts, drawn at random": cosines_of_texts[:, some],
    f"{len(texts)} texts (CODER)": cosines_of_texts,
    f"{len(anchors)} images of others": cosines_of_anchors,
}
right = {}
for what, features in described.items():
    (right[what],) = knn_accuracy(features, labels, 5)
    print(f"5 nearest neighbours by {what:30}  {right[what].mean():.1%} right")

# %% [markdown]
# So texts describe a pet better than its features do, and images of other things far worse. But it
# is names of animals that help: without ImageNet's names, with their many breeds, texts are worse
# than the features, and as many texts drawn from all are not.
#
# ## One image: why texts find its breed
#
# The nearest other image by the images of others is of another breed, and the nearest by texts of
# its own. Of the three such images where this is clearest, the one with the plainest reason. The
# last lines are texts near to the image and its neighbour of the same breed, and less near to the
# other one.

# %%
corrected, broken = changed_neighbours(cosines_of_anchors, cosines_of_texts, labels, top=3)


def breed(row):
    return pets.classes[labels[row]]


def show(found):
    """What an image is near to, by both descriptions, and its two neighbours."""
    query, same, other = found["query"], found["same"], found["other"]
    print(f"{test.ids[query]}: {breed(query)}")
    for what, cosines, names in (
        ("texts", cosines_of_texts, [text.text for text in vocabulary]),
        ("images of others", cosines_of_anchors, anchor_names),
    ):
        print(f"  nearest {what}:")
        for i in cosines[query].argsort(descending=True)[:5].tolist():
            print(f"    {cosines[query, i]:.3f}  {names[i]}")
    for what, row in (("of its breed", same), ("of another breed", other)):
        print(f"  neighbour {what}: {test.ids[row]}, {breed(row)}")
    print("  cosine of a text with the image, the one of its breed, the other one:")
    for i, cosine in telling_texts(images[[query, same, other]], texts, 4):
        shown = ", ".join(f"{cosine[key]:.3f}" for key in ("query", "same", "other"))
        print(f"    {shown}  {vocabulary[i].text}")


show(corrected[2])

# %% [markdown]
# The nearest images of others show some animal, a dalmatian or a kangaroo, whatever the breed. The
# nearest texts name dogs that look like a boxer, and the texts of the last lines are short-haired
# dogs, which a boxer is and a Leonberger is not.
#
# ## One image where texts are wrong
#
# The reverse, by the same choice: the nearest image by texts is of another breed.

# %%
show(broken[2])

# %% [markdown]
# Two breeds of bull terriers are near to the same names, so these names do not tell them apart.
#
# ## Breed by breed
#
# Each dot is a breed: the share of its images that five neighbours get right by either description.
# Above the line texts are better.

# %%
shares = {
    what: np.array([hits[labels == c].mean() for c in range(len(pets.classes))])
    for what, hits in right.items()
}
*_, share_texts, share_images = shares.values()
plt.figure("A dot for each breed: accuracy by texts against accuracy by images", figsize=(6, 5))
plt.plot([0, 1], [0, 1], color="grey", linewidth=1)
plt.scatter(share_images, share_texts, color="#0072B2")
gain = share_texts - share_images
# the two with the largest gain, the two with the smallest, and the hardest breed by texts
for c in sorted({*gain.argsort()[:2], *gain.argsort()[-2:], share_texts.argmin()}):
    plt.annotate(
        pets.classes[c].replace("_", " "),
        (share_images[c], share_texts[c]),
        textcoords="offset points",
        xytext=(6, -3),
    )
plt.xlabel("right by images of other data sets")
plt.ylabel("right by texts (CODER)")
plt.xlim(0, 1.02)
plt.ylim(0, 1.02)
better = int((gain > 0).sum())
print(f"texts are better for {better} of {len(gain)} breeds, worse for {int((gain < 0).sum())}")
