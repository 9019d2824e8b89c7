"""Fetching from the Hugging Face Hub. Knows no checkpoint."""
