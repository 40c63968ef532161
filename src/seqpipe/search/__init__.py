"""Searches over hyperparameters: their space, their trials, and Optuna, only where it is used."""
