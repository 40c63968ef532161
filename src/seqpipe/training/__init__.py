"""The LightningModule, its schedules and callbacks."""
