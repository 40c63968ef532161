"""Where runs are recorded: MLflow, a CSV file, or nowhere."""
