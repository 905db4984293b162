"""What experiments/benchmark.py measures with: workloads, the peers, one process for each, reports."""
