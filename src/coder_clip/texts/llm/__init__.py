"""Texts from a language model (paper, section 3.3): prompts, answers kept for good, and what is made of them.

`items` and `prompts` -> `client` and `server` -> `store` -> `answers` and `checks`, driven by `generate`; `budget`
estimates and limits the cost, `review` has what people decide. docs/texts.md.
"""
