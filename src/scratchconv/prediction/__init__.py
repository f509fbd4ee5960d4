"""Prediction with what training left: compact, store, load, predict, export to ONNX.

``export(model, "model.safetensors")`` writes only what is not zero; ``load_predictor`` reads it
back, with nothing unpickled and none of the training code's classes.
"""

from scratchconv.prediction.compaction import compact
from scratchconv.prediction.file import export, load_predictor
from scratchconv.prediction.network import CompactLayer, CompactNetwork
from scratchconv.prediction.onnx_export import export_onnx
from scratchconv.prediction.predictor import Predictor

__all__ = [
    "CompactLayer",
    "CompactNetwork",
    "Predictor",
    "compact",
    "export",
    "export_onnx",
    "load_predictor",
]
