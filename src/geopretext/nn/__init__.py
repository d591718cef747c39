"""Networks: encoders, decoders and heads, masks, loss weighting, and bundles of them on disk. Tensors in, tensors out.

What may live here: modules that know shapes, bands and units, and how their weights are kept on disk. No data sets, no
losses of a particular method, no training loop. Imports ``modality`` and ``errors``. Importing it lets torchvision be
imported beside a torch of another build, see ``nn.torchvision_beside_torch``.
"""

from geopretext.nn.torchvision_beside_torch import prepare

prepare()  # before timm, Lightning or torchmetrics import torchvision
