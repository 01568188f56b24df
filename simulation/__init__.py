"""A life of the whole product for each seed: the production core, unchanged, over ports that fail as the seed decides.

`python -m simulation --seed N` plays one life again and shows what became of each transaction.
"""
