"""The upper bounds of histograms that several packages count in."""

from __future__ import annotations

#: Of the times of predictions, in seconds, in the steps 1, 2.5, 5 that Prometheus uses. One more
#: bucket counts longer times.
PREDICTION_BOUNDS_S = (
    *(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05),
    *(0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0),
)
#: Of the number of predictions in a batch.
BATCH_BOUNDS = (1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 512.0, 1024.0)
