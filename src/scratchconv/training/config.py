"""What one run is: a typed record from which its flags, its identity and its command line come."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Literal, get_args

import torch

from scratchconv import data, models, optim, pruning
from scratchconv.errors import InvalidArgument, unknown_name
from scratchconv.training import combinations
from scratchconv.training.schedule import SCHEDULES

Augment = Literal["auto", "none"]
LamScale = Literal["none", "steps"]
Precision = Literal["auto", "fp32", "bf16", "fp16"]
EngineChoice = Literal["auto", "dense", "sparse", "torch"]
DensityBy = Literal["paper", "erdos-renyi", "uniform"]
Schedule = Literal["cosine", "constant", "step"]
LastBatch = Literal["drop", "keep"]
Normalise = Literal["channels", "half"]
Connected = Literal["first", "all"]
ConnectionsKind = Literal["learned", "random", "local"]

# torch takes seeds up to 2⁶³, and an epoch's own is the run's times a million.
_LARGEST_SEED = 2**32 - 1
_LARGEST_FLOAT = torch.finfo(torch.float32).max
LARGEST_COUNT = 2**31 - 1
"""Of samples, epochs and the like: torch counts in 64 bits, which two such numbers' product fits.
"""


@dataclass(frozen=True)
class RunConfig:
    """One training run. The defaults are those of Neyshabur 2020 where the paper states them."""

    model: str = "s-fc"
    """Network: s-conv, s-local, s-fc, d-conv, d-local, d-fc, 3-fc, res-mlp or resnet18; zhang-conv,
    zhang-local, zhang-weight, zhang-fc or zhang-weight-even (padded as in the published code);
    tree-weight, tree-local, tree-oracle or tree-fc."""

    alpha: int | None = None
    """Size of the network: its base channels, α of Neyshabur 2020. Give this or --params."""

    params: float | None = None
    """Size of the network as a budget of weights, e.g. 25.6e6; the nearest α is used."""

    kernel_size: int = 3
    """Side of the kernels of resnet18 (odd). Other networks have the kernels of the paper."""

    dropout: float = 0.0
    """Dropout probability at the last two fully connected layers."""

    data: str = "cifar10"
    """Dataset: cifar10, cifar100, svhn, mnist, mnist-32 (MNIST in the shape of CIFAR's images),
    fashion-mnist, digits or tree."""

    data_dir: Path | None = None
    """Folder of the dataset's files; without it $SCRATCHCONV_DATA, or else a cache folder."""

    permute: int | None = None
    """Shuffle the pixels of all images alike, by this seed: no geometry is left to see."""

    train_size: int | None = None
    """Training samples used, equally many of every class; without it, all that --validation
    leaves. A larger number includes the samples of a smaller one. Of tree: how many are drawn."""

    data_seed: int = 0
    """Seed of what --train-size draws, and of all that tree is: its weights θ and its samples."""

    tree_noise: float = 0.0
    """Standard deviation ε of the noise on the training targets of tree (Zhang 2021)."""

    tree_noise_shared: bool = False
    """Add one draw of that noise to all targets, as Zhang's published code does; the text says, and
    without this flag we draw, one for every sample."""

    normalise: Normalise = "channels"
    """Pixels as the network sees them. channels: of mean 0 and deviation 1 in each colour, over all
    training images. half: from −1 to 1, as in Zhang's published code (the text does not say)."""

    augment: Augment = "auto"
    """auto: the flips and crops usual for the dataset. none: the images as they are."""

    cutout: int = 0
    """Side in pixels of the square erased from every training image (cutout); 0: nothing."""

    validation: float = 0.05  # a twentieth shows how a run goes, and costs little training data
    """Training samples held out: a fraction, or a count if ≥ 1. Take 0.1 to choose λ on them."""

    skip_test: bool = False
    """Leave the test data alone: for runs made to choose settings."""

    split_seed: int = 0
    """Seed of the training/validation split; apart from --seed, so that runs share one split."""

    method: str = "beta-lasso"
    """Training method: sgd, adam, beta-lasso, lasso or proximal-lasso."""

    beta: float = 50.0
    """Threshold coefficient β of beta-lasso: weights under β·λ become zero."""

    lam: float = 0.0
    """Strength λ of the ℓ1 penalty: the larger, the fewer weights are left."""

    lam_first: float | None = None
    """λ of the layers that are convolutions or stand for one; without it, --lam."""

    lam_scale: LamScale = "none"
    """steps: λ was chosen for --lam-epochs epochs; carry it over to this run by keeping λ·Ση."""

    lam_epochs: int | None = None
    """Epochs of the run that λ was chosen for; needed by --lam-scale steps."""

    lr: float = 0.1
    """Learning rate η at the start; --schedule says what becomes of it."""

    schedule: Schedule = "cosine"
    """cosine: η falls to zero along a cosine, step by step. constant: η stays. step: η, and η/10
    once half of the steps are done."""

    momentum: float = 0.0
    """Momentum of sgd."""

    weight_decay: float = 0.0
    """Weight decay of sgd (on weights; not on biases and BatchNorm)."""

    pruning: str = "none"
    """A rival of beta-lasso that is told how many weights to keep (with --method sgd): none,
    magnitude, iterative-magnitude, snip, set, rigl or random."""

    density: float = 1.0
    """Share of all weights that --pruning leaves, e.g. 0.01."""

    density_by: DensityBy = "paper"
    """How the density varies between layers: as the paper of --pruning says, erdos-renyi (small
    layers densest) or uniform."""

    connections_from: Path | None = None
    """Train new weights on the connections another run has learned: its run directory, or a
    .safetensors file of masks. The other connections stay 0 (with --method sgd or adam)."""

    connections: Connected = "first"
    """Whose connections --connections-from keeps: those of the first layer, or of all but the
    last. The other layers stay fully connected."""

    connections_kind: ConnectionsKind = "learned"
    """learned: those very connections. random: as many a unit, at random places. local: as many a
    unit, in one square window of all channels at a random place; of the first layer only."""

    epochs: int = 15
    """Passes over the training data."""

    batch_size: int = 512
    """Samples a step (512 in the paper)."""

    last_batch: LastBatch = "drop"
    """The samples left at an epoch's end that fill no batch. drop: left out, others every epoch.
    keep: a smaller batch of them."""

    seed: int = 0
    """Seed of the initial weights, the order of the data, augmentation and dropout."""

    precision: Precision = "auto"
    """Arithmetic of the matrix products; weights and BatchNorm stay fp32. auto: the fastest."""

    engine: EngineChoice = "auto"
    """How fully connected layers train by beta-lasso. auto: compressed to their non-zeros where a
    timing says that is faster. dense, sparse: always so. torch: PyTorch's own layers. With
    connections that never change, auto: few of them are held alone."""

    regrowth: int = 1
    """Compressed layers let zeros return every so many steps; 1 is the algorithm, exactly."""

    device: str = "auto"
    """cpu, cuda, cuda:1 …; auto: a GPU where there is one."""

    checkpoint_seconds: float = 60.0
    """Seconds between checkpoints; 0 writes one at every step."""

    record_every: int = 1
    """Epochs between the lines of metrics.jsonl; the last epoch always has one."""

    def check(self) -> None:
        """Raise `InvalidArgument` for a value that is impossible whatever the data are."""
        for kind, name, choices in (
            ("network", self.model, models.NAMES),
            ("dataset", self.data, data.NAMES),
            ("method", self.method, optim.METHODS),
            ("pruning method", self.pruning, ("none", *pruning.METHODS)),
            ("--density-by", self.density_by, get_args(DensityBy)),
            ("--augment", self.augment, get_args(Augment)),
            ("--normalise", self.normalise, get_args(Normalise)),
            ("--schedule", self.schedule, SCHEDULES),
            ("--last-batch", self.last_batch, get_args(LastBatch)),
            ("--connections", self.connections, get_args(Connected)),
            ("--connections-kind", self.connections_kind, get_args(ConnectionsKind)),
            ("--lam-scale", self.lam_scale, get_args(LamScale)),
            ("--precision", self.precision, get_args(Precision)),
            ("--engine", self.engine, get_args(EngineChoice)),
        ):
            if name not in choices:
                raise unknown_name(kind, name, choices)
        for flag, whole, least, most in (
            ("cutout", self.cutout, 0, LARGEST_COUNT),
            ("epochs", self.epochs, 1, LARGEST_COUNT),
            ("batch-size", self.batch_size, 1, LARGEST_COUNT),
            ("record-every", self.record_every, 1, LARGEST_COUNT),
            ("train-size", self.train_size, 1, LARGEST_COUNT),
            ("data-seed", self.data_seed, 0, math.inf),
            ("seed", self.seed, 0, _LARGEST_SEED),
            ("split-seed", self.split_seed, 0, math.inf),
            ("permute", self.permute, 0, math.inf),
            ("lam-epochs", self.lam_epochs, 1, LARGEST_COUNT),
            ("regrowth", self.regrowth, 1, LARGEST_COUNT),
        ):
            if whole is not None and not (isinstance(whole, int) and whole >= least):
                raise InvalidArgument(
                    f"--{flag} {whole}: must be a whole number of at least {least}"
                )
            if whole is not None and whole > most:
                raise InvalidArgument(f"--{flag} {whole}: must be at most {most}")
        for flag, number in (
            ("checkpoint-seconds", self.checkpoint_seconds),
            ("validation", self.validation),
            ("tree-noise", self.tree_noise),
        ):
            if not (math.isfinite(number) and number >= 0):
                raise InvalidArgument(f"--{flag} {number}: must be at least 0")
        if self.validation > 1 and self.validation != int(self.validation):
            raise InvalidArgument(
                f"--validation {self.validation}: give a fraction below 1, or a whole count"
            )
        if not (math.isfinite(self.lr) and self.lr > 0):
            raise InvalidArgument(f"--lr {self.lr}: must be a positive number (the paper uses 0.1)")
        for name in ("lr", "lam", "lam_first", "beta", "momentum", "weight_decay"):
            if (getattr(self, name) or 0) > _LARGEST_FLOAT:
                flag = name.replace("_", "-")
                raise InvalidArgument(f"--{flag} {getattr(self, name)}: too large for fp32")
        combinations.check(self)

    def identity(self) -> dict[str, Any]:
        """The fields that decide the result: all but where files lie and how often to save.

        What `connections_from` holds decides it as well: `resolved` has the sha256 of that.
        """
        return {
            field.name: getattr(self, field.name)
            for field in fields(self)
            if field.name not in ("data_dir", "connections_from", "checkpoint_seconds")
        }

    def engine_counts(self) -> bool:
        """Whether `engine` makes a difference: to β-LASSO, and where connections never change.

        By every other method torch's layers train, whichever is asked for.
        """
        held = self.connections_from is not None or self.pruning == "random"
        return held or self.method == "beta-lasso"

    def command(self) -> str:
        """The command line that makes this run anew, with the machine's own folders left open."""
        words = ["scratchconv train"]
        for field in fields(self):
            value = getattr(self, field.name)
            shown = field.name in ("model", "alpha", "data", "method") or value != field.default
            if shown and value is not None and field.name in self.identity():
                flag = f"--{field.name.replace('_', '-')}"
                words.append(flag if value is True else f"{flag} {value}")
        if self.connections_from is not None:
            words.append("--connections-from OTHER_RUN_DIR")
        return " ".join([*words, "--data-dir DIR --out RUN_DIR"])
