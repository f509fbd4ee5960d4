"""Many runs, recorded once each, and what is drawn from their records; see `Lab`."""

from scratchconv.lab.exhibits import (
    Exhibit,
    Outcome,
    Picture,
    Table,
    accuracy_cell,
    how_many,
    mean_and_deviation,
    percent,
)
from scratchconv.lab.jobs import Job, Measure, run_job
from scratchconv.lab.lab import Lab, LabOptions
from scratchconv.lab.provenance import augmentation, provenance
from scratchconv.lab.records import RunRecord, read_records, run_key

__all__ = [
    "Exhibit",
    "Job",
    "Lab",
    "LabOptions",
    "Measure",
    "Outcome",
    "Picture",
    "RunRecord",
    "Table",
    "accuracy_cell",
    "augmentation",
    "how_many",
    "mean_and_deviation",
    "percent",
    "provenance",
    "read_records",
    "run_job",
    "run_key",
]
