"""The synthetic Earth: a procedural planet that is the embedded default and the tests' data.

It has everything that MMEarth has (twelve pretext modalities, three side products, missing data), and downstream
labels. What is where is a continuous function of place and date, so that tiles fit together and scenes of any size can
be rendered. ``SyntheticEarth`` gives places and tiles, ``write_synthetic_store`` a store of them.

From the planet to the pixel: ``noise`` (hashed chance), ``grid`` and ``utm`` (where pixels lie), ``climate``,
``terrain``, ``site`` (climate on the spot), ``districts`` with ``farmland``, ``parcels``, ``settlement`` and ``people``
(what people do), ``nature``, ``surface`` and ``cover`` (the ground), and what instruments and mapmakers make of it:
``sky``, ``optics``, ``radar``, ``products``, ``labels``. ``earth`` and ``places`` put it together; numpy only.
``writing`` fills a store.
"""

from geopretext.data.synthetic.earth import SyntheticEarth
from geopretext.data.synthetic.labels import LABELS as SYNTHETIC_LABELS
from geopretext.data.synthetic.writing import write_synthetic_store

__all__ = ["SYNTHETIC_LABELS", "SyntheticEarth", "write_synthetic_store"]
