"""What a representation is worth: tasks, k-NN, linear probes, baselines, intervals, tables.

What may live here: labels, heads trained on features, scores and their uncertainty. Imports ``train``, ``predict``,
``nn``, ``data``, ``modality`` and ``errors``.
"""

import geopretext.nn  # noqa: F401 -- before Lightning and torchmetrics: see nn.torchvision_beside_torch
