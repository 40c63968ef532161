"""What several commands share: finding a run and opening its model."""
