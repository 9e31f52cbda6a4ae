"""What the numbers are worth: intervals and tests, the quality of features, ablations over texts.

Results come per image ((N,), 1 right and 0 wrong, or a share), so that every number gets its interval from
the same images. Labels and results are NumPy arrays (or what NumPy takes, CPU tensors too); features are
torch tensors.
"""
