"""Texts from a language model (paper, section 3.3). docs/texts_generator.md.

`requests` and `prompts` -> `client`, `metered` and `server` -> `store` -> `answers` and `checks`,
in rounds (`generate`). `budget` estimates and limits the cost; `review` holds reviewers' decisions.
"""
