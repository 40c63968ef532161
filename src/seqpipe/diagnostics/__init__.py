"""What a training looks like from inside: gradients through time, gates, states."""
