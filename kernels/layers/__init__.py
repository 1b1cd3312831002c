"""Layers of language models, their cache, convolution and normalisation."""
