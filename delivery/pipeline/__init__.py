"""The delivery pipeline: its templates (`*.yml`, taken by azure-pipelines.yml), and what its steps call.

`python -m delivery.pipeline COMMAND` (__main__.py) is a step; each command is a module here. They run on an agent of
Azure and on a developer's machine alike (`make pipeline`), and know nothing of either.
"""
