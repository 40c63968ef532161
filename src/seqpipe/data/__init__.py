"""Data: a source yields records, fields turn their entries into numbers and back."""
