"""Intervals and tests, the quality of features, ablations over texts.

Results are per image ((N,), 1 right and 0 wrong, or a share), so that all numbers get their
intervals from the same images. Labels and results are NumPy arrays or anything NumPy can convert,
such as CPU tensors; features are torch tensors.
"""
