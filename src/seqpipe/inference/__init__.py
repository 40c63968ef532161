"""Trained models, used: kept in a folder, opened again, asked."""
