"""Training a model from a config, and going on with a run that was stopped."""
