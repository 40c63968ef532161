"""What the commands share: finding, opening, resuming and comparing runs."""
