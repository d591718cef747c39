"""geopretext: pretraining of Earth-observation encoders with many pretext tasks, from an empty disk to a map.

Importing it is cheap: no torch, no GDAL and no Lightning until a name that needs them is used.
"""

__version__ = "0.1.0"
