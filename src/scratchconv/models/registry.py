"""Which networks there are. A new one is a file with an `Architecture` and a line here."""

from __future__ import annotations

from scratchconv.errors import unknown_name
from scratchconv.models import (
    d_family,
    residual_mlp,
    resnet,
    s_family,
    three_fc,
    tree_nets,
    zhang_nets,
)
from scratchconv.models.architecture import Architecture

_ARCHITECTURES = {
    architecture.name: architecture
    for architecture in (
        *s_family.ARCHITECTURES,
        *d_family.ARCHITECTURES,
        three_fc.ARCHITECTURE,
        residual_mlp.ARCHITECTURE,
        resnet.ARCHITECTURE,
        *tree_nets.ARCHITECTURES,
        *zhang_nets.ARCHITECTURES,
    )
}

NAMES = tuple(_ARCHITECTURES)


def find(name: str) -> Architecture:
    """The network of that name; raises `InvalidArgument` listing the names there are."""
    if name not in _ARCHITECTURES:
        raise unknown_name("model", name, NAMES)
    return _ARCHITECTURES[name]
