"""Methods that CODER is compared with.

One module per few-shot method (`methods` lists what it declares; `few_shot` defines its input and output), their
searches (`grid_search`), and the classifiers without shots (`zero_shot`).
"""
