"""What a report calls metrics and heads."""

from geopretext.evaluate.metrics import Metric

_METRICS = {
    Metric.MEAN_JACCARD: "mean Jaccard index",
    Metric.MICRO_F1: "micro F1",
    Metric.R2: "R²",
    Metric.RMSE: "RMSE",
}
_HEADS = {
    "knn": "k nearest neighbours",
    "probe": "linear probe",
    "sgd": "linear probe by gradient descent",
    "finetune": "fine-tuning",
}


def metric_name(metric: Metric) -> str:
    """For people."""
    return _METRICS.get(metric, metric.replace("_", " "))


def head_name(head: str) -> str:
    """For people, of a head as ``Cell.head`` says it."""
    kind, _, preset = head.partition(":")
    name = _HEADS.get(kind, kind)
    return f"{name} ({preset})" if preset else name
