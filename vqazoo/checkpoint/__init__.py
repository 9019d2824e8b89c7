"""A trained model as a folder: what is in it, and what loading it allows."""
