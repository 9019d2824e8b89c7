"""Models by their names: packaged, on the Hub, and of published families."""
