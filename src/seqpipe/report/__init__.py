"""Files of a run for people: numbers, figures, examples and pages."""
