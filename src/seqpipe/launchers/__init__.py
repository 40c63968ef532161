"""The jobs of a sweep in processes: one queue, the workers that run them, the progress."""
