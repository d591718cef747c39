"""Use of a trained bundle: features of tiles and images, reconstructions, later maps and neighbours.

What may live here: inference on bounded memory, and the pictures of it. No training and no scores. Imports ``nn``,
``data``, ``modality`` and ``errors``.
"""
