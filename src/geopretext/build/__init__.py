"""From places on the Earth to aligned multi-modal tiles: sampling, sources, pairing, alignment, the pipeline.

What may live here: everything that turns archives of images into the tiles of a store. May import ``data``,
``modality`` and ``errors``; knows nothing of networks and training. Its libraries come with ``geopretext[geo]``.
"""
