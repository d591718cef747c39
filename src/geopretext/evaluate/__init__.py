"""What a representation is worth: tasks, k-NN, linear probes, baselines, intervals, tables.

What may live here: labels, heads trained on features, scores and their uncertainty. Imports ``train``, ``predict``,
``nn``, ``data``, ``modality`` and ``errors``.
"""
