"""Texts from a language model (paper, section 3.3): prompts, answers kept for good, and what is made of them.

`prompts` -> `client` -> `store` -> `answers` and `checks` -> `generate`; `cost` and `ahead` look ahead, `review` holds
what people decide. docs/texts.md.
"""
