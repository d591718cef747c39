"""Tiles on disk and on their way to the network.

The store, official MMEarth files, GeoTIFF folders, the synthetic Earth, statistics, splits, loader, normalisation.

What may live here: everything between bytes on disk and a batch of ``Observed`` tensors. Here, and nowhere else, do
no-data numbers, offsets and units get their meaning. No network architecture and no training. Imports ``modality`` and
``errors``; modules that need rasterio, h5py or torch import them, and the package itself imports none of them.
"""
