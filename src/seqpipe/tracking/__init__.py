"""Records runs: in MLflow, in plain files, or nowhere. The one room that imports MLflow."""

import os

# MLflow reads this when it is imported. Telemetry is off unless the user sets it to "false".
os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
