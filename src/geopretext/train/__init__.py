"""Training: recipes, Lightning modules, optimiser groups, schedules, callbacks, and runs that resume.

What may live here: everything that makes a pretext method learn, and nothing that knows what it learns. Imports
``pretext``, ``nn``, ``data``, ``modality`` and ``errors``.
"""

import geopretext.nn  # noqa: F401 -- before Lightning and torchmetrics: see nn.torchvision_beside_torch
