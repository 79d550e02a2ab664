"""An attack, a loss, a norm, a denoiser, a data set, a network and recipes for fdbench.

pyproject.toml offers each through an entry point.
"""
