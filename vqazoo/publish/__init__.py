"""Pushing to the Hub and pulling from it."""
