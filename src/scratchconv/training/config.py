"""What one run is: a typed record from which its flags, its identity and its command line come."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Literal, get_args

import torch

from scratchconv import data, models, optim, pruning
from scratchconv.errors import InvalidArgument, unknown_name

Augment = Literal["auto", "none"]
LamScale = Literal["none", "steps"]
Precision = Literal["auto", "fp32", "bf16", "fp16"]
EngineChoice = Literal["auto", "dense", "sparse", "torch"]
DensityBy = Literal["paper", "erdos-renyi", "uniform"]

# torch takes seeds up to 2⁶³, and an epoch's own is the run's times a million.
_LARGEST_SEED = 2**32 - 1
_LARGEST_FLOAT = torch.finfo(torch.float32).max


@dataclass(frozen=True)
class RunConfig:
    """One training run. The defaults are those of Neyshabur 2020 where the paper states them."""

    model: str = "s-fc"
    """Network: s-conv, s-local, s-fc, d-conv, d-local, d-fc, 3-fc or resnet18; zhang-conv,
    zhang-local, zhang-weight or zhang-fc; tree-weight, tree-local, tree-oracle or tree-fc."""

    alpha: int | None = None
    """Size of the network: its base channels, α of Neyshabur 2020. Give this or --params."""

    params: float | None = None
    """Size of the network as a budget of weights, e.g. 25.6e6; the nearest α is used."""

    kernel_size: int = 3
    """Side of the kernels of resnet18 (odd). Other networks have the kernels of the paper."""

    dropout: float = 0.0
    """Dropout probability at the last two fully connected layers."""

    data: str = "cifar10"
    """Dataset: cifar10, cifar100, svhn, mnist, fashion-mnist, digits or tree."""

    data_dir: Path | None = None
    """Folder of the dataset's files; without it $SCRATCHCONV_DATA, or else a cache folder."""

    permute: int | None = None
    """Shuffle the pixels of all images alike, by this seed: no geometry is left to see."""

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
    """Training method: sgd, beta-lasso, lasso or proximal-lasso."""

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
    """Learning rate η at the start; it falls to zero along a cosine, step by step."""

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

    epochs: int = 15
    """Passes over the training data."""

    batch_size: int = 512
    """Samples a step (512 in the paper)."""

    seed: int = 0
    """Seed of the initial weights, the order of the data, augmentation and dropout."""

    precision: Precision = "auto"
    """Arithmetic of the matrix products; weights and BatchNorm stay fp32. auto: the fastest."""

    engine: EngineChoice = "auto"
    """How fully connected layers train by beta-lasso. auto: compressed to their non-zeros where a
    timing says that is faster. dense, sparse: always so. torch: PyTorch's own layers."""

    regrowth: int = 1
    """Compressed layers let zeros return every so many steps; 1 is the algorithm, exactly."""

    device: str = "auto"
    """cpu, cuda, cuda:1 …; auto: a GPU where there is one."""

    checkpoint_seconds: float = 60.0
    """Seconds between checkpoints; 0 writes one at every step."""

    def check(self) -> None:
        """Raise `InvalidArgument` for a value that is impossible whatever the data are."""
        for kind, name, choices in (
            ("network", self.model, models.NAMES),
            ("dataset", self.data, data.NAMES),
            ("method", self.method, optim.METHODS),
            ("pruning method", self.pruning, ("none", *pruning.METHODS)),
            ("--density-by", self.density_by, get_args(DensityBy)),
            ("--augment", self.augment, get_args(Augment)),
            ("--lam-scale", self.lam_scale, get_args(LamScale)),
            ("--precision", self.precision, get_args(Precision)),
            ("--engine", self.engine, get_args(EngineChoice)),
        ):
            if name not in choices:
                raise unknown_name(kind, name, choices)
        for flag, whole, least in (
            ("cutout", self.cutout, 0),
            ("epochs", self.epochs, 1),
            ("batch-size", self.batch_size, 2),  # BatchNorm needs two samples
            ("seed", self.seed, 0),
            ("split-seed", self.split_seed, 0),
            ("permute", self.permute, 0),
            ("lam-epochs", self.lam_epochs, 1),
            ("regrowth", self.regrowth, 1),
        ):
            if whole is not None and not (isinstance(whole, int) and whole >= least):
                raise InvalidArgument(
                    f"--{flag} {whole}: must be a whole number of at least {least}"
                )
        if self.seed > _LARGEST_SEED:
            raise InvalidArgument(f"--seed {self.seed}: must be at most {_LARGEST_SEED}")
        for flag, number in (
            ("checkpoint-seconds", self.checkpoint_seconds),
            ("validation", self.validation),
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
        if self.engine in ("dense", "sparse") and self.method != "beta-lasso":
            raise InvalidArgument(
                f"--engine {self.engine} trains by beta-lasso only, not by {self.method}:"
                " leave --engine away"
            )
        if self.alpha is None and self.params is None:
            raise InvalidArgument(
                "the size of the network is missing: give --alpha (say 8) or --params (say 25.6e6)"
            )
        if self.method != "sgd" and self.lam == 0 and not self.lam_first:
            raise InvalidArgument(
                f"--method {self.method} without --lam or --lam-first is plain sgd"
            )
        self._check_pruning()
        if self.lam_scale == "steps" and self.lam_epochs is None:
            raise InvalidArgument(
                "--lam-scale steps needs --lam-epochs: the number of epochs λ was chosen for"
            )
        if self.lam_epochs is not None and self.lam_scale == "none":
            raise InvalidArgument("--lam-epochs has no effect without --lam-scale steps")

    def _check_pruning(self) -> None:
        if not 0 < self.density <= 1:
            raise InvalidArgument(f"--density {self.density}: must be above 0 and at most 1")
        if self.pruning == "none":
            if self.density != 1 or self.density_by != "paper":
                raise InvalidArgument(
                    "--density and --density-by need --pruning: choose from"
                    f" {', '.join(sorted(pruning.METHODS))}"
                )
        elif self.method != "sgd":
            raise InvalidArgument(
                f"--pruning {self.pruning} is a rival of --method {self.method}: add --method sgd"
            )

    def identity(self) -> dict[str, Any]:
        """The fields that decide the result: all but where files lie and how often to save."""
        return {
            field.name: getattr(self, field.name)
            for field in fields(self)
            if field.name not in ("data_dir", "checkpoint_seconds")
        }

    def command(self) -> str:
        """The command line that makes this run anew, with the machine's own folders left open."""
        words = ["scratchconv train"]
        for field in fields(self):
            value = getattr(self, field.name)
            shown = field.name in ("model", "alpha", "data", "method") or value != field.default
            if shown and value is not None and field.name in self.identity():
                flag = f"--{field.name.replace('_', '-')}"
                words.append(flag if value is True else f"{flag} {value}")
        return " ".join([*words, "--data-dir DIR --out RUN_DIR"])
