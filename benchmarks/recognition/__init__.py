"""How well emotions of speakers never heard are recognised: protocols, baselines, kept results and their tables.

`python -m benchmarks.recognition --help` says what it does.
"""
