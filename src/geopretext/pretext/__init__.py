"""Pretext methods, one file each: a batch goes in, named losses and predictions come out.

What may live here: the objective of a method, in the steps of its paper, with a list of what differs from it. No file
formats, no optimiser, no training loop. Imports ``nn``, ``modality`` and ``errors``.
"""
