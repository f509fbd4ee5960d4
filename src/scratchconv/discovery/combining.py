"""One graph from two sources: what the data show of each pair of positions, and what labels taught.

Each source says two things of a pair. Its *score*, how near the two appear, decides which pairs
are candidates; its *p-value*, the chance of such a score under its own null, which are believed.

- Candidates are those of one source, which leads (`locating` says which). Orders are not mixed, for
  a good one is only spoiled by a worse (on whitened photographs, adding the scores up took the
  edges' precision from 0.99 to 0.82).
- p-values are joined by Fisher's method (Statistical Methods for Research Workers, 1932): −2 Σ ln p
  has a chi-squared distribution with four degrees of freedom. A source that knows nothing of a pair
  costs the other little there: no method loses less in the long run (Littell and Folks, J. American
  Statistical Association 66, 1971). Under the null the sources are independent: one looks at the
  columns alone, the other at what their products say of the labels, after decorrelation.

A source that shows no structure of its own is left out: it could only add noise.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from scratchconv.discovery.channels import Channels, position_scores
from scratchconv.discovery.co_selection import STRUCTURE as LEARNED_STRUCTURE
from scratchconv.discovery.dependence import Dependence
from scratchconv.discovery.graph import Evidence, Floats, Floats32, Integers, NeighbourGraph
from scratchconv.discovery.unsupervised import (
    STRUCTURE,
    EdgeChances,
    believed_edges,
    position_p_values,
    relative_neighbours,
)


@dataclass(frozen=True, eq=False)
class PositionEvidence:
    """What is known of every pair of positions.

    scores: float32 (positions, positions), higher is nearer.
    test: the chances of given pairs.
    structure: no pair is believed unless the best has a false-discovery rate below this.
    """

    scores: Floats32
    test: Callable[[Integers], EdgeChances]
    structure: float

    @property
    def positions(self) -> int:
        return len(self.scores)

    def believed(self, pairs: Integers) -> NeighbourGraph:
        """Those of `pairs` (m, 2) that chance does not explain; none with a score of 0."""
        pairs = pairs[self.scores[pairs[:, 0], pairs[:, 1]] > 0]
        return believed_edges(self.scores, self.test(pairs), structure=self.structure)

    def graph(self) -> NeighbourGraph:
        """The believed ones among the relative neighbours."""
        return self.believed(relative_neighbours(self.scores))


def data_evidence(found: Dependence, channels: Channels) -> PositionEvidence:
    """Of the data alone."""
    return PositionEvidence(
        position_scores(found, channels),
        lambda pairs: position_p_values(found, channels, pairs),
        STRUCTURE,
    )


def label_evidence(found: Evidence, channels: Channels) -> PositionEvidence:
    """Of what was learned: `co_selection`'s scores, beside its sample of the null.

    The sample has to be large to tell of chances as small as `STRUCTURE` asks for; `co_selection`
    has a sharper test before it, and its own bound stands here.
    """
    return PositionEvidence(
        position_scores(found, channels),
        lambda pairs: position_p_values(found, channels, pairs),
        LEARNED_STRUCTURE,
    )


def combined_evidence(leading: PositionEvidence, other: PositionEvidence) -> PositionEvidence:
    """Both together: the scores of the one that leads, the chances of both."""

    def test(pairs: Integers) -> EdgeChances:
        chances = fisher(leading.test(pairs).p_values, other.test(pairs).p_values)
        return EdgeChances(pairs, chances)

    return PositionEvidence(leading.scores, test, max(leading.structure, other.structure))


def fisher(first: Floats, second: Floats) -> Floats:
    """The chance of two p-values of so small a product, each (m,): q·(1 − ln q) for q = p₁·p₂."""
    tiny = np.finfo(np.float64).tiny
    log = np.log(np.maximum(first, tiny)) + np.log(np.maximum(second, tiny))
    return np.asarray(np.exp(log) * (1 - log))
