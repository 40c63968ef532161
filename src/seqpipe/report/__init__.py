"""What a run leaves in its folder for people: numbers, figures, examples, pages."""
