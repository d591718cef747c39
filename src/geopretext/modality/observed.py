"""The pair that every array travels in, from reader to loss: values, and which of them exist."""

from typing import Generic, NamedTuple, TypeVar

Array = TypeVar("Array")


class Observed(NamedTuple, Generic[Array]):
    """Values of one modality for ``B`` tiles, and the mask of those that were really observed.

    ============================ ===================== ==========================
    kind                         ``values``            ``valid`` (bool)
    ============================ ===================== ==========================
    continuous map               (B, C, H, W) float32  (B, C, H, W)
    categorical map              (B, H, W) int64       (B, H, W)
    continuous vector            (B, C) float32        (B, C)
    categorical vector           (B,) int64            (B,)
    multi-label vector           (B, C) float32 0/1    (B, C)
    continuous series            (B, T, C, H, W)       (B, T, C, H, W)
    ============================ ===================== ==========================

    Categorical values are class *indices* 0..K-1 in the order of ``Modality.classes``, not stored codes. The values of
    a series are float32, and those of its padded dates are not valid; the dates are in ``Acquisition.series``.
    Where ``valid`` is False the value is 0 and means nothing; no NaN and no no-data number leaves ``data``.
    """

    values: Array
    valid: Array
