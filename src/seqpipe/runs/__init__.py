"""Parts that the commands share: finding, opening, resuming and comparing runs."""
