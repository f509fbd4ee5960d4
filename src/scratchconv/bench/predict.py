"""Part `prediction`: one call, from images to logits, at the sizes of batch asked for."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from scratchconv.bench import compilation
from scratchconv.bench.comparison import Comparison, Row, fastest
from scratchconv.bench.correctness import WrongResult
from scratchconv.bench.options import BenchOptions
from scratchconv.bench.problem import Problem
from scratchconv.bench.progress import Progress
from scratchconv.bench.step import problems
from scratchconv.bench.timing import time_interleaved
from scratchconv.bench.torch_csr import csr_matrix
from scratchconv.models import Network
from scratchconv.prediction import export, load_predictor
from scratchconv.prediction.affine_chain import AffineChain, affine_chain
from scratchconv.training.precision import subnormals_flushed

OURS, CSR = "ours", "torch CSR"
_COMPILED = ", compiled"

Predict = Callable[[Tensor], Tensor]

# Distance of the logits from the fp32 network's, as a share of their size.
_TOLERANCE = 1e-3
_BFLOAT16_TOLERANCE = 0.05


def compare_predictions(options: BenchOptions, progress: Progress) -> list[Comparison]:
    """Time one call of every contender at every density and size of batch, interleaved.

    All contenders have BatchNorm folded into their weights. The bf16 ones are handed bf16 images,
    so that they need not cast them. Raises WrongResult where one gives other logits.
    """
    cases = [
        (problem, batch, predictors, _images(problem, batch))
        for problem, predictors in _predictors(options, progress)
        for batch in dict.fromkeys(options.prediction_batches)
    ]
    calls = {
        f"{problem.density}, {batch}: {name}": partial(predict, _as_taken(name, images))
        for problem, batch, predictors, images in cases
        for name, predict in predictors.items()
    }
    assert options.rounds is not None
    with subnormals_flushed(), torch.inference_mode():
        for problem, batch, predictors, images in cases:
            _check(predictors, images, f"{problem.density}, batch {batch}")
        progress.begin(f"prediction: {len(calls)} contenders", len(calls) * options.rounds)
        timings = time_interleaved(
            calls,
            rounds=options.rounds,
            readings=3,
            warm_up=5,
            seed=options.seed,
            after_turn=progress.turn,
        )
    comparisons = []
    for problem, batch, predictors, _ in cases:
        rows = [
            Row.timed(name, timings[f"{problem.density}, {batch}: {name}"]) for name in predictors
        ]
        rows += [Row(name, unavailable=reason) for name, reason in _left_out(options).items()]
        dense = [row for row in rows if row.name.startswith("dense")]
        comparisons.append(
            Comparison(
                title=(
                    f"Prediction, {problem.density} of the weights of layers 1 and 2,"
                    f" α = {problem.alpha}, batch {batch}"
                ),
                rows=rows,
                unit="ms" if batch > 8 else "µs",
                ours=OURS,
                baseline=fastest(dense),
            )
        )
    return comparisons


def _predictors(
    options: BenchOptions, progress: Progress
) -> list[tuple[Problem, dict[str, Predict]]]:
    found = problems(options, options.prediction_densities)
    progress.begin("prediction: folding, exporting and compiling", len(found))
    built = []
    for problem in found:
        progress.doing(str(problem.density))
        built.append((problem, _contenders(trained(problem), compiles=not _left_out(options))))
        progress.turn()
    return built


def _left_out(options: BenchOptions) -> dict[str, str]:
    """The contenders that need torch.compile, and why they are missing, where they are."""
    without = "left out: --skip-compile" if options.skip_compile else compilation.why_not()
    names = (f"dense fp32{_COMPILED}", f"dense bf16{_COMPILED}")
    return {} if without is None else dict.fromkeys(names, without)


def trained(problem: Problem) -> Network:
    """The problem's network in evaluation mode, with running statistics from its batch."""
    model = problem.model()
    if problem.run is None:
        with torch.no_grad():
            for _ in range(20):
                model(problem.batch[0])
    return model.eval()


def _images(problem: Problem, batch: int) -> Tensor:
    """The first `batch` images, the problem's own over again where it has fewer."""
    images = problem.batch[0]
    return images.repeat(-(-batch // len(images)), 1, 1, 1)[:batch].contiguous()


def _contenders(model: Network, *, compiles: bool) -> dict[str, Predict]:
    """Every contender by name, all from one network."""
    chain = affine_chain(model)
    contenders: dict[str, Predict] = {"dense fp32": folded(chain)}
    contenders["dense bf16"] = folded(chain).bfloat16()
    if compiles:
        contenders[f"dense fp32{_COMPILED}"] = compilation.compiled(folded(chain))
        contenders[f"dense bf16{_COMPILED}"] = compilation.compiled(folded(chain).bfloat16())
    contenders[CSR] = FoldedCsr(chain)
    with tempfile.TemporaryDirectory() as folder:
        export(model, Path(folder) / "model.safetensors")
        contenders[OURS] = load_predictor(Path(folder) / "model.safetensors")
    return contenders


def folded(chain: AffineChain) -> nn.Sequential:
    """Dense fp32 layers with BatchNorm folded in, of any chain of linear layers."""
    layers: list[nn.Module] = [nn.Flatten()]
    for affine in chain.layers:
        linear = nn.Linear(affine.matrix.shape[1], affine.matrix.shape[0])
        with torch.no_grad():
            linear.weight.copy_(torch.from_numpy(affine.matrix.toarray()))
            linear.bias.copy_(torch.from_numpy(affine.bias))
        layers.append(linear)
        if affine.relu:
            layers.append(nn.ReLU())
    return nn.Sequential(*layers).eval().requires_grad_(False)


def _as_taken(name: str, images: Tensor) -> Tensor:
    return images.bfloat16() if "bf16" in name else images


def _check(predictors: dict[str, Predict], images: Tensor, case: str) -> None:
    """Raise WrongResult where a contender's logits are not those of the dense fp32 network."""
    expected = predictors["dense fp32"](images)
    for name, predict in predictors.items():
        tolerance = _BFLOAT16_TOLERANCE if "bf16" in name else _TOLERANCE
        error = float(
            (predict(_as_taken(name, images)).float() - expected).norm() / expected.norm()
        )
        if not error <= tolerance:
            raise WrongResult(
                f"{name}, {case}: its logits are {error:.3g} of their size away from those of the"
                f" dense fp32 network, more than the {tolerance:g} that rounding accounts for"
            )


class FoldedCsr:
    """The folded layers as torch CSR matrices, activations feature by feature."""

    def __init__(self, chain: AffineChain) -> None:
        self.layers = [
            (
                csr_matrix(
                    torch.from_numpy(affine.matrix.indptr.astype("int32")),
                    torch.from_numpy(affine.matrix.indices.astype("int32")),
                    torch.from_numpy(affine.matrix.data.astype("float32")),
                    affine.matrix.shape,
                ),
                torch.from_numpy(affine.bias.astype("float32")),
                affine.relu,
            )
            for affine in chain.layers
        ]

    def __call__(self, images: Tensor) -> Tensor:
        alone = len(images) == 1  # torch has a faster product for a vector
        activations = images.flatten() if alone else images.flatten(1).t().contiguous()
        for matrix, bias, relu in self.layers:
            activations = (matrix @ activations).add_(bias if alone else bias[:, None])
            if relu:
                activations = F.relu(activations, inplace=True)
        return activations[None] if alone else activations.t()
