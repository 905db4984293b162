"""Runs: configs, checkpoints, experiments, sweeps, reports and pictures."""
